/** Options of the bench's command line: read, checked, and refused in one line that says what is allowed. */
import { type Case, cases } from "./cases.ts";
import type { Clock } from "./timing.ts";
import { checkFile, refuse, UsageError } from "./usage.ts";

export { UsageError };

export interface Options {
  readonly only: string | null;
  readonly quick: boolean;
  readonly peers: boolean;
  readonly device: "auto" | "loops" | "simd";
  readonly threads: number;
  readonly clock: Clock;
  /** where the rows go; "-" is standard output */
  readonly json: string | null;
  readonly write: boolean;
}

const DEVICES = ["auto", "loops", "simd"] as const;
const MAX_THREADS = 64;

/** What an option takes: nothing, a value, or a value that may be left out. */
type Takes = "nothing" | "a value" | "a value or nothing";
const help: Readonly<Record<string, [takes: Takes, value: string, text: string]>> = {
  only: ["a value", "PATTERN", "cases whose name holds the text, or some of several with commas between them"],
  quick: ["nothing", "", "fewer and shorter processes, and no large cases"],
  "no-peers": ["nothing", "", "moegrad alone"],
  device: ["a value", "NAME", "where moegrad runs: auto, loops or simd (default: auto)"],
  cpu: ["nothing", "", "processor time instead of time, for a machine that is busy with other things"],
  threads: ["a value", "N", "threads of moegrad; peers have one (default: 1)"],
  json: ["a value or nothing", "[FILE]", "the rows as JSON, to standard output or a file"],
  write: ["nothing", "", "writes docs/performance.md and its plot anew, of all cases and peers"],
  help: ["nothing", "", "this text"],
};

/** What --help prints. */
export const usage = `Checks every case against exact results, then times it in processes of its own, beside other libraries.

usage: npm run bench -- [options]

${Object.entries(help)
  .map(([name, [, value, text]]) => `  ${`--${name} ${value}`.padEnd(18)}${text}`)
  .join("\n")}

cases: ${cases.map(({ name }) => name).join(", ")}

"× faster" is the peer's time over moegrad's. Ctrl-C ends all processes.
`;

/** The options of a command line, or "help". Throws a UsageError with one line for the first that cannot be. */
export function parseOptions(args: readonly string[]): Options | "help" {
  const given = readArgs(args);
  if (given.has("help")) return "help";
  const device = DEVICES.find((name) => name === (given.get("device") ?? "auto"));
  const threads = given.get("threads") ?? "1";
  if (device === undefined) return refuse("device", given.get("device") as string, DEVICES.join(", "));
  if (!/^\d+$/.test(threads) || Number(threads) < 1 || Number(threads) > MAX_THREADS) {
    refuse("threads", threads, `an integer from 1 to ${MAX_THREADS}`);
  }
  if (device === "loops" && Number(threads) > 1) refuse("threads", threads, "1", "loops have one thread");
  if (given.has("cpu") && Number(threads) > 1) refuse("threads", threads, "1", "--cpu adds up what threads do at once");
  const options: Options = {
    only: given.get("only") ?? null,
    quick: given.has("quick"),
    peers: !given.has("no-peers"),
    device,
    threads: Number(threads),
    clock: given.has("cpu") ? "cpu" : "wall",
    json: given.has("json") ? checkFile("json", given.get("json") || "-") : null,
    write: given.has("write"),
  };
  if (chosenCases(options).length === 0) refuse("only", options.only as string, "part of a case's name", "see --help");
  const part = ["only", "quick", "no-peers"].find((name) => given.has(name));
  if (options.write && part)
    throw new UsageError(`--write has --${part} beside it, expected neither (the page tells all)`);
  return options;
}

/** The cases that were asked for: by name when one has just that name, else by part of the name. */
export function chosenCases({ only, quick }: Pick<Options, "only" | "quick">): readonly Case[] {
  if (only === null) return cases.filter(({ large }) => !(quick && large));
  const texts = only
    .toLowerCase()
    .split(",")
    .map((text) => text.trim())
    .filter(Boolean);
  return cases.filter(({ name }) =>
    texts.some((text) => {
      const exact = cases.some((other) => other.name.toLowerCase() === text);
      return exact ? name.toLowerCase() === text : name.toLowerCase().includes(text);
    }),
  );
}

/** Names and values; a flag's value is "". */
function readArgs(args: readonly string[]): Map<string, string> {
  const names = Object.keys(help).map((name) => `--${name}`);
  const values = new Map<string, string>();
  for (let i = 0; i < args.length; i++) {
    const [, name, joined] = /^--([^=]*)(?:=(.*))?$/s.exec(args[i]) ?? [];
    if (name === undefined)
      throw new UsageError(`unknown argument ${JSON.stringify(args[i])}, expected ${names.join(" ")}`);
    if (!Object.hasOwn(help, name)) throw new UsageError(`unknown option --${name}, expected ${names.join(" ")}`);
    const [takes, what] = help[name];
    const next = args[i + 1];
    const follows = joined === undefined && takes !== "nothing" && next !== undefined && !next.startsWith("--");
    const value = follows ? next : (joined ?? "");
    if (follows) i++;
    if (takes === "nothing" && joined !== undefined) refuse(name, joined, "no value");
    if (takes === "a value" && value === "") throw new UsageError(`--${name} has no value, expected --${name} ${what}`);
    values.set(name, value);
  }
  return values;
}
