/** The symmetries of routers: what may change about the input without changing the routing, and where that ends. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Routing, tensor } from "../../src/index.ts";
import { dyadic, general, numbers, tensorOf } from "../arbitraries.ts";
import { ulps } from "../suite.ts";
import { context, inputsOf, integersOf, named, type RouterCase, routers, rowsOf, runs, slotsOf } from "./table.ts";

/** Whether no two tokens score alike for an expert, so that rounding cannot change which one it prefers. */
const clearColumns = (routing: Routing): boolean => {
  const probs = rowsOf(routing.probs);
  return Array.from({ length: routing.numExperts }, (_, e) => probs.map((row) => row[e])).every((column) => {
    const sorted = [...column].sort((a, b) => a - b);
    return sorted.every((p, i) => i === 0 || p - sorted[i - 1] > 1e-9);
  });
};

/** Numbers that are all different, so that no row has a tie. */
const distinct = (c: RouterCase) =>
  fc
    .record({ T: fc.integer({ min: 0, max: 7 }), E: fc.integer({ min: Math.max(2, c.minExperts), max: 5 }) })
    .chain(({ T, E }) =>
      fc
        .uniqueArray(fc.integer({ min: -(2 ** 20), max: 2 ** 20 }), { minLength: T * E, maxLength: T * E })
        .map((list) =>
          tensor(
            list.map((x) => x / 2 ** 18),
            { dtype: "float64" },
          ).reshape([T, E]),
        ),
    );

/** Slots by token and expert, which no two slots share. */
const byPair = (routing: Routing, token = (t: number) => t, expert = (e: number) => e) =>
  Object.fromEntries(slotsOf(routing).map((s) => [`${token(s.token)}→${expert(s.expert)}`, s]));

/** The same slots with the same gates, up to the rounding of a sum in another order. */
function expectSamePairs(actual: ReturnType<typeof byPair>, expected: ReturnType<typeof byPair>): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  for (const [pair, slot] of Object.entries(actual)) {
    expect(slot.granted).toBe(expected[pair].granted);
    expect(Math.abs(slot.gate - expected[pair].gate)).toBeLessThan(1e-14);
  }
}

const permutationOf = (n: number) =>
  fc.shuffledSubarray(
    Array.from({ length: n }, (_, i) => i),
    { minLength: n },
  );

describe.each(named(routers))("%s", (_, c) => {
  test("follows the experts when they are relabelled", () => {
    const cases = distinct(c).chain((logits) =>
      fc.record({ logits: fc.constant(logits), sigma: permutationOf(logits.shape[1]), seed: fc.integer() }),
    );
    fc.assert(
      fc.property(cases, ({ logits, sigma, seed }) => {
        const [, E] = logits.shape;
        const original = c.make(E)(logits, context(c, undefined, seed));
        if (c.k === null) fc.pre(clearColumns(original));
        const columns = tensor(Int32Array.from(sigma));
        const relabelled = c.make(E)(logits.indexSelect(1, columns), context(c, undefined, seed));
        // Column i of the new logits is column σ(i) of the old ones.
        expectSamePairs(
          byPair(relabelled, undefined, (e) => sigma[e]),
          byPair(original),
        );
      }),
      runs(0.1),
    );
  });

  test("does not change when a constant is added to a token's logits", () => {
    const cases = inputsOf(c, { element: dyadic, masked: false }).chain((input) =>
      fc.record({
        input: fc.constant(input),
        shift: fc.array(fc.integer({ min: -64, max: 64 }), { minLength: input.T, maxLength: input.T }),
      }),
    );
    fc.assert(
      fc.property(cases, ({ input: { T, E, logits }, shift }) => {
        // In float32 the shifted logits are exact and the softmax subtracts their maximum: the same bits come out.
        const x = logits.to("float32");
        const router = c.make(E);
        const routing = router(x, context(c));
        const shifted = router(x.add(tensor(shift).reshape([T, 1])), context(c));
        expect(integersOf(shifted)).toEqual(integersOf(routing));
        expect(numbers(shifted.gate)).toEqual(numbers(routing.gate));
      }),
      runs(0.1),
    );
  });

  test("decides in float64 as in float32 where no two scores are close", () => {
    const cases = distinct(c).filter((logits) => logits.shape[0] > 0);
    fc.assert(
      fc.property(cases, fc.integer(), (logits, seed) => {
        const [, E] = logits.shape;
        const precise = c.make(E)(logits, context(c, undefined, seed));
        const rough = c.make(E)(logits.to("float32"), context(c, undefined, seed));
        if (c.k === null) fc.pre(clearColumns(rough));
        expect(integersOf(rough)).toEqual(integersOf(precise));
        numbers(rough.gate).forEach((gate, s) => {
          expect(ulps(gate, numbers(precise.gate)[s])).toBeLessThanOrEqual(2);
        });
      }),
      runs(0.1),
    );
  });
});

describe.each(named(routers.filter((c) => c.dropless)))("%s, which drops nothing", (_, c) => {
  test("follows the tokens when they are permuted", () => {
    const cases = distinct(c).chain((logits) =>
      fc.record({ logits: fc.constant(logits), order: permutationOf(logits.shape[0]) }),
    );
    fc.assert(
      fc.property(cases, ({ logits, order }) => {
        const [, E] = logits.shape;
        const original = c.make(E)(logits);
        if (c.k === null) fc.pre(clearColumns(original));
        const permuted = c.make(E)(logits.indexSelect(0, tensor(Int32Array.from(order))));
        expectSamePairs(
          byPair(permuted, (i) => order[i]),
          byPair(original),
        );
      }),
      runs(0.1),
    );
  });
});

describe.each(named(routers.filter((c) => c.dropless && c.k !== null)))("%s, dropless token choice", (_, c) => {
  test("does not look ahead: editing later tokens changes nothing for earlier ones", () => {
    const cases = inputsOf(c, { element: general, masked: false })
      .filter(({ T }) => T > 1)
      .chain((input) =>
        fc.record({
          input: fc.constant(input),
          cut: fc.integer({ min: 1, max: input.T - 1 }),
          other: tensorOf([input.T, input.E], general, input.logits.dtype),
        }),
      );
    fc.assert(
      fc.property(cases, ({ input: { T, E, logits }, cut, other }) => {
        const prefix = numbers(logits).slice(0, cut * E);
        const edited = tensor([...prefix, ...numbers(other).slice(cut * E)], { dtype: logits.dtype }).reshape([T, E]);
        const early = (routing: Routing) => slotsOf(routing).filter(({ token }) => token < cut);
        expect(early(c.make(E)(edited))).toEqual(early(c.make(E)(logits)));
      }),
      runs(0.1),
    );
  });
});

test("first come, first served depends on the order of tokens, so capacity breaks permutation equivariance", () => {
  const router = routers.find((c) => c.name === "topKRouter k=1, capacity factor 0.5");
  if (router === undefined) throw new Error("the table has no such router");
  // Both tokens want expert 0, which has one place: whoever comes first gets it.
  const logits = tensor([
    [2, 0],
    [3, 0],
  ]);
  const granted = (routing: Routing) => slotsOf(routing).flatMap((slot) => (slot.granted ? [slot.token] : []));
  expect(granted(router.make(2)(logits))).toEqual([0]);
  const swapped = router.make(2)(logits.indexSelect(0, tensor(Int32Array.from([1, 0]))));
  // The first place of the swapped batch is the old token 1: had the law held, old token 0 would have it still.
  expect(granted(swapped)).toEqual([0]);
});
