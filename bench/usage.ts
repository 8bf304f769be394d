/** What the command lines here share: how they refuse, and the look at a file that is to be written. */
import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";

/** A command line that asks for what there is not. */
export class UsageError extends Error {}

export function refuse(name: string, value: string, expected: string, why = ""): never {
  throw new UsageError(`--${name} has ${JSON.stringify(value)}, expected ${expected}${why ? ` (${why})` : ""}`);
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
