/** Laws: what must hold, said in words and as a formula, and tried on drawn cases. */
import { type Arbitrary, check, type IProperty, property, type RunDetails } from "fast-check";
import { checkBoolean, checkInteger, checkOptions, rangeError, show, typeError } from "../errors.ts";
import { drawValue } from "./picture.ts";

/** A law about a subject: a router, an op, a kernel, a loss. */
export interface Law<S> {
  /** Short and stable: what reports and options call it. */
  readonly name: string;
  /** The law in words. */
  readonly statement: string;
  readonly formula: string;
  /** Where it is written down, or the reason for it. */
  readonly source: string;
  /** The property for one subject, made with `holds`. */
  readonly property: (subject: S) => Trial;
}

/** A property and how to draw one of its cases as a small picture. */
export interface Trial {
  readonly property: IProperty<[unknown]>;
  readonly picture: (value: unknown) => string;
}

/** A trial: the law holds when `body` throws for no case. What it returns is not looked at: return early to pass one over. */
export function holds<T>(
  cases: Arbitrary<T>,
  body: (value: T) => void,
  picture: (value: T) => string = drawValue,
): Trial {
  return {
    property: property(cases as Arbitrary<unknown>, (value) => {
      body(value as T);
    }),
    picture: picture as (value: unknown) => string,
  };
}

export interface CheckOptions {
  /** Cases per law. Default 100. */
  numRuns?: number | undefined;
  /** Where the cases come from; the same seed tries the same cases. Default: drawn anew. */
  seed?: number | undefined;
  /** Goes straight to one failing case, as a report names it. Needs its seed, and its law in `only`. */
  path?: string | undefined;
  /** Names of the laws to try. Default: all. */
  only?: readonly string[] | undefined;
  /** Throw when a law is broken; false gives the results. Default true. */
  raiseException?: boolean | undefined;
}

export const CHECK_OPTIONS = ["numRuns", "seed", "path", "only", "raiseException"] as const;

export interface LawResult {
  readonly law: string;
  readonly statement: string;
  readonly formula: string;
  readonly source: string;
  readonly ok: boolean;
  /** How many cases were tried. */
  readonly runs: number;
  /** For a broken law: the law, the smallest case found, and how to replay it. Else empty. */
  readonly message: string;
}

/** Tries every law on a subject. Throws an Error with all that are broken, unless raiseException is false. */
export function checkLaws<S>(op: string, subject: S, laws: readonly Law<S>[], options: CheckOptions): LawResult[] {
  const { numRuns = 100, seed, path, only, raiseException = true } = options;
  checkInteger(op, "numRuns", numRuns, 1, Infinity, "no case, no law tried");
  if (seed !== undefined) checkInteger(op, "seed", seed, -(2 ** 31), 2 ** 31 - 1);
  checkBoolean(op, "raiseException", raiseException);
  if (only !== undefined) checkNames(op, "only", only, laws);
  const chosen = only === undefined ? laws : laws.filter((law) => only.includes(law.name));
  if (chosen.length === 0) throw rangeError(op, "only", "no law", "at least one");
  if (path !== undefined) checkPath(op, path, seed, chosen.length);
  const results = chosen.map((law) =>
    tryLaw(law, subject, { numRuns, ...(seed !== undefined && { seed }), ...(path !== undefined && { path }) }),
  );
  const broken = results.filter((result) => !result.ok);
  if (raiseException && broken.length > 0) {
    throw new Error(
      `${op}: ${broken.length} of ${results.length} laws are broken\n\n${broken.map((r) => r.message).join("\n\n")}`,
    );
  }
  return results;
}

/** Throws unless every name is that of a law: a law that is misspelt would be left out, or left in, in silence. */
export function checkNames<S>(op: string, argument: string, names: readonly string[], laws: readonly Law<S>[]): void {
  const known = laws.map((law) => law.name);
  if (!Array.isArray(names)) throw typeError(op, argument, show(names), "a list of names of laws");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw rangeError(op, argument, show(unknown), known.join(", "));
}

function checkPath(op: string, path: unknown, seed: number | undefined, numLaws: number): void {
  if (typeof path !== "string") throw typeError(op, "path", show(path), "a text", "as a report prints it");
  const why = "a path leads to one case of one law";
  if (seed === undefined) throw rangeError(op, "path", "no seed", "the seed that was printed with it", why);
  if (numLaws !== 1) throw rangeError(op, "path", `${numLaws} laws`, "one in only", why);
}

function tryLaw<S>(law: Law<S>, subject: S, parameters: { numRuns: number; seed?: number; path?: string }): LawResult {
  const { name, statement, formula, source } = law;
  const trial = law.property(subject);
  const run: RunDetails<[unknown]> = check(trial.property, parameters);
  const message = run.failed ? describe(law, trial, run) : "";
  return { law: name, statement, formula, source, ok: !run.failed, runs: run.numRuns, message };
}

function describe<S>(
  { name, statement, formula, source }: Law<S>,
  { picture }: Trial,
  run: RunDetails<[unknown]>,
): string {
  const { counterexample: found } = run;
  const reason = found === null ? "no case could be drawn" : messageOf(run.errorInstance);
  const replay = `{ seed: ${run.seed}, path: ${show(run.counterexamplePath ?? "")}, only: [${show(name)}] }`;
  const lines = [
    `The law "${name}" is broken.`,
    `  ${statement}`,
    `  ${formula}`,
    `  Source: ${source}`,
    `Smallest case found (${run.numShrinks} times made smaller):`,
    ...indent(found === null ? "none" : safely(() => picture(found[0]))),
    ...indent(reason),
    `Replay with ${replay}`,
  ];
  return lines.join("\n");
}

const indent = (text: string): string[] => text.split("\n").map((line) => `  ${line}`);

/** A picture of a broken subject may fail as the subject does. */
function safely(draw: () => string): string {
  try {
    return draw();
  } catch (error) {
    return `no picture: ${messageOf(error)}`;
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : `${show(error)} was thrown`);

/** Throws a plain Error that says what a law found, unless the condition holds. */
export function must(condition: boolean, found: () => string): void {
  if (!condition) throw new Error(found());
}

export function checkLawOptions(op: string, options: object, more: readonly string[]): void {
  checkOptions(op, options, [...CHECK_OPTIONS, ...more]);
}

/** The results as a table for a terminal. */
export function lawsTable(results: readonly LawResult[]): string {
  const width = Math.max(0, ...results.map((r) => r.law.length));
  return results
    .map(
      (r) =>
        `${r.ok ? "holds " : "BROKEN"}  ${r.law.padEnd(width)}  ${String(r.runs).padStart(5)} cases  ${r.statement}`,
    )
    .join("\n");
}
