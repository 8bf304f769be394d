/** Gates: what multiplies each slot's output, in value and in gradient. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  detectAnomaly,
  Generator,
  gradcheck,
  type Routing,
  type Tensor,
  tensor,
  topKRouter,
  valueAndGrad,
  zeros,
} from "../../src/index.ts";
import { withLogits } from "../../src/routing/record.ts";
import { general, numbers, tensorOf } from "../arbitraries.ts";
import { asked, context, named, ranking, routers, rowsOf, runs, slotsOf } from "./table.ts";

const integers = (list: readonly number[]): Tensor => tensor(Int32Array.from(list));

/** Largest difference between two tensors. */
const distance = (a: Tensor, b: Tensor): number => Math.max(0, ...numbers(a.sub(b).abs()));

/** Logits [T, E] in float64 with weights for the slots of a k-router and for all pairs. */
const weighted = (k: number) =>
  fc
    .record({ T: fc.integer({ min: 1, max: 6 }), E: fc.integer({ min: k, max: 6 }) })
    .chain(({ T, E }) => fc.tuple(tensorOf([T, E], general, "float64"), tensorOf([T, E], general, "float64")));

describe.each([2, 3])("renormalised gates of k = %i", (k) => {
  test("are the softmax of the chosen logits, in value and gradient", () => {
    fc.assert(
      fc.property(weighted(k), ([logits, weights]) => {
        const chosen = integers(rowsOf(logits).flatMap((row) => ranking(row).slice(0, k))).reshape([
          logits.shape[0],
          k,
        ]);
        const v = weights.gather(1, chosen);
        const [expected, expectedGrad] = valueAndGrad((x: Tensor) => x.gather(1, chosen).softmax().mul(v).sum())(
          logits,
        );
        const [actual, actualGrad] = valueAndGrad((x: Tensor) => {
          const routing = topKRouter({ k, normalize: true })(x);
          return routing.gate.mul(pairWeights(routing, weights)).sum();
        })(logits);
        expect(distance(actual, expected)).toBeLessThan(1e-13);
        expect(distance(actualGrad, expectedGrad)).toBeLessThan(1e-13);
      }),
    );
  });
});

/** weights[token, expert] of every slot. */
function pairWeights(routing: Routing, weights: Tensor): Tensor {
  const cells = slotsOf(routing).map(({ token, expert }) => token * routing.numExperts + expert);
  return weights.reshape([weights.size]).indexSelect(0, integers(cells));
}

describe.each([false, true])("k = E, normalised %s", (normalize) => {
  test("is the dense softmax mixture, in value and gradient", () => {
    fc.assert(
      fc.property(weighted(2), ([logits, weights]) => {
        const [expected, expectedGrad] = valueAndGrad((x: Tensor) => x.softmax().mul(weights).sum())(logits);
        const [actual, actualGrad] = valueAndGrad((x: Tensor) => {
          const routing = topKRouter({ k: x.shape[1], normalize })(x);
          return routing.gate.mul(pairWeights(routing, weights)).sum();
        })(logits);
        expect(distance(actual, expected)).toBeLessThan(1e-13);
        expect(distance(actualGrad, expectedGrad)).toBeLessThan(1e-13);
      }),
    );
  });
});

describe.each(named(routers))("%s", (_, c) => {
  test("has the gradient that differences give, with its slots held fixed", () => {
    const cases = fc
      .record({ T: fc.integer({ min: 1, max: 3 }), E: fc.integer({ min: c.minExperts, max: 4 }) })
      .chain(({ T, E }) => tensorOf([T, E], general, "float64"));
    fc.assert(
      fc.property(cases, (logits) => {
        const routing = c.make(logits.shape[1])(logits, context(c));
        const report = gradcheck((x: Tensor) => withLogits(routing, x).gate, [logits], { atol: 1e-8, rtol: 1e-6 });
        expect(report.crossed).toEqual([]);
      }),
      { numRuns: 5 },
    );
  });

  test("renormalises before dropping: a lost gate is not given to the others", () => {
    const cases = fc
      .record({ T: fc.integer({ min: 1, max: 6 }), E: fc.integer({ min: c.minExperts, max: 4 }) })
      .chain(({ T, E }) => tensorOf([T, E], general, "float64"));
    fc.assert(
      fc.property(cases, (logits) => {
        const [T, E] = logits.shape;
        const routing = c.make(E)(logits, context(c));
        const probs = rowsOf(routing.probs);
        const wanted = asked(c, routing, [...Array(T).keys()], new Generator(5));
        const slots = slotsOf(routing);
        for (let t = 0; t < T; t++) {
          const share = (list: readonly { token: number; expert: number }[]): number =>
            list.filter(({ token }) => token === t).reduce((sum, { expert }) => sum + probs[t][expert], 0);
          const whole = c.normalize ? share(wanted) : 1;
          const kept = share(slots.filter(({ granted }) => granted)) / whole;
          const gates = slots.filter(({ token }) => token === t).reduce((sum, { gate }) => sum + gate, 0);
          expect(gates).toBeCloseTo(kept, 12);
          expect(gates).toBeLessThan(1 + 1e-12);
        }
      }),
      runs(0.1),
    );
  });
});

test("softmax first or top-k first: the two conventions differ unless gates are renormalised", () => {
  const p = [0.07, 0.31, 0.06, 0.05, 0.28, 0.08, 0.09, 0.06];
  const logits = tensor([p.map(Math.log)], { dtype: "float64" });
  const plain = topKRouter({ k: 2, normalize: false })(logits);
  expect(numbers(plain.expertOfSlot)).toEqual([1, 4]);
  numbers(plain.gate).forEach((gate, s) => {
    expect(gate).toBeCloseTo([0.31, 0.28][s], 14);
  });
  const renormalised = topKRouter({ k: 2, normalize: true })(logits);
  numbers(renormalised.gate).forEach((gate, s) => {
    expect(gate).toBeCloseTo([0.31 / 0.59, 0.28 / 0.59][s], 14);
  });
});

test("normalise is on unless k is 1", () => {
  const logits = tensor([[1, 2, 3]]);
  expect(topKRouter({ k: 1 })(logits).rule.normalize).toBe(false);
  expect(topKRouter()(logits).rule.normalize).toBe(true);
  expect(topKRouter()(logits).numSlots).toBe(2);
});

test("ties go to the lower expert", () => {
  const logits = tensor([
    [1, 2, 2, 2],
    [0, 0, 0, 0],
  ]);
  const routing = topKRouter({ k: 2 })(logits);
  expect(slotsOf(routing).map(({ token, expert }) => [token, expert])).toEqual([
    [1, 0],
    [0, 1],
    [1, 1],
    [0, 2],
  ]);
});

test("a closed expert, of logit −∞, is asked only when no other is left, and then with a gate of 0", () => {
  const logits = tensor([[0, -Infinity, 1]], { requiresGrad: true });
  expect(numbers(topKRouter({ k: 2 })(logits).expertOfSlot)).toEqual([0, 2]);
  const all = topKRouter({ k: 3 })(logits);
  expect(numbers(all.gate)[1]).toBe(0);
  all.gate.square().sum().backward();
  expect(numbers(logits.grad as Tensor).every(Number.isFinite)).toBe(true);
});

test("a new input keeps the slots of a replayed routing, and gets gates of its own", () => {
  const routing = topKRouter({ k: 2, normalize: false })(tensor([[3, 2, 1, 0]]));
  const logits = tensor([[0, 1, 2, 3]]);
  const replayed = withLogits(routing, logits);
  expect(numbers(replayed.expertOfSlot)).toEqual([0, 1]);
  expect(numbers(replayed.gate)).toEqual(numbers(logits.softmax()).slice(0, 2));
});

test("renormalised gates are the softmax of the asked logits, also where these are far below the others", () => {
  const routing = topKRouter({ k: 2 })(tensor([[2, 1, 0]]));
  for (const gap of [0, 50, 100, 200, 1e4]) {
    const logits = tensor([[0, -1, gap]], { requiresGrad: true });
    const { gate } = withLogits(routing, logits);
    expect(numbers(gate)[0]).toBeCloseTo(1 / (1 + Math.exp(-1)), 6);
    gate.slice({ end: 1 }).sum().backward();
    const g = Math.exp(-1) / (1 + Math.exp(-1)) ** 2;
    [g, -g, 0].forEach((expected, i) => {
      expect(numbers(logits.grad as Tensor)[i]).toBeCloseTo(expected, 6);
    });
  }
  const full = topKRouter({ k: 2, dropPolicy: "next-best", capacityFactor: 0.5 });
  const crowded = full(
    tensor([
      [200, 200, 1, 0],
      [200, 200, 1, 0],
    ]),
  );
  expect(numbers(crowded.gate).every(Number.isFinite)).toBe(true);
});

test.each([
  ["float32", -3e38],
  ["float64", -1.5e308],
] as const)("renormalised gates of equal %s logits are even, however low these are", (dtype, low) => {
  const logits = zeros([2, 3], { dtype }).add(low);
  const { gate } = detectAnomaly(() => topKRouter({ k: 2 })(logits));
  expect(numbers(gate)).toEqual([0.5, 0.5, 0.5, 0.5]);
});
