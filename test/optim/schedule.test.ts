/** Schedules of the learning rate, and clipping by norm. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  clipGradNorm,
  constant,
  LRScheduler,
  linearWarmup,
  type Schedule,
  SGD,
  type Tensor,
  tensor,
  warmupCosine,
} from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";
import { parameter } from "./oracle.ts";

describe("factors", () => {
  test("constant is 1", () => {
    expect([0, 1, 1000].map(constant())).toEqual([1, 1, 1]);
  });

  test("linearWarmup goes up a line and stays", () => {
    expect([0, 1, 2, 3, 4, 100].map(linearWarmup(4))).toEqual([0.25, 0.5, 0.75, 1, 1, 1]);
    expect(linearWarmup(0)(0)).toBe(1);
  });

  test("warmupCosine goes up a line, down a cosine, and stays at the floor", () => {
    const schedule = warmupCosine({ warmup: 2, total: 6, floor: 0.2 });
    const expected = [0.5, 1, 1, 0.2 + 0.4 * (1 + Math.SQRT1_2), 0.6, 0.2 + 0.4 * (1 - Math.SQRT1_2), 0.2, 0.2];
    expected.forEach((factor, step) => {
      expect(schedule(step)).toBeCloseTo(factor, 14);
    });
    expect(schedule(1e9)).toBeCloseTo(0.2, 14);
  });

  test("warmupCosine with all of its steps in the warm-up drops to the floor after it", () => {
    expect([0, 1, 2].map(warmupCosine({ warmup: 2, total: 2 }))).toEqual([0.5, 1, 0]);
  });

  test("warmupCosine stays between floor and 1, rising through the warm-up and never after it", () => {
    const cases = fc
      .record({ total: fc.integer({ min: 1, max: 50 }), percent: fc.nat(100), floor: fc.constantFrom(0, 0.1, 1) })
      .map(({ total, percent, floor }) => ({ total, warmup: Math.floor((total * percent) / 100), floor }));
    fc.assert(
      fc.property(cases, ({ total, warmup, floor }) => {
        const schedule = warmupCosine({ total, warmup, floor });
        const factors = Array.from({ length: total + 3 }, (_, step) => schedule(step));
        factors.forEach((factor, step) => {
          expect(factor).toBeGreaterThan(step < warmup ? 0 : floor - 1e-12);
          expect(factor).toBeLessThan(1 + 1e-12);
          if (step > 0 && step < warmup) expect(factor).toBeGreaterThan(factors[step - 1]);
          if (step > warmup) expect(factor).toBeLessThan(factors[step - 1] + 1e-12);
        });
        expect(factors[total]).toBeCloseTo(floor, 12);
      }),
    );
  });

  test("refuse what is out of bounds", () => {
    expect(() => warmupCosine({ total: 0 })).toThrow(
      new RangeError("warmupCosine: total has 0, expected an integer of at least 1 (steps)"),
    );
    expect(() => warmupCosine({ total: 5, warmup: 6 })).toThrow(
      new RangeError("warmupCosine: warmup has 6, expected an integer from 0 to 5 (steps)"),
    );
    expect(() => warmupCosine({ total: 5, floor: 1.5 })).toThrow(
      new RangeError("warmupCosine: floor has 1.5, expected a number from 0 to 1"),
    );
    expect(() => warmupCosine({ total: 5, warmUp: 1 } as { total: number })).toThrow(
      new TypeError('warmupCosine: options has the name "warmUp", expected warmup, total, floor'),
    );
    expect(() => linearWarmup(-1)).toThrow(
      new RangeError("linearWarmup: warmup has -1, expected an integer of at least 0 (steps)"),
    );
  });
});

describe("LRScheduler", () => {
  const optimizer = (...rates: number[]): SGD =>
    new SGD(rates.map((lr) => ({ params: [parameter([0], "float64")], lr })));

  test("multiplies every group's own rate, from the first step on", () => {
    const sgd = optimizer(1, 0.5);
    const scheduler = new LRScheduler(sgd, linearWarmup(4));
    const seen = Array.from({ length: 5 }, () => {
      const rates = sgd.groups.map(({ lr }) => lr);
      expect(scheduler.rates).toEqual(rates);
      scheduler.step();
      return rates;
    });
    expect(seen).toEqual([
      [0.25, 0.125],
      [0.5, 0.25],
      [0.75, 0.375],
      [1, 0.5],
      [1, 0.5],
    ]);
  });

  test("is what the optimiser's next step uses", () => {
    const sgd = optimizer(1);
    const [p] = sgd.groups[0].params;
    const scheduler = new LRScheduler(sgd, (step) => 2 ** -step);
    for (const expected of [-1, -1.5, -1.75]) {
      p.grad = tensor([1], { dtype: "float64" });
      sgd.step();
      scheduler.step();
      expect(p.item()).toBe(expected);
    }
  });

  test("refuses what is no schedule, and factors below 0 or not finite, with the step", () => {
    expect(() => new LRScheduler(optimizer(1), 0.5 as unknown as Schedule)).toThrow(
      new TypeError("LRScheduler: schedule has 0.5, expected a function of the step"),
    );
    const scheduler = new LRScheduler(optimizer(1), (step) => 1 - step);
    scheduler.step();
    expect(() => scheduler.step()).toThrow(
      new RangeError("LRScheduler: the schedule has -1, expected a factor of at least 0 (at step 2)"),
    );
    expect(() => new LRScheduler(optimizer(1), () => Number.NaN)).toThrow(
      new RangeError("LRScheduler: the schedule has NaN, expected a factor of at least 0 (at step 0)"),
    );
  });
});

describe("clipGradNorm", () => {
  const withGrads = (...grads: (number[] | null)[]): Tensor[] =>
    grads.map((g) => {
      const p = parameter(g ?? [0], "float64");
      if (g !== null) p.grad = tensor(g, { dtype: "float64" });
      return p;
    });
  const gradsOf = (params: readonly Tensor[]): number[][] =>
    params.map((p) => (p.grad === null ? [] : numbers(p.grad)));

  // torch.nn.utils.clip_grad_norm_ of PyTorch 1.13 on gradients [3, −4, 1] and [2, 2.5] in float64.
  const torch: [maxNorm: number, grads: number[][]][] = [
    [
      1,
      [
        [0.4982727963638329, -0.6643637284851106, 0.16609093212127765],
        [0.3321818642425553, 0.41522733030319414],
      ],
    ],
    [
      5,
      [
        [2.491363981819165, -3.321818642425553, 0.8304546606063883],
        [1.6609093212127766, 2.076136651515971],
      ],
    ],
    [
      100,
      [
        [3, -4, 1],
        [2, 2.5],
      ],
    ],
  ];
  test.each(torch)("to %d does as PyTorch does", (maxNorm, expected) => {
    const params = withGrads([3, -4, 1], [2, 2.5]);
    expect(clipGradNorm(params, maxNorm).item()).toBeCloseTo(6.020797289396147, 14);
    gradsOf(params)
      .flat()
      .forEach((g, i) => {
        expect(g).toBeCloseTo(expected.flat()[i], 14);
      });
  });

  test("gives the joint norm before clipping, and leaves gradients of at most maxNorm in their direction", () => {
    const list = fc.array(
      fc.integer({ min: -80, max: 80 }).map((x) => x / 8),
      { minLength: 1, maxLength: 4 },
    );
    const cases = fc.record({
      grads: fc.array(list, { minLength: 1, maxLength: 3 }),
      maxNorm: fc.constantFrom(0.5, 3, 50),
    });
    fc.assert(
      fc.property(cases, ({ grads, maxNorm }) => {
        const params = withGrads(...grads);
        const norm = Math.hypot(...grads.flat());
        expect(clipGradNorm(params, maxNorm).item()).toBeCloseTo(norm, 10);
        const clipped = gradsOf(params);
        expect(Math.hypot(...clipped.flat())).toBeLessThan(maxNorm * (1 + 1e-12));
        const scale = Math.min(1, maxNorm / (norm + 1e-6));
        clipped.flat().forEach((g, i) => {
          expect(g).toBeCloseTo(grads.flat()[i] * scale, 11);
        });
      }),
    );
  });

  test("passes over parameters without a gradient; with none at all the norm is 0", () => {
    const params = withGrads(null, [3, 4], null);
    expect(clipGradNorm(params, 1).item()).toBe(5);
    expect([params[0].grad, params[2].grad]).toEqual([null, null]);
    const none = clipGradNorm(withGrads(null), 1);
    expect([none.item(), none.shape, none.dtype]).toEqual([0, [], "float64"]);
  });

  test("makes new gradients, so that whoever holds the old ones keeps them, and records nothing", () => {
    const [p] = withGrads([3, 4]);
    const { grad } = p;
    const norm = clipGradNorm([p], 1);
    expect(numbers(grad as Tensor)).toEqual([3, 4]);
    expect([norm.requiresGrad, p.grad?.requiresGrad]).toEqual([false, false]);
  });

  test("refuses bounds that are not above 0, and what is no list", () => {
    const params = withGrads([1]);
    for (const bad of [0, -1, Number.NaN]) {
      expect(() => clipGradNorm(params, bad)).toThrow(
        new RangeError(`clipGradNorm: maxNorm has ${bad}, expected a number above 0`),
      );
    }
    expect(() => clipGradNorm([], 1)).toThrow(
      new TypeError("clipGradNorm: params has [], expected a list of parameters"),
    );
    expect(() => clipGradNorm(params[0] as unknown as Tensor[], 1)).toThrow(
      new TypeError("clipGradNorm: params has a Tensor, expected a list of parameters"),
    );
    expect(numbers(params[0].grad as Tensor)).toEqual([1]);
  });
});
