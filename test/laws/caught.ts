/** Checks that a planted fault is seen: by which law, for which reason, and that its report can be read and replayed. */
import { expect, test } from "vitest";
import type { CheckOptions, Law, LawResult } from "../../src/laws/index.ts";

/** Something deliberately wrong, and who must notice. */
export interface Fault {
  readonly name: string;
  /** The law that it breaks. */
  readonly law: string;
  /** The reason that the report gives. */
  readonly says: RegExp;
  /** Tries laws on the faulty thing. */
  readonly check: (options: CheckOptions) => LawResult[];
}

const fixed = { numRuns: 50, seed: 20260101, raiseException: false } as const;

/** The seed and path that a report prints. */
export function replayOf(message: string): { seed: number; path: string } {
  const found = /Replay with \{ seed: (-?\d+), path: "([\d:]+)", only: \["[^"]+"\] \}/.exec(message);
  if (found === null) throw new Error(`no replay in: ${message}`);
  return { seed: Number(found[1]), path: found[2] };
}

/** What of a report does not depend on how its case was found. */
export const essenceOf = (message: string): string => message.replace(/\(\d+ times made smaller\)|path: "[\d:]+"/g, "");

/** A test for each fault, and one that no law was forgotten. `picture` is how a report draws its case. */
export function catches<S>(faults: readonly Fault[], laws: readonly Law<S>[], picture: RegExp): void {
  test.each(faults.map((fault) => [fault.name, fault.law, fault] as const))("%s: %s", (_, name, { says, check }) => {
    const [result] = check({ ...fixed, only: [name] });
    expect(result).toMatchObject({ law: name, ok: false });
    const law = laws.find((l) => l.name === name) as Law<S>;
    const { message } = result;
    for (const part of [`The law "${name}" is broken.`, law.statement, law.formula, law.source]) {
      expect(message).toContain(part);
    }
    expect(message).toMatch(picture);
    expect(message).not.toContain("no picture");
    expect(message).toMatch(says);
    const [again] = check({ ...fixed, ...replayOf(message), only: [name] });
    expect(again).toMatchObject({ law: name, ok: false, runs: 1 });
    expect(essenceOf(again.message)).toBe(essenceOf(message));
  });

  test("every law catches something", () => {
    const caught = new Set(faults.map((fault) => fault.law));
    expect(laws.map((law) => law.name).filter((name) => !caught.has(name))).toEqual([]);
  });
}
