/** What the command lines here share: how they refuse, and the look at a file that is to be written. */
import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";

/** A command line that asks for what there is not. */
export class UsageError extends Error {}

/**
 * Runs a command to its exit status. What it throws is one line: status 2 where the command line is wrong, else 1.
 */
export async function runCommand(name: string, main: (args: readonly string[]) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

/** Where people read. Standard output is one of the two: for them, or for the program that reads the JSON. */
export const outputOf = ({ json }: { readonly json: string | null }): NodeJS.WriteStream =>
  json === "-" ? process.stderr : process.stdout;

export function refuse(name: string, value: string, expected: string, why = ""): never {
  throw new UsageError(`--${name} has ${JSON.stringify(value)}, expected ${expected}${why ? ` (${why})` : ""}`);
}

/** What an option takes: nothing, a value, or a value that may be left out. */
export type Takes = "nothing" | "a value" | "a value or nothing";

/** The options of a command line by name: what each takes, how that is written, and what --help says. */
export type OptionTable = Readonly<Record<string, readonly [takes: Takes, value: string, text: string]>>;

/** Names and values; a flag's value is "". */
export function readArgs(help: OptionTable, args: readonly string[]): Map<string, string> {
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

/** Throws unless the file can be written. Better now than when the work is done. */
export function checkFile(name: string, path: string): string {
  if (name === "json" && path === "-") return path;
  const folder = dirname(path);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    refuse(name, path, "a file in a folder that exists", `there is no folder ${folder}`);
  }
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory()) refuse(name, path, "a file", "this is a folder");
  try {
    accessSync(there ? path : folder, constants.W_OK);
  } catch {
    refuse(name, path, "a file that may be written");
  }
  return path;
}
