import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tensor } from "../../src/index.ts";
import { nextBest, nextBestKernel } from "../../src/kernels/nextBest.ts";
import { numbers } from "../arbitraries.ts";
import { equalsReference } from "../suite.ts";

interface Case {
  readonly n: number;
  readonly numExperts: number;
  readonly k: number;
  readonly capacity: number;
  /** The experts of each token from best to worst, row by row. */
  readonly ranking: Int32Array;
}

/** Tokens that all want the same experts, and tokens that want any; room for few, for just enough, and for all. */
const cases: fc.Arbitrary<Case> = fc
  .record({ n: fc.nat(9), numExperts: fc.integer({ min: 1, max: 5 }), same: fc.boolean() })
  .chain(({ n, numExperts: E, same }) => {
    const experts = [...new Array(E).keys()];
    const order = fc.shuffledSubarray(experts, { minLength: E });
    const rows = same
      ? order.map((row) => new Array<number[]>(n).fill(row))
      : fc.array(order, { minLength: n, maxLength: n });
    return fc.record({
      n: fc.constant(n),
      numExperts: fc.constant(E),
      k: fc.integer({ min: 1, max: E }),
      capacity: fc.oneof(fc.nat(3), fc.constant(Math.ceil(n / E)), fc.constant(n)),
      ranking: rows.map((list) => Int32Array.from(list.flat())),
    });
  });

/** The expert of every assignment by round and token, and which of them found room. */
function outcome({ n, numExperts: E, k, capacity, ranking }: Case) {
  const experts = numbers(nextBest(tensor(ranking).reshape([n, E]), k, capacity));
  const load = new Array<number>(E).fill(0);
  return experts.map((expert, a) => {
    const free = load.map((used) => used < capacity);
    const granted = free[expert];
    if (granted) load[expert]++;
    const token = a % n;
    const own = ranking[token * E + Math.floor(a / n)];
    return { token, expert, own, granted, free };
  });
}

describe("nextBest", () => {
  equalsReference(
    nextBestKernel,
    cases.map(({ n, numExperts, k, capacity, ranking }) => ({
      inputs: [ranking],
      attrs: { numExperts, k, capacity },
      length: n * k,
      dtype: "int32" as const,
    })),
    "exact",
  );

  test("gives no expert more than its capacity, and no token the same expert twice", () => {
    fc.assert(
      fc.property(cases, (c) => {
        const all = outcome(c);
        for (let e = 0; e < c.numExperts; e++) {
          expect(all.filter(({ expert, granted }) => granted && expert === e).length).toBeLessThanOrEqual(c.capacity);
        }
        const pairs = all.map(({ token, expert }) => `${token}→${expert}`);
        expect(new Set(pairs).size).toBe(c.n * c.k);
      }),
    );
  });

  test("an assignment whose expert has room stays with it", () => {
    fc.assert(
      fc.property(cases, (c) => {
        for (const { expert, own, free } of outcome(c)) if (free[own]) expect(expert).toBe(own);
      }),
    );
  });

  test("one that moves takes the best expert with room that its token has neither asked for nor been given", () => {
    fc.assert(
      fc.property(cases, (c) => {
        const given = Array.from({ length: c.n }, () => new Set<number>());
        for (const { token, expert, own, granted, free } of outcome(c)) {
          const row = Array.from(c.ranking.subarray(token * c.numExperts, (token + 1) * c.numExperts));
          const others = row.slice(c.k).filter((e) => !given[token].has(e) && free[e]);
          // Nobody is dropped while an expert that the token may have has room.
          if (!granted) expect([expert, ...others]).toEqual([own]);
          else if (expert !== own) expect(expert).toBe(others[0]);
          if (granted) given[token].add(expert);
        }
      }),
    );
  });

  test("with room for all nobody moves, and with room for an even share of top-1 nobody is dropped", () => {
    fc.assert(
      fc.property(cases, (c) => {
        for (const { expert, own } of outcome({ ...c, capacity: c.n })) expect(expert).toBe(own);
        const even = outcome({ ...c, k: 1, capacity: Math.ceil(c.n / c.numExperts) });
        expect(even.filter(({ granted }) => !granted)).toEqual([]);
      }),
    );
  });

  test("by hand: three tokens that agree, room for one each", () => {
    const ranking = tensor(Int32Array.from([0, 1, 2, 0, 1, 2, 0, 1, 2])).reshape([3, 3]);
    expect(numbers(nextBest(ranking, 1, 1))).toEqual([0, 1, 2]);
    // Top-2: expert 2 is the only one that they have not asked for; the first token that needs it gets it.
    expect(numbers(nextBest(ranking, 2, 1))).toEqual([0, 2, 0, 1, 1, 1]);
  });
});
