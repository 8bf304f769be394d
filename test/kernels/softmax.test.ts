import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Flat } from "../../src/device/kernel.ts";
import {
  logSoftmax,
  logsumexp,
  type Shape,
  softmax,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from "../../src/index.ts";
import {
  logSoftmaxBackwardKernel,
  logSoftmaxKernel,
  logsumexpKernel,
  softmaxBackwardKernel,
  softmaxKernel,
} from "../../src/kernels/softmax.ts";
import { dyadic, floats, fullShapes, general, logit, numbers, raggedSize, tensorOf } from "../arbitraries.ts";
import { devices, equalsReference, formOn, hasRightGradient, standsAlone, ulps } from "../suite.ts";

/** Rows of logits, ±1e4 and closed experts (−∞) among them; the first of a row is always finite. */
const rows = fc.tuple(fc.nat(4), fc.oneof(raggedSize, fc.constant(64))).chain(([R, n]) =>
  floats(R * n, fc.oneof({ weight: 9, arbitrary: logit }, { weight: 1, arbitrary: fc.constant(-Infinity) })).map(
    (x) => {
      for (let r = 0; r < R; r++) if (x[r * n] === -Infinity) x[r * n] = 0;
      return { x, n, R };
    },
  ),
);

const cases = rows.map(({ x, n }) => ({ inputs: [x], attrs: { n }, length: x.length, dtype: "float32" as const }));

/** One rounding, and a little for what float64 itself loses where logits of 1e4 are subtracted. */
const oneRounding = { ulps: 0.51 };
/** Exponentials in float32 on simd. */
const someRoundings = { loops: oneRounding, simd: { ulps: 8, below: 8e-10 } };

const largest = (x: Flat): number => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

/** Rows with whatever a float can be; `limit` says what softmax makes of +∞. */
const strange = fc
  .tuple(
    fc.array(fc.constantFrom(NaN, Infinity, -Infinity, 1e4, -1e4, 1, 0, -0, 1e-40), {
      minLength: 1,
      maxLength: 9,
    }),
    fc.boolean(),
  )
  .map(([row, limit]) => ({
    inputs: [Float32Array.from(row)],
    attrs: { n: row.length, limit },
    length: row.length,
    dtype: "float32" as const,
  }));

const shaped = fullShapes(3, 1).chain((shape) => fc.record({ x: tensorOf(shape, logit), dim: anyDim(shape) }));
const anyDim = (shape: Shape) => fc.integer({ min: -shape.length, max: shape.length - 1 });

/** Small shapes for differences: every entry costs two forwards. */
const small = fc
  .array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 2 })
  .chain((shape) => fc.record({ x: tensorOf(shape, general), dim: anyDim(shape) }));

describe("the softmax family", () => {
  equalsReference(softmaxKernel, cases, someRoundings);
  equalsReference(logSoftmaxKernel, cases, someRoundings);
  equalsReference(softmaxKernel, strange, someRoundings);
  equalsReference(logSoftmaxKernel, strange, someRoundings);
  equalsReference(
    logsumexpKernel,
    rows.map(({ x, n, R }) => ({ inputs: [x], attrs: { n }, length: R, dtype: "float32" as const })),
    {
      loops: oneRounding,
      simd: {
        absolute: ({ inputs: [x], attrs: { n } }) => {
          const finite = x.filter(Number.isFinite);
          return 2 ** -24 * (largest(finite) + Math.log(n) + 3 + Math.log(n));
        },
      },
    },
  );

  test.each(devices)("logsumexp of ∞, −∞ and NaN on %s is what the reference says", (device) => {
    const choices = [NaN, Infinity, -Infinity, 1];
    const rows = choices.flatMap((a) => choices.flatMap((b) => [a, b, -Infinity, a, b]));
    const [actual, expected] = [new Float32Array(choices.length ** 2), new Float64Array(choices.length ** 2)];
    formOn(logsumexpKernel, device)?.(actual, [Float32Array.from(rows)], { n: 5 });
    logsumexpKernel.reference(expected, [Float64Array.from(rows)], { n: 5 });
    expect(Array.from(actual)).toEqual(Array.from(expected, Math.fround));
  });

  standsAlone(softmaxKernel, { n: 9, limit: false }, [9], 9);
  standsAlone(logSoftmaxKernel, { n: 9 }, [9], 9);
  standsAlone(logsumexpKernel, { n: 9 }, [9], 1);
  standsAlone(softmaxBackwardKernel, { n: 9 }, [9, 9], 9);
  standsAlone(logSoftmaxBackwardKernel, { n: 9 }, [9, 9], 9);

  /** A cotangent and probabilities, or any numbers in their place. */
  const pairs = (y: fc.Arbitrary<number>) =>
    fc
      .tuple(fc.nat(4), fc.oneof(raggedSize, fc.constant(64)))
      .chain(([R, n]) =>
        fc
          .tuple(floats(R * n, general), floats(R * n, y))
          .map((inputs) => ({ inputs, attrs: { n }, length: R * n, dtype: "float32" as const })),
      );
  // A difference, rounded once; what float64 leaves of it where it cancels is far below.
  equalsReference(softmaxBackwardKernel, pairs(general), {
    absolute: ({ inputs: [g, y], attrs: { n } }) => 2 ** -24 * largest(y) * largest(g) * (1 + n * largest(y)) * 1.01,
  });
  equalsReference(softmaxBackwardKernel, pairs(dyadic.map((v) => v / 2)), "exact");
  equalsReference(logSoftmaxBackwardKernel, pairs(general.map((v) => -Math.abs(v))), {
    loops: { absolute: ({ inputs: [g], attrs: { n } }) => 2 ** -24 * (n + 1) * largest(g) * 1.01 },
    simd: { absolute: ({ inputs: [g], attrs: { n } }) => 2 ** -24 * (7 * n + 1) * largest(g) * 1.01 },
  });

  for (const [name, op] of [
    ["softmax", softmax],
    ["logSoftmax", logSoftmax],
    ["logsumexp", logsumexp],
  ] as const) {
    hasRightGradient(
      name,
      small.map(({ x, dim }) => ({ f: (y: Tensor) => op(y, { dim }), inputs: [x] })),
    );
  }

  test("softmax is between 0 and 1 and sums to 1, along every dim", () => {
    fc.assert(
      fc.property(shaped, ({ x, dim }) => {
        const p = x.softmax({ dim });
        expect(p.shape).toEqual(x.shape);
        expect(p.data.every((v) => v >= 0 && v <= 1)).toBe(true);
        const n = x.shape.at(dim) as number;
        // Each of the n terms is at most 1 and off by at most 2⁻²⁵.
        for (const total of p.to("float64").sum({ dim }).data)
          expect(Math.abs(total - 1)).toBeLessThanOrEqual(n * 2 ** -25);
      }),
    );
  });

  test("another dim is the last dim of the transpose", () => {
    fc.assert(
      fc.property(shaped, ({ x, dim }) => {
        for (const op of [softmax, logSoftmax]) {
          const viaLast = op(x.transpose(dim, -1)).transpose(dim, -1);
          expect(numbers(op(x, { dim }))).toEqual(numbers(viaLast));
        }
        const kept = x.logsumexp({ dim, keepdim: true });
        expect(numbers(kept)).toEqual(numbers(x.transpose(dim, -1).logsumexp({ keepdim: true }).transpose(dim, -1)));
        expect(kept.shape).toEqual(x.shape.map((n, d) => (d === (dim + x.shape.length) % x.shape.length ? 1 : n)));
        expect(numbers(x.logsumexp({ dim }))).toEqual(numbers(kept));
      }),
    );
  });

  test("a constant added to all logits changes nothing in softmax and logSoftmax, and adds itself to logsumexp", () => {
    fc.assert(
      fc.property(
        fullShapes(2, 1).chain((shape) => tensorOf(shape, dyadic)),
        fc.integer({ min: -99, max: 99 }),
        (x, c) => {
          // In float64, where eighths plus an integer are exact: what is left is the rounding of exp and log.
          const [low, high] = [x.to("float64"), x.to("float64").add(c)];
          const close = (a: Tensor, b: Tensor) =>
            a.data.forEach((v, i) => {
              expect(Math.abs(v - b.data[i])).toBeLessThanOrEqual(1e-13);
            });
          close(low.softmax(), high.softmax());
          close(low.logSoftmax(), high.logSoftmax());
          close(low.logsumexp().add(c), high.logsumexp());
        },
      ),
    );
  });

  test("logits of ±1e4 give finite numbers, and finite gradients", () => {
    fc.assert(
      fc.property(
        fullShapes(2, 1).chain((shape) => tensorOf(shape, fc.constantFrom(-1e4, 1e4, 0))),
        (x) => {
          for (const op of [softmax, logSoftmax, logsumexp]) {
            const [value, dx] = valueAndGrad((y: Tensor) => op(y).square().sum())(x);
            expect(Number.isFinite(value.item())).toBe(true);
            expect(dx.data.every(Number.isFinite)).toBe(true);
          }
        },
      ),
    );
  });

  test("logSoftmax is the logarithm of softmax, and x − logsumexp(x)", () => {
    fc.assert(
      fc.property(
        fullShapes(2, 1).chain((shape) => tensorOf(shape, general)),
        (single) => {
          const x = single.to("float64");
          const lp = x.logSoftmax();
          const [viaLog, viaSum] = [x.softmax().log(), x.sub(x.logsumexp({ keepdim: true }))];
          lp.data.forEach((v, i) => {
            expect(Math.abs(v - viaLog.data[i])).toBeLessThanOrEqual(1e-14);
            expect(Math.abs(v - viaSum.data[i])).toBeLessThanOrEqual(1e-14);
          });
        },
      ),
    );
  });

  test("the gradient of logsumexp is softmax, to the last bit", () => {
    fc.assert(
      fc.property(shaped, ({ x, dim }) => {
        const [, dx] = valueAndGrad((y: Tensor) => y.logsumexp({ dim }).sum())(x);
        expect(numbers(dx)).toEqual(numbers(x.softmax({ dim })));
      }),
    );
  });

  test("the gradient of softmax sums to 0 along its dim", () => {
    fc.assert(
      fc.property(
        fullShapes(2, 1).chain((shape) => fc.tuple(tensorOf(shape, general), tensorOf(shape, general))),
        ([x, c]) => {
          const [, dx] = valueAndGrad((y: Tensor) => y.softmax().mul(c.to("float64")).sum())(x.to("float64"));
          for (const total of dx.sum({ dim: -1 }).data) expect(Math.abs(total)).toBeLessThanOrEqual(1e-14);
        },
      ),
    );
  });

  test("an expert closed with −∞ gets exactly 0, and the others what they would get without it", () => {
    fc.assert(
      fc.property(
        fc
          .array(logit, { minLength: 1, maxLength: 6 })
          .chain((open) => fc.record({ open: fc.constant(open), place: fc.nat(open.length) })),
        ({ open, place }) => {
          const closed = tensor([...open.slice(0, place), -Infinity, ...open.slice(place)]);
          for (const dtype of ["float32", "float64"] as const) {
            const p = closed.to(dtype).softmax();
            expect(p.data[place]).toBe(0);
            expect(closed.to(dtype).logSoftmax().data[place]).toBe(-Infinity);
            const without = tensor(open, { dtype }).softmax();
            expect(Array.from(p.data.filter((_, i) => i !== place))).toEqual(numbers(without));
            const [, dx] = valueAndGrad((y: Tensor) => y.softmax().square().sum())(closed.to(dtype));
            expect(dx.data[place] + 0).toBe(0);
          }
        },
      ),
    );
  });

  test("order goes with the logits: a permutation of them permutes softmax", () => {
    fc.assert(
      fc.property(
        fc
          .array(general, { minLength: 1, maxLength: 8 })
          .chain((list) =>
            fc.tuple(fc.constant(list), fc.shuffledSubarray([...list.keys()], { minLength: list.length })),
          ),
        ([list, order]) => {
          const p = tensor(list).softmax().data;
          const shuffled = tensor(order.map((i) => list[i])).softmax().data;
          // The sum is taken in another order, which can move its last bit in float64.
          order.forEach((i, j) => {
            expect(ulps(shuffled[j], p[i])).toBeLessThanOrEqual(1);
          });
        },
      ),
    );
  });

  test("edges: scalars, empty tensors, a row of −∞ alone", () => {
    expect(tensor(3).softmax().item()).toBe(1);
    expect(tensor(3).logSoftmax().item()).toBe(0);
    expect(tensor(3).logsumexp().item()).toBe(3);
    expect(tensor(3).logsumexp().shape).toEqual([]);
    expect(zeros([0, 3]).softmax().shape).toEqual([0, 3]);
    expect(zeros([3, 0]).softmax().shape).toEqual([3, 0]);
    expect(zeros([0, 3]).logsumexp().shape).toEqual([0]);
    const closed = tensor([-Infinity, -Infinity]);
    expect(numbers(closed.softmax())).toEqual([Number.NaN, Number.NaN]);
    expect(closed.logsumexp().item()).toBe(-Infinity);
  });

  test.each(["float32", "float64"] as const)("a scalar of %s is a row of one, in its gradient too", (dtype) => {
    const x = tensor(3, { dtype });
    for (const [f, slope] of [
      [softmax, 0],
      [logSoftmax, 0],
      [logsumexp, 1],
    ] as const) {
      const [, dx] = valueAndGrad((y: Tensor) => f(y).mul(2))(x);
      expect([dx.shape, dx.item()]).toEqual([[], 2 * slope]);
    }
    expect(x.logsumexp({ keepdim: true }).shape).toEqual([]);
  });

  test.each(["float32", "float64"] as const)("of a row of %s with +∞ the sum is known, and not the shares", (dtype) => {
    const rows = tensor(
      [
        [1, Infinity, -Infinity, 1e4],
        [2, 2, -Infinity, -Infinity],
      ],
      { dtype },
    );
    const half = Math.log(2);
    const near = (x: number) => (Number.isFinite(x) && x !== 0 ? expect.closeTo(x, 6) : x);
    const expected = (list: number[]) => list.map(near);
    expect(numbers(rows.logsumexp())).toEqual(expected([Infinity, 2 + half]));
    expect(numbers(rows.softmax())).toEqual(expected([NaN, NaN, NaN, NaN, 0.5, 0.5, 0, 0]));
    expect(numbers(rows.logSoftmax())).toEqual(expected([NaN, NaN, NaN, NaN, -half, -half, -Infinity, -Infinity]));
    // The sum does not depend on what is finite beside ∞.
    const [, dx] = valueAndGrad((y: Tensor) => y.logsumexp().sum())(rows);
    expect(numbers(dx)).toEqual(expected([0, NaN, 0, 0, 0.5, 0.5, 0, 0]));
    expect(numbers(tensor([NaN, Infinity], { dtype }).softmax())).toEqual([NaN, NaN]);
  });

  test("refuses what it cannot take", () => {
    const x = zeros([2, 3]);
    expect(() => x.softmax({ dim: 2 })).toThrow(
      new RangeError("softmax: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    );
    expect(() => x.logSoftmax({ dim: -3 })).toThrow(
      new RangeError("logSoftmax: dim has -3, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    );
    expect(() => x.logsumexp({ dim: 0.5 })).toThrow(
      new RangeError("logsumexp: dim has 0.5, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    );
    for (const [name, op] of [
      ["softmax", softmax],
      ["logSoftmax", logSoftmax],
      ["logsumexp", logsumexp],
    ] as const) {
      expect(() => op(tensor([1], { dtype: "int32" }))).toThrow(
        new TypeError(`${name}: x has dtype int32, expected float32 or float64 (convert integers with to())`),
      );
    }
    expect(() => x.softmax({ axis: 0 } as object)).toThrow(
      new TypeError('softmax: options has the name "axis", expected dim'),
    );
    expect(() => x.logSoftmax(1 as unknown as object)).toThrow(
      new TypeError("logSoftmax: options has 1, expected an object with dim"),
    );
    expect(() => x.logsumexp({ dims: 0 } as object)).toThrow(
      new TypeError('logsumexp: options has the name "dims", expected dim, keepdim'),
    );
    expect(() => zeros([2, 0]).logsumexp()).toThrow(
      new RangeError("logsumexp: x has shape [2, 0], expected elements along dim 1"),
    );
  });
});
