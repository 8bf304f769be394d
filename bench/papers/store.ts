/** Records kept between runs: one JSON file a trial, under a name that follows from all that decides its record. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Trial } from "./experiment.ts";

/** A record and what it took. */
export interface Kept<R extends object = object> {
  readonly record: R;
  /** Of the worker thread that ran it. */
  readonly seconds: number;
}

/** What decides a record, as text: the same for the same parameters, in whatever order they were written. */
export function identityOf({ task, params, seed }: Trial): string {
  return JSON.stringify(sorted({ task: task.name, version: task.version, params, seed }));
}

/** A short name for it, for files and maps. */
export function keyOf(trial: Trial): string {
  return `${trial.task.name}-${createHash("sha256").update(identityOf(trial)).digest("hex").slice(0, 20)}`;
}

/** The record of a trial, or undefined: when there is none, none of this trial, or half of one. */
export function load<R extends object>(folder: string, trial: Trial<object, R>): Kept<R> | undefined {
  try {
    const { identity, record, seconds } = JSON.parse(readFileSync(fileOf(folder, trial), "utf8"));
    return identity === identityOf(trial) ? { record, seconds } : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a record. Whoever is killed meanwhile leaves a file under another name, never half of one under this. */
export function save(folder: string, trial: Trial, { record, seconds }: Kept): void {
  mkdirSync(folder, { recursive: true });
  const file = fileOf(folder, trial);
  const draft = `${file}.${process.pid}.tmp`;
  writeFileSync(draft, `${JSON.stringify({ identity: identityOf(trial), label: trial.label, seconds, record })}\n`);
  renameSync(draft, file);
}

const fileOf = (folder: string, trial: Trial): string => join(folder, `${keyOf(trial)}.json`);

/** The same value with the keys of every object in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, inner]) => [name, sorted(inner)]));
}
