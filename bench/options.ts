/** Options of the bench's command line: read, checked, and refused in one line that says what is allowed. */
import type { RouteName } from "../src/gpu/index.ts";
import { type Case, cases } from "./cases.ts";
import { namedLike } from "./choice.ts";
import { gpuCases } from "./gpu/cases.ts";
import { chosenGpuCases } from "./gpu/choice.ts";
import type { Clock } from "./timing.ts";
import { checkFile, type OptionTable, readArgs, refuse, UsageError } from "./usage.ts";

export { UsageError };

export interface Options {
  readonly only: string | null;
  readonly quick: boolean;
  readonly peers: boolean;
  readonly device: (typeof DEVICES)[number];
  /** On "gpu": the ways to it, each timed beside its peers. */
  readonly routes: readonly RouteName[];
  readonly threads: number;
  readonly clock: Clock;
  /** where the rows go; "-" is standard output */
  readonly json: string | null;
  readonly write: boolean;
}

const DEVICES = ["auto", "loops", "simd", "gpu"] as const;
/** Those of a browser. */
const ROUTES = ["webgl2", "webgpu", "webgl"] as const;
const USUAL_ROUTES: readonly RouteName[] = ["webgl2", "webgpu"];
const MAX_THREADS = 64;

const help: OptionTable = {
  only: ["a value", "PATTERN", "cases whose name holds the text, or some of several with commas between them"],
  quick: ["nothing", "", "fewer and shorter processes, and no large cases"],
  "no-peers": ["nothing", "", "moegrad alone"],
  device: ["a value", "NAME", "where moegrad runs: auto, loops, simd (default: auto), or gpu, in Chromium beside tfjs"],
  route: [
    "a value",
    "NAME",
    "with --device gpu: webgl2, webgpu or webgl, or some with commas (default: webgl2,webgpu)",
  ],
  cpu: ["nothing", "", "processor time instead of time, for a machine that is busy with other things"],
  threads: ["a value", "N", "threads of moegrad; peers have one (default: 1)"],
  json: ["a value or nothing", "[FILE]", "the rows as JSON, to standard output or a file"],
  write: [
    "nothing",
    "",
    "writes docs/performance.md and its plot (gpu: docs/gpu-performance.md), of all cases and peers",
  ],
  help: ["nothing", "", "this text"],
};

/** What --help prints. */
export const usage = `Checks every case against exact results, then times it in processes of its own, beside other libraries.

usage: npm run bench -- [options]

${Object.entries(help)
  .map(([name, [, value, text]]) => `  ${`--${name} ${value}`.padEnd(18)}${text}`)
  .join("\n")}

cases: ${cases.map(({ name }) => name).join(", ")}

cases of --device gpu: ${gpuCases.map(({ name }) => name).join(", ")}; small ones run with --quick, large ones on a GPU that is no
program on the CPU, any when it is named

"× faster" is the peer's time over moegrad's. Ctrl-C ends all processes.
`;

/** The options of a command line, or "help". Throws a UsageError with one line for the first that cannot be. */
export function parseOptions(args: readonly string[]): Options | "help" {
  const given = readArgs(help, args);
  if (given.has("help")) return "help";
  const device = DEVICES.find((name) => name === (given.get("device") ?? "auto"));
  const threads = given.get("threads") ?? "1";
  if (device === undefined) return refuse("device", given.get("device") as string, DEVICES.join(", "));
  if (!/^\d+$/.test(threads) || Number(threads) < 1 || Number(threads) > MAX_THREADS) {
    refuse("threads", threads, `an integer from 1 to ${MAX_THREADS}`);
  }
  if (device === "loops" && Number(threads) > 1) refuse("threads", threads, "1", "loops have one thread");
  if (device === "gpu" && Number(threads) > 1) refuse("threads", threads, "1", "a GPU has its own");
  if (device === "gpu" && given.has("cpu"))
    throw new UsageError("--cpu has --device gpu beside it, expected another device (a GPU's time is no processor's)");
  if (given.has("cpu") && Number(threads) > 1) refuse("threads", threads, "1", "--cpu adds up what threads do at once");
  const options: Options = {
    only: given.get("only") ?? null,
    quick: given.has("quick"),
    peers: !given.has("no-peers"),
    device,
    routes: routesOf(given.get("route"), device),
    threads: Number(threads),
    clock: given.has("cpu") ? "cpu" : "wall",
    json: given.has("json") ? checkFile("json", given.get("json") || "-") : null,
    write: given.has("write"),
  };
  const chosen = device === "gpu" ? chosenGpuCases(options, false) : chosenCases(options);
  if (chosen.length === 0) refuse("only", options.only as string, "part of a case's name", "see --help");
  const part = ["only", "quick", "no-peers", "route"].find((name) => given.has(name));
  if (options.write && part)
    throw new UsageError(`--write has --${part} beside it, expected neither (the page tells all)`);
  return options;
}

/** The routes of --route, each once. */
function routesOf(text: string | undefined, device: Options["device"]): readonly RouteName[] {
  if (text === undefined) return USUAL_ROUTES;
  if (device !== "gpu")
    throw new UsageError("--route has no --device gpu beside it, expected one (routes lead to GPUs)");
  const routes = text.split(",").map((part) => {
    const found = ROUTES.find((name) => name === part.trim());
    return found ?? refuse("route", part.trim(), ROUTES.join(", "));
  });
  return [...new Set(routes)];
}

/** The cases that were asked for: by name when one has just that name, else by part of the name. */
export function chosenCases({ only, quick }: Pick<Options, "only" | "quick">): readonly Case[] {
  return only === null ? cases.filter(({ large }) => !(quick && large)) : namedLike(cases, only);
}
