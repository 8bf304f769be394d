/** Routing records written down slot by slot, so that a report can be compared with counting on one's fingers. */
import fc from "fast-check";
import type { RoutingLike } from "../../src/report/index.ts";

export interface Slot {
  readonly token: number;
  readonly expert: number;
  readonly granted: boolean;
}

/** The slots of T tokens and E experts: what a record is made from. */
export interface Sheet {
  readonly T: number;
  readonly E: number;
  readonly slots: readonly Slot[];
  /** [T][E] */
  readonly probs?: readonly (readonly number[])[] | undefined;
}

const int32 = (list: readonly number[]) => ({ data: Int32Array.from(list) });
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The record of a sheet: granted slots by expert, then the tail. */
export function recordOf({ T, E, slots, probs }: Sheet): RoutingLike {
  const sorted = [...slots].sort((a, b) => Number(b.granted) - Number(a.granted) || a.expert - b.expert);
  const ofToken = range(T).map((t) => slots.filter(({ token }) => token === t).map((slot) => sorted.indexOf(slot)));
  return {
    numTokens: T,
    numExperts: E,
    numSlots: slots.length,
    tokenOfSlot: int32(sorted.map(({ token }) => token)),
    expertOfSlot: int32(sorted.map(({ expert }) => expert)),
    offsets: int32(range(E + 1).map((e) => slots.filter(({ granted, expert }) => granted && expert < e).length)),
    slotsOfToken: int32(ofToken.flat()),
    tokenOffsets: int32(range(T + 1).map((t) => slots.filter(({ token }) => token < t).length)),
    probs: probs && { data: Float64Array.from(probs.flat()) },
  };
}

/** One slot a token, all granted. */
export const topOne = (experts: readonly number[], E: number): Sheet => ({
  T: experts.length,
  E,
  slots: experts.map((expert, token) => ({ token, expert, granted: true })),
});

/** Tables with a row a label and a column an expert, as one token for each count. */
export function sheetOfTable(table: readonly (readonly number[])[]): { sheet: Sheet; labelOf: number[] } {
  const pairs = table.flatMap((row, label) => row.flatMap((n, expert) => new Array(n).fill({ label, expert })));
  return {
    sheet: topOne(
      pairs.map(({ expert }) => expert),
      table[0].length,
    ),
    labelOf: pairs.map(({ label }) => label),
  };
}

/** Sheets with idle experts, tokens without slots, dropped slots, and everything on one expert. */
export const sheets = (numExperts = fc.integer({ min: 1, max: 6 }), maxTokens = 10): fc.Arbitrary<Sheet> =>
  fc
    .record({ T: fc.nat(maxTokens), E: numExperts, only: fc.option(fc.nat(5), { freq: 6 }) })
    .chain(({ T, E, only }) => {
      const expert = only === null ? fc.nat(E - 1) : fc.constant(only % E);
      const own = fc.uniqueArray(fc.record({ expert, granted: fc.boolean() }), {
        selector: (s) => s.expert,
        maxLength: 3,
      });
      return fc.record({
        T: fc.constant(T),
        E: fc.constant(E),
        slots: fc
          .array(own, { minLength: T, maxLength: T })
          .map((tokens) => tokens.flatMap((list, token) => list.map((slot) => ({ token, ...slot })))),
        probs: fc.option(probsOf(T, E), { nil: undefined }),
      });
    });

const probsOf = (T: number, E: number): fc.Arbitrary<number[][]> => {
  const row = fc.array(fc.integer({ min: 0, max: 8 }), { minLength: E, maxLength: E }).map((weights) => {
    const all = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => (all > 0 ? weight / all : 1 / E));
  });
  return fc.array(row, { minLength: T, maxLength: T });
};

/** A label id for every token. */
export const labelsFor = (T: number, numLabels = 4): fc.Arbitrary<number[]> =>
  fc.array(fc.nat(numLabels - 1), { minLength: T, maxLength: T });

/** A drawn order of 0 … n−1. */
export const permutation = (n: number): fc.Arbitrary<number[]> =>
  fc.shuffledSubarray(range(n), { minLength: n, maxLength: n });

/** `part` of the usual number of runs, where a run does much. */
export const runs = (part: number): { numRuns: number } => ({
  numRuns: Math.max(5, Math.ceil((fc.readConfigureGlobal().numRuns ?? 100) * part)),
});

/** Σ of a list. */
export const total = (xs: Iterable<number>): number => [...xs].reduce((a, b) => a + b, 0);

/** Σ −(n_i / n) ln(n_i / n), written as ln n − Σ n_i ln n_i / n. */
export function naiveEntropy(counts: readonly number[]): number {
  const n = total(counts);
  return n === 0 ? 0 : Math.log(n) - total(counts.filter((x) => x > 0).map((x) => x * Math.log(x))) / n;
}
