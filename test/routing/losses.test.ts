/** The auxiliary losses of a routing: their scale, their gradients, and what they count. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Generator,
  grad,
  gradcheck,
  gshardRouter,
  type Routing,
  squaredVariation,
  type Tensor,
  tensor,
  topKRouter,
  valueAndGrad,
} from "../../src/index.ts";
import { slotMaps, withLogits } from "../../src/routing/record.ts";
import { general, numbers, tensorOf } from "../arbitraries.ts";
import { asked, context, named, routers, rowsOf, runs } from "./table.ts";

/** Logits whose softmax is the given table; −∞ where it has 0. */
const logitsOf = (probs: readonly (readonly number[])[]): Tensor =>
  tensor(
    probs.map((row) => row.map(Math.log)),
    { dtype: "float64" },
  );

/** Logits [T, E] in float64, T above 0. */
const logits64 = (minExperts: number) =>
  fc
    .record({ T: fc.integer({ min: 1, max: 6 }), E: fc.integer({ min: minExperts, max: 5 }) })
    .chain(({ T, E }) => tensorOf([T, E], general, "float64"));

/** f[e]: the share of the slots (or of the first choices) that asked for e. */
function sharesOf(routing: Routing, firstOnly: boolean): number[] {
  const experts = numbers(routing.expertOfSlot);
  const slots = numbers(routing.slotsOfToken);
  const starts = numbers(routing.tokenOffsets).slice(0, -1);
  const list = firstOnly ? starts.map((i) => experts[slots[i]]) : experts;
  return Array.from({ length: routing.numExperts }, (_, e) => list.filter((x) => x === e).length / list.length);
}

describe("balance = E · Σ f[e] · P[e]", () => {
  test.each([1, 2, 3, 4])("is 1 when P is even, for k = %i", (k) => {
    // All logits 0: the ties send every token to the lowest experts, so that f is as uneven as can be.
    const routing = topKRouter({ k })(tensor(new Float32Array(20)).reshape([5, 4]));
    expect(routing.losses.balance.item()).toBe(1);
  });

  test.each([1, 2, 3])("is 1 when f is even, for k = %i", (k) => {
    // Token t prefers expert t, then t + 1, and so on: each expert is asked for k times.
    const rows = Array.from({ length: 4 }, (_, t) => Array.from({ length: 4 }, (_, e) => 3 - ((e - t + 4) % 4)));
    const uneven = tensor(rows, { dtype: "float64" });
    expect(topKRouter({ k })(uneven).losses.balance.item()).toBeCloseTo(1, 14);
  });

  test("is E when every token asks for one expert with certainty", () => {
    for (const E of [2, 5, 8]) {
      const collapsed = tensor(
        Array.from({ length: 6 }, () => Array.from({ length: E }, (_, e) => (e === 1 ? 0 : -1e4))),
      );
      expect(topKRouter({ k: 1 })(collapsed).losses.balance.item()).toBe(E);
      expect(gshardRouter()(collapsed).losses.balance.item()).toBe(E);
      // With k = 2 half of the slots ask for another expert, whose P is 0.
      expect(topKRouter({ k: 2 })(collapsed).losses.balance.item()).toBe(E / 2);
    }
  });

  test("1 is not a lower bound: f and P may lean opposite ways", () => {
    const logits = logitsOf([
      [0.51, 0.49],
      [0.51, 0.49],
      [0, 1],
    ]);
    // f = (2/3, 1/3), P = (0.34, 0.66)
    const balance = topKRouter({ k: 1 })(logits).losses.balance.item();
    expect(balance).toBeCloseTo(2 * ((2 / 3) * 0.34 + (1 / 3) * 0.66), 14);
    expect(balance).toBeCloseTo(0.8933, 4);
  });

  test("counts what was asked for, not what was granted", () => {
    const logits = logitsOf([
      [0.9, 0.1],
      [0.8, 0.2],
      [0.7, 0.3],
      [0.4, 0.6],
    ]);
    const dropless = topKRouter({ k: 1 })(logits);
    const full = topKRouter({ k: 1, capacityFactor: 0.5 })(logits);
    expect(numbers(full.offsets)).toEqual([0, 1, 2]);
    expect(full.losses.balance.item()).toBe(dropless.losses.balance.item());
    expect(full.losses.balance.item()).toBeCloseTo(2 * (0.75 * 0.7 + 0.25 * 0.3), 14);
  });

  test("GShard's counts first choices only", () => {
    const logits = logitsOf([
      [0.5, 0.3, 0.2],
      [0.5, 0.3, 0.2],
    ]);
    expect(gshardRouter()(logits).losses.balance.item()).toBeCloseTo(3 * 0.5, 14);
    expect(topKRouter({ k: 2 })(logits).losses.balance.item()).toBeCloseTo(3 * (0.5 * 0.5 + 0.5 * 0.3), 14);
  });

  test("descending it lowers the logit of the expert that is asked for most, and raises that of the least", () => {
    fc.assert(
      fc.property(logits64(2), (logits) => {
        logits.requiresGrad = true;
        const routing = topKRouter({ k: 1 })(logits);
        const f = sharesOf(routing, false);
        routing.losses.balance.backward();
        // Where f is even the gradient is 0, of terms of size E that are rounded E times.
        const rounding = logits.shape[1] ** 2 * 2 ** -52;
        for (const row of rowsOf(logits.grad as Tensor)) {
          expect(row[f.indexOf(Math.max(...f))]).toBeGreaterThanOrEqual(-rounding);
          expect(row[f.indexOf(Math.min(...f))]).toBeLessThanOrEqual(rounding);
        }
      }),
    );
    const logits = tensor([[1, 0, 0.5]], { requiresGrad: true });
    topKRouter({ k: 1 })(logits).losses.balance.backward();
    expect(numbers(logits.grad as Tensor).map(Math.sign)).toEqual([1, -1, -1]);
  });
});

describe.each(named(routers))("%s", (_, c) => {
  test("has the balance loss of its formula, and a gradient through P alone", () => {
    fc.assert(
      fc.property(logits64(c.minExperts), (logits) => {
        logits.requiresGrad = true;
        const [T, E] = logits.shape;
        const routing = c.make(E)(logits, context(c));
        const f = sharesOf(routing, c.firstOnly);
        const probs = rowsOf(routing.probs);
        const P = f.map((_, e) => probs.reduce((sum, row) => sum + row[e], 0) / T);
        const { balance } = routing.losses;
        expect(balance.item()).toBeCloseTo(E * f.reduce((sum, share, e) => sum + share * P[e], 0), 13);
        balance.backward();
        // With f held fixed: d/dh[t, i] = E/T · p[t, i] · (f[i] − Σ_e f[e] · p[t, e]).
        rowsOf(logits.grad as Tensor).forEach((row, t) => {
          const mean = f.reduce((sum, share, e) => sum + share * probs[t][e], 0);
          row.forEach((g, i) => {
            expect(g).toBeCloseTo((E / T) * probs[t][i] * (f[i] - mean), 13);
          });
        });
      }),
      runs(0.1),
    );
  });

  test("asks, in its balance loss, as the sorted logits say", () => {
    fc.assert(
      fc.property(logits64(c.minExperts), (logits) => {
        const [T, E] = logits.shape;
        const routing = c.make(E)(logits, context(c));
        const wanted = asked(c, routing, [...Array(T).keys()], new Generator(5));
        const counted = c.firstOnly ? wanted.slice(0, T) : wanted;
        const f = Array.from({ length: E }, (_, e) => counted.filter((a) => a.expert === e).length / counted.length);
        expect(sharesOf(routing, c.firstOnly)).toEqual(f);
      }),
      runs(0.05),
    );
  });

  test("has losses that differences confirm, first and second derivative", () => {
    const logits = tensor(
      [
        [0.5, -1, 2],
        [1.5, 0.25, -0.75],
      ],
      { dtype: "float64" },
    );
    const routing = c.make(3)(logits, context(c));
    for (const name of ["balance", "z"] as const) {
      const loss = (x: Tensor): Tensor => withLogits(routing, x).losses[name];
      gradcheck(loss, [logits], { atol: 1e-8, rtol: 1e-6 });
      gradcheck(grad(loss), [logits], { atol: 1e-8, rtol: 1e-6 });
    }
  });
});

describe("z = mean (ln Σ e^logit)²", () => {
  test("is (ln E)² at zero logits", () => {
    for (const E of [1, 2, 8]) {
      const zero = tensor(new Float64Array(3 * E)).reshape([3, E]);
      expect(topKRouter({ k: 1 })(zero).losses.z.item()).toBeCloseTo(Math.log(E) ** 2, 14);
    }
    expect(Math.log(8) ** 2).toBeCloseTo(4.324077, 6);
  });

  test("is not shift invariant: a constant on the logits moves every logsumexp by it", () => {
    fc.assert(
      fc.property(logits64(1), fc.integer({ min: -8, max: 8 }), (logits, a) => {
        const lse = numbers(logits.logsumexp());
        const shifted = topKRouter({ k: 1 })(logits.add(a)).losses.z.item();
        const expected = lse.reduce((sum, x) => sum + (x + a) ** 2, 0) / lse.length;
        expect(Math.abs(shifted - expected)).toBeLessThan(1e-12 * (1 + expected));
      }),
    );
  });

  test("has the gradient (2/T) · logsumexp · softmax", () => {
    fc.assert(
      fc.property(logits64(1), (logits) => {
        logits.requiresGrad = true;
        const [T] = logits.shape;
        topKRouter({ k: 1 })(logits).losses.z.backward();
        const lse = numbers(logits.logsumexp());
        const probs = rowsOf(logits.softmax());
        rowsOf(logits.grad as Tensor).forEach((row, t) => {
          row.forEach((g, i) => {
            expect(g).toBeCloseTo((2 / T) * lse[t] * probs[t][i], 13);
          });
        });
      }),
    );
  });
});

describe("masked tokens", () => {
  const cases = fc.record({ T: fc.integer({ min: 1, max: 6 }), E: fc.integer({ min: 2, max: 5 }) }).chain(({ T, E }) =>
    fc.record({
      logits: tensorOf([T, E], general, "float64"),
      mask: fc.array(fc.boolean(), { minLength: T, maxLength: T }),
    }),
  );

  test.each([
    ["all choices", topKRouter({ k: 2 })],
    ["first choices", gshardRouter()],
  ])("are in no loss, and get no gradient, where %s are counted", (_, router) => {
    fc.assert(
      fc.property(cases, ({ logits, mask }) => {
        const kept = mask.flatMap((keep, t) => (keep ? [t] : []));
        const alone = router(logits.indexSelect(0, tensor(Int32Array.from(kept)))).losses;
        const { losses } = router(logits, { mask });
        expect(losses.balance.item()).toBeCloseTo(alone.balance.item(), 13);
        expect(losses.z.item()).toBeCloseTo(alone.z.item(), 13);
        const g = rowsOf(grad((x: Tensor) => router(x, { mask }).losses.balance)(logits));
        for (const [t, row] of g.entries()) if (!mask[t]) expect(row.every((x) => x === 0)).toBe(true);
      }),
      runs(0.3),
    );
  });

  test.each([
    ["no tokens", tensor(new Float32Array(0)).reshape([0, 3]), undefined],
    ["none that is kept", tensor([[1, 2, 3]]), [false]],
  ])("%s: the losses are 0, with a gradient of 0", (_, logits, mask) => {
    for (const router of [topKRouter({ k: 2 }), gshardRouter()]) {
      for (const name of ["balance", "z"] as const) {
        const [value, g] = valueAndGrad((x: Tensor) => router(x, { mask }).losses[name])(logits);
        expect([value.item(), ...numbers(g)]).toEqual(new Array(1 + logits.size).fill(0));
      }
    }
  });
});

test("no numbers have no variation", () => {
  expect(() => squaredVariation(tensor([]))).toThrow(
    new RangeError("squaredVariation: x has shape [0], expected at least one element"),
  );
});

test("losses are made anew at each access, so that each can be differentiated on its own", () => {
  const logits = tensor([[1, 2]], { requiresGrad: true });
  const { losses } = topKRouter({ k: 1 })(logits);
  losses.z.backward();
  const once = numbers(logits.grad as Tensor);
  losses.z.backward();
  expect(numbers(logits.grad as Tensor)).toEqual(once.map((g) => 2 * g));
});

test("zeros are even: their CV² is 0, and so is its gradient; ±1 have ∞", () => {
  for (const dtype of ["float32", "float64"] as const) {
    const [value, dx] = valueAndGrad(squaredVariation)(tensor([0, 0, 0], { dtype }));
    expect([value.item(), ...numbers(dx)]).toEqual([0, 0, 0, 0]);
    expect(squaredVariation(tensor([1, -1], { dtype })).item()).toBe(Infinity);
    expect(squaredVariation(tensor([3, 0, 0], { dtype })).item()).toBeCloseTo(2, 6);
  }
});

test("of no tokens are 0 and on the graph, whatever stands in the rows that were left out", () => {
  const none = tensor(new Int32Array(0));
  for (const junk of [2, Infinity, Number.NaN]) {
    // A router of one's own that did not clear the masked rows.
    const logits = tensor([[junk, 1, 0]], { dtype: "float64", requiresGrad: true });
    const lists = { tokenOf: none, expertOf: none, allowed: none };
    const rule = { score: "softmax", normalize: false, balanceOver: "choices", choiceBy: "token" } as const;
    const maps = slotMaps(lists, 1, 3, 1);
    const { balance, z } = withLogits({ router: "own", rule, capacity: 1, keptTokens: none, ...maps }, logits).losses;
    for (const loss of [balance, z]) {
      expect(loss.item()).toBe(0);
      logits.grad = null;
      loss.backward();
      expect(numbers(logits.grad as unknown as Tensor)).toEqual([0, 0, 0]);
    }
  }
});
