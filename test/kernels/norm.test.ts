import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { layerNorm, ones, rmsNorm, type Tensor, tensor, zeros } from "../../src/index.ts";
import { normalizeBackwardKernel, normalizeKernel } from "../../src/kernels/norm.ts";
import { dyadic, floats, fullShapes, general, numbers, positive, raggedSize, tensorOf, wide } from "../arbitraries.ts";
import { equalsReference, hasRightGradient, standsAlone, ulps } from "../suite.ts";

const cases = (element: fc.Arbitrary<number>) =>
  fc
    .record({
      R: fc.nat(4),
      D: fc.oneof(raggedSize, fc.constant(64)),
      eps: fc.constantFrom(1e-6, 1e-5, 1, 0),
      centre: fc.boolean(),
    })
    .chain(({ R, D, eps, centre }) =>
      floats(R * D, element).map((x) => ({
        inputs: [x],
        attrs: { D, eps, centre },
        length: R * D,
        dtype: "float32" as const,
      })),
    );

/** Rows in float64, with neighbours that differ, so that the variance is well above 0. */
const rows = fc
  .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 2, max: 6 }))
  .chain(([R, D]) => tensorOf([R, D], fc.integer({ min: -64, max: 64 })))
  .map((x) => {
    const alternating = Array.from(x.data, (v, i) => v / 8 + (i % 2 === 0 ? 1 : -1) * 20);
    return tensor(alternating, { dtype: "float64" }).reshape(x.shape);
  });

const expectClose = (a: Tensor, b: Tensor, bound: number) => {
  expect(a.shape).toEqual(b.shape);
  a.data.forEach((v, i) => {
    expect(Math.abs(v - b.data[i])).toBeLessThanOrEqual(bound);
  });
};

const lastDim = { dim: -1, keepdim: true };

describe("norms", () => {
  equalsReference(normalizeKernel, cases(general), { ulps: 0.51 });
  equalsReference(normalizeKernel, cases(wide), { ulps: 0.51 });

  /** A cotangent, and rows of which neighbours differ or eps is large, so that σ is no small number. */
  const backwardCases = fc
    .record({
      R: fc.nat(4),
      D: fc.oneof(raggedSize, fc.constant(64)),
      wave: fc.boolean(),
      centre: fc.boolean(),
      shift: fc.constantFrom(0, 1000),
    })
    .chain(({ R, D, wave, centre, shift }) =>
      fc.tuple(floats(R * D, general), floats(R * D, general)).map(([g, x]) => ({
        inputs: [g, x.map((v, i) => v + shift + (wave ? (i % 2 === 0 ? 20 : -20) : 0))],
        attrs: { D, eps: wave ? 1e-5 : 1, centre },
        length: R * D,
        dtype: "float32" as const,
      })),
    );
  // Half a unit of 1e-3 is 6e-11: what cancels is no worse.
  equalsReference(normalizeBackwardKernel, backwardCases, { ulps: 0.51, below: 6e-11 });

  for (const centre of [true, false]) {
    standsAlone(normalizeKernel, { D: 9, eps: 1e-5, centre }, [9], 9);
    standsAlone(normalizeBackwardKernel, { D: 9, eps: 1e-5, centre }, [9, 9], 9);
  }
  // Rows far from 0, whose variance is lost as mean of x² − mean².
  equalsReference(
    normalizeKernel,
    cases(dyadic.map((x) => 2 ** 20 + x)).map((c) => ({ ...c, attrs: { ...c.attrs, centre: true } })),
    { ulps: 0.51 },
  );

  // An eps that is not small keeps the curvature small, so that differences are good to ten digits.
  const withParameters = fullShapes(2, 1).chain((shape) => {
    const D = shape[shape.length - 1];
    return fc.record({
      x: tensorOf(shape, general),
      weight: tensorOf([D], general),
      bias: tensorOf([D], general),
      eps: fc.constantFrom(0.25, 1),
    });
  });
  hasRightGradient(
    "layerNorm",
    withParameters.map(({ x, weight, bias, eps }) => ({
      f: (y: Tensor, w: Tensor, b: Tensor) => layerNorm(y, w, b, { eps }),
      inputs: [x, weight, bias],
    })),
    { numRuns: 12 },
  );
  hasRightGradient(
    "rmsNorm",
    withParameters.map(({ x, weight, eps }) => ({
      f: (y: Tensor, w: Tensor) => rmsNorm(y, w, { eps }),
      inputs: [x, weight],
    })),
    { numRuns: 12 },
  );

  test("layerNorm gives mean 0 and, but for eps, variance 1", () => {
    fc.assert(
      fc.property(rows, (x) => {
        const y = layerNorm(x);
        const variance = x.sub(x.mean(lastDim)).square().mean(lastDim);
        expectClose(y.mean(lastDim), variance.zerosLike(), 1e-14);
        expectClose(y.square().mean(lastDim), variance.div(variance.add(1e-5)), 1e-14);
      }),
    );
  });

  test("rmsNorm gives, but for eps, mean square 1", () => {
    fc.assert(
      fc.property(rows, (x) => {
        const square = x.square().mean(lastDim);
        expectClose(rmsNorm(x).square().mean(lastDim), square.div(square.add(1e-6)), 1e-14);
      }),
    );
  });

  test("layerNorm is rmsNorm of the centred row", () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(0, 1e-5, 1), (x, eps) => {
        expectClose(layerNorm(x, null, null, { eps }), rmsNorm(x.sub(x.mean(lastDim)), null, { eps }), 1e-13);
      }),
    );
  });

  test("without eps, the size of a row does not matter, nor to layerNorm its mean", () => {
    fc.assert(
      fc.property(rows, positive, dyadic, (x, scale, shift) => {
        const none = { eps: 0 };
        expectClose(rmsNorm(x.mul(scale), null, none), rmsNorm(x, null, none), 1e-13);
        expectClose(layerNorm(x.mul(scale).add(shift), null, null, none), layerNorm(x, null, null, none), 1e-12);
      }),
    );
  });

  test("the gradient has no part along what does not matter: x for rmsNorm, and the constant row for layerNorm", () => {
    fc.assert(
      fc.property(
        rows.chain((x) => tensorOf(x.shape, dyadic, "float64").map((g) => ({ x, g }))),
        ({ x, g }) => {
          const gradientOf = (norm: (x: Tensor) => Tensor): Tensor => {
            const leaf = x.detach();
            leaf.requiresGrad = true;
            norm(leaf).backward(g);
            return leaf.grad as Tensor;
          };
          const zero = x.sum(lastDim).zerosLike();
          const rms = gradientOf((y) => rmsNorm(y, null, { eps: 0 }));
          const layer = gradientOf((y) => layerNorm(y, null, null, { eps: 0 }));
          expectClose(rms.mul(x).sum(lastDim), zero, 1e-12);
          expectClose(layer.mul(x).sum(lastDim), zero, 1e-12);
          expectClose(layer.sum(lastDim), zero, 1e-13);
        },
      ),
    );
  });

  test("weight and bias are applied after, one per feature", () => {
    fc.assert(
      fc.property(
        fullShapes(3, 1).chain((shape) => {
          const D = shape[shape.length - 1];
          return fc.tuple(tensorOf(shape, general), tensorOf([D], general), tensorOf([D], general));
        }),
        ([x, weight, bias]) => {
          expect(numbers(layerNorm(x, weight, bias))).toEqual(numbers(layerNorm(x).mul(weight).add(bias)));
          expect(numbers(layerNorm(x, null, bias))).toEqual(numbers(layerNorm(x).add(bias)));
          expect(numbers(rmsNorm(x, weight))).toEqual(numbers(rmsNorm(x).mul(weight)));
          expect(numbers(layerNorm(x, ones(weight.shape)))).toEqual(numbers(layerNorm(x)));
        },
      ),
    );
  });

  test("a row does not depend on the other rows, to the last bit", () => {
    fc.assert(
      fc.property(
        fc.tuple(raggedSize, raggedSize).chain(([R, D]) => fc.tuple(tensorOf([R, D], wide), fc.nat(R - 1))),
        ([x, r]) => {
          const pick = { start: r, end: r + 1 };
          expect(numbers(layerNorm(x.slice(pick)))).toEqual(numbers(layerNorm(x).slice(pick)));
          expect(numbers(rmsNorm(x.slice(pick)))).toEqual(numbers(rmsNorm(x).slice(pick)));
        },
      ),
      { numRuns: 50 },
    );
  });

  test("a constant row has no direction: layerNorm gives its bias, and no gradient of x", () => {
    fc.assert(
      fc.property(general, fc.integer({ min: 1, max: 17 }), dyadic, (c, D, b) => {
        const x = tensor(new Float32Array(D).fill(c), { requiresGrad: true });
        const y = layerNorm(x, null, tensor(new Float32Array(D).fill(b)));
        expect(numbers(y)).toEqual(new Array(D).fill(b));
        y.sum().backward();
        expect(Array.from((x.grad as Tensor).data, (v) => v + 0)).toEqual(new Array(D).fill(0));
      }),
    );
  });

  test("eps adds to the mean square: defaults are 1e-5 for layerNorm, 1e-6 for rmsNorm", () => {
    // The row [−a, a] has mean 0 and mean square a².
    const a = 0.001;
    const x = tensor([-a, a], { dtype: "float64" });
    for (const [y, eps] of [
      [layerNorm(x), 1e-5],
      [rmsNorm(x), 1e-6],
      [layerNorm(x, null, null, { eps: 0.5 }), 0.5],
      [rmsNorm(x, null, { eps: 0.5 }), 0.5],
    ] as const) {
      expect(ulps(y.data[1], a / Math.sqrt(a * a + eps))).toBeLessThanOrEqual(1e-6);
    }
  });

  test("an empty batch stays empty", () => {
    expect(layerNorm(zeros([0, 3])).shape).toEqual([0, 3]);
    expect(rmsNorm(zeros([2, 0, 3])).shape).toEqual([2, 0, 3]);
  });

  test("refuses what it cannot take", () => {
    const x = zeros([2, 3]);
    for (const [name, norm] of [
      ["layerNorm", (y: Tensor, w?: Tensor, o?: object) => layerNorm(y, w, null, o)],
      ["rmsNorm", (y: Tensor, w?: Tensor, o?: object) => rmsNorm(y, w, o)],
    ] as const) {
      expect(() => norm(x, zeros([2]))).toThrow(
        new RangeError(`${name}: weight has shape [2], expected [3] (one entry per feature)`),
      );
      expect(() => norm(zeros([2, 0]))).toThrow(
        new RangeError(`${name}: x has an empty last dim, expected at least one feature`),
      );
      expect(() => norm(tensor(1))).toThrow(new RangeError(`${name}: x has no dims, expected at least one feature`));
      expect(() => norm(x.to("int32"))).toThrow(
        new TypeError(`${name}: x has dtype int32, expected float32 or float64 (convert integers with to())`),
      );
      expect(() => norm(x, undefined, { eps: -1 })).toThrow(
        new RangeError(`${name}: eps has -1, expected a number of at least 0`),
      );
      expect(() => norm(x, undefined, { eps: "small" })).toThrow(
        new TypeError(`${name}: eps has "small", expected a number of at least 0`),
      );
      expect(() => norm(x, undefined, { epsilon: 1 })).toThrow(
        new TypeError(`${name}: options has the name "epsilon", expected eps`),
      );
      expect(() => norm(x, zeros([3], { dtype: "float64" }))).toThrow(
        new TypeError(`${name}: weight has dtype float64, expected float32 (the dtype of x)`),
      );
    }
    expect(() => layerNorm(x, null, zeros([1, 3]))).toThrow(
      new RangeError("layerNorm: bias has shape [1, 3], expected [3] (one entry per feature)"),
    );
  });
});
