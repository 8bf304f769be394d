/**
 * The table of routers that the laws run over: each with what its documentation promises, stated apart from the code
 * (capacities in integer arithmetic, choices by plain sorting), so that a law compares two opinions.
 */
import fc from "fast-check";
import {
  type DType,
  expertChoiceRouter,
  Generator,
  gshardRouter,
  type Router,
  type RouterContext,
  type Routing,
  switchRouter,
  type Tensor,
  topKRouter,
} from "../../src/index.ts";
import { logit, numbers, tensorOf } from "../arbitraries.ts";

/** A capacity factor as a fraction, so that ⌈f · T · K / E⌉ can be computed without rounding. */
type Fraction = readonly [over: number, under: number];

export interface RouterCase {
  readonly name: string;
  /** Experts per token in token choice; null where experts choose. */
  readonly k: number | null;
  readonly minExperts: number;
  readonly make: (E: number) => Router;
  /** C for n kept tokens. */
  readonly capacity: (n: number, E: number) => number;
  readonly normalize: boolean;
  /** Whether no token can be dropped. */
  readonly dropless: boolean;
  /** Whether training differs, by chance in second choices or another capacity: the laws then run in training. */
  readonly random: boolean;
  /** Whether the balance loss looks at first choices only. */
  readonly firstOnly: boolean;
}

const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

const ceilCapacity =
  ([over, under]: Fraction, k: number) =>
  (n: number, E: number): number =>
    clamp(Math.floor((over * n * k + under * E - 1) / (under * E)), 1, n);

const everything = (n: number): number => n;

function topK(k: number, normalize: boolean, factor: Fraction | null): RouterCase {
  const capacityFactor = factor === null ? Infinity : factor[0] / factor[1];
  return {
    name: `topKRouter k=${k}${normalize ? " normalised" : ""}, capacity factor ${capacityFactor}`,
    k,
    minExperts: k,
    make: () => topKRouter({ k, normalize, capacityFactor }),
    capacity: factor === null ? everything : ceilCapacity(factor, k),
    normalize,
    dropless: factor === null,
    random: false,
    firstOnly: false,
  };
}

function gshard(factor: Fraction | null, random: boolean): RouterCase {
  const capacityFactor = factor === null ? Infinity : factor[0] / factor[1];
  return {
    name: `gshardRouter in ${random ? "training" : "evaluation"}, capacity factor ${capacityFactor}`,
    k: 2,
    minExperts: 2,
    make: () => gshardRouter({ capacityFactor }),
    capacity: factor === null ? everything : ceilCapacity(factor, 2),
    normalize: true,
    dropless: factor === null && !random,
    random,
    firstOnly: true,
  };
}

function switchCase(factor: Fraction, training: boolean): RouterCase {
  return {
    ...topK(1, false, factor),
    name: `switchRouter in ${training ? "training" : "evaluation"}`,
    make: () => switchRouter(),
    random: training,
  };
}

function expertChoice(label: string, factor: (E: number) => Fraction): RouterCase {
  return {
    name: `expertChoiceRouter, capacity factor ${label}`,
    k: null,
    minExperts: 1,
    make(E) {
      const [over, under] = factor(E);
      return expertChoiceRouter({ capacityFactor: over / under });
    },
    capacity(n, E) {
      const [over, under] = factor(E);
      return clamp(Math.floor((over * n) / (under * E)), 1, n);
    },
    normalize: false,
    dropless: true,
    random: false,
    firstOnly: false,
  };
}

const factors: readonly (Fraction | null)[] = [[1, 2], [1, 1], [5, 4], null];

export const routers: readonly RouterCase[] = [
  ...factors.map((factor) => topK(1, false, factor)),
  ...[2, 3].flatMap((k) => [false, true].flatMap((normalize) => factors.map((factor) => topK(k, normalize, factor)))),
  ...[false, true].flatMap((random) => [gshard([1, 1], random), gshard([1, 2], random), gshard(null, random)]),
  switchCase([5, 4], true),
  switchCase([2, 1], false),
  expertChoice("0.5", () => [1, 2]),
  expertChoice("1", () => [1, 1]),
  expertChoice("2", () => [2, 1]),
  expertChoice("E", (E) => [E, 1]),
];

/** Routers with their names in front, as `describe.each` prints them. */
export const named = (cases: readonly RouterCase[]): [name: string, c: RouterCase][] => cases.map((c) => [c.name, c]);

/** A context with a generator of its own: the same draws at every call of this function. */
export const context = (c: RouterCase, mask?: readonly boolean[], seed = 5): RouterContext => ({
  training: c.random,
  rng: new Generator(seed),
  mask,
});

/** S, known from shapes alone. */
export const askedSlots = (c: RouterCase, n: number, E: number): number =>
  c.k === null ? E * c.capacity(n, E) : n * c.k;

export interface RouterInput {
  readonly T: number;
  readonly E: number;
  readonly logits: Tensor;
  readonly mask: boolean[] | undefined;
  /** The tokens that the mask keeps. */
  readonly kept: number[];
}

/** Inputs of one router: empty batches, single tokens and experts, ties, ±1e4, and masks of all kinds. */
export const inputsOf = (
  c: RouterCase,
  { element = logit, masked = true }: { element?: fc.Arbitrary<number>; masked?: boolean } = {},
): fc.Arbitrary<RouterInput> =>
  fc
    .record({
      T: fc.oneof(
        { weight: 1, arbitrary: fc.constantFrom(0, 1) },
        { weight: 6, arbitrary: fc.integer({ min: 2, max: 8 }) },
      ),
      E: fc.integer({ min: c.minExperts, max: 6 }),
      dtype: fc.constantFrom<DType>("float32", "float64"),
    })
    .chain(({ T, E, dtype }) => {
      const flags = fc.array(fc.boolean(), { minLength: T, maxLength: T });
      return fc.record({
        logits: tensorOf([T, E], element, dtype),
        mask: masked ? fc.option(flags, { nil: undefined }) : fc.constant(undefined),
      });
    })
    .map(({ logits, mask }) => {
      const [T, E] = logits.shape;
      const kept = Array.from({ length: T }, (_, t) => t).filter((t) => mask === undefined || mask[t]);
      return { T, E, logits, mask, kept };
    });

/** Places of a list from the largest entry to the smallest, equal ones in order of place. */
export const ranking = (list: readonly number[]): number[] =>
  list.map((_, i) => i).sort((i, j) => list[j] - list[i] || i - j);

/** Rows of a matrix as lists. */
export const rowsOf = (x: Tensor): number[][] => {
  const flat = numbers(x);
  const [T, E] = x.shape;
  return Array.from({ length: T }, (_, t) => flat.slice(t * E, (t + 1) * E));
};

/** A slot as a routing's lists describe it. */
export interface Slot {
  readonly token: number;
  readonly expert: number;
  readonly granted: boolean;
  readonly gate: number;
}

/** The slots of a routing, in slot order. */
export function slotsOf(routing: Routing): Slot[] {
  const [tokens, experts, offsets, gates] = [
    routing.tokenOfSlot,
    routing.expertOfSlot,
    routing.offsets,
    routing.gate,
  ].map(numbers);
  const granted = offsets[routing.numExperts];
  return tokens.map((token, s) => ({ token, expert: experts[s], granted: s < granted, gate: gates[s] }));
}

/** Granted slots per expert. */
export const loadOf = (routing: Routing): number[] => {
  const offsets = numbers(routing.offsets);
  return offsets.slice(1).map((end, e) => end - offsets[e]);
};

/** Integers of a routing, for comparing two. */
export const integersOf = (routing: Routing) => ({
  tokenOfSlot: numbers(routing.tokenOfSlot),
  expertOfSlot: numbers(routing.expertOfSlot),
  offsets: numbers(routing.offsets),
  slotsOfToken: numbers(routing.slotsOfToken),
  tokenOffsets: numbers(routing.tokenOffsets),
});

/** Everything that a routing decided and computed, for comparing two bit by bit. */
export const contentOf = (routing: Routing) => ({
  ...integersOf(routing),
  gate: numbers(routing.gate),
  balance: routing.losses.balance.item(),
  z: routing.losses.z.item(),
});

/** What is asked for, in order of priority, worked out by sorting rows (token choice) or columns (expert choice). */
export function asked(c: RouterCase, routing: Routing, kept: readonly number[], rng: Generator) {
  const E = routing.numExperts;
  if (c.k === null) {
    const probs = rowsOf(routing.probs);
    const C = c.capacity(kept.length, E);
    return Array.from({ length: E }, (_, e) =>
      ranking(kept.map((t) => probs[t][e]))
        .slice(0, C)
        .map((i) => ({ token: kept[i], expert: e, allowed: true })),
    ).flat();
  }
  const logits = rowsOf(routing.logits);
  const lucky = kept.map((t) => {
    const [e1, e2] = ranking(logits[t]);
    return !c.random || 2 / (1 + Math.exp(logits[t][e1] - logits[t][e2])) > rng.uniform();
  });
  return Array.from({ length: c.k }, (_, choice) =>
    kept.map((t, i) => ({ token: t, expert: ranking(logits[t])[choice], allowed: choice === 0 || lucky[i] })),
  ).flat();
}

/** Grants what is asked for, first come, first served: the slot lists that a router should give. */
export function granting(assignments: ReturnType<typeof asked>, T: number, E: number, C: number) {
  const used = new Array<number>(E).fill(0);
  const entries = assignments.map(({ token, expert, allowed }, order) => {
    const granted = allowed && used[expert] < C;
    if (granted) used[expert]++;
    return { token, expert, granted, order };
  });
  const slots = [...entries].sort(
    (a, b) => Number(b.granted) - Number(a.granted) || a.expert - b.expert || a.order - b.order,
  );
  const ofToken = Array.from({ length: T }, (_, t) =>
    entries.filter(({ token }) => token === t).map((entry) => slots.indexOf(entry)),
  );
  const sums = (sizes: number[]): number[] =>
    [0, ...sizes].map((_, i) => sizes.slice(0, i).reduce((total, n) => total + n, 0));
  return {
    tokenOfSlot: slots.map(({ token }) => token),
    expertOfSlot: slots.map(({ expert }) => expert),
    offsets: sums(used),
    slotsOfToken: ofToken.flat(),
    tokenOffsets: sums(ofToken.map((list) => list.length)),
  };
}

/** `part` of the usual number of runs: the laws run once for every router in the table. */
export const runs = (part: number): { numRuns: number } => ({
  numRuns: Math.max(5, Math.ceil((fc.readConfigureGlobal().numRuns ?? 100) * part)),
});
