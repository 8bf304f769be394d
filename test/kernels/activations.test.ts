import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { grad, ones, relu, sigmoid, silu, softplus, type Tensor, tanh, tensor } from "../../src/index.ts";
import {
  reluBackwardKernel,
  reluKernel,
  sigmoidBackwardKernel,
  sigmoidKernel,
  siluBackwardKernel,
  siluKernel,
  softplusKernel,
  tanhBackwardKernel,
  tanhKernel,
} from "../../src/kernels/activations.ts";
import {
  anyFloat,
  cotangent,
  dyadic,
  floats,
  general,
  numbers,
  plainNumbers,
  positive,
  shapes,
  tensorOf,
  tensors,
} from "../arbitraries.ts";
import { equalsReference, formOn, hasRightGradient, isAdjoint } from "../suite.ts";
import { awkward, evenly, everySize, keepTheirBounds, keepTheirSlopes } from "../sweep.ts";

type Unary = (x: Tensor) => Tensor;

const ops: [string, Unary][] = [
  ["sigmoid", sigmoid],
  ["tanh", tanh],
  ["relu", relu],
  ["silu", silu],
  ["softplus", softplus],
];

const casesOf = (element: fc.Arbitrary<number>, inputs: 1 | 2 = 1) =>
  fc
    .nat(20)
    .chain((n) => fc.array(floats(n, fc.oneof(dyadic, element)), { minLength: inputs, maxLength: inputs }))
    .map((list) => ({ inputs: list, attrs: {}, length: list[0].length, dtype: "float32" as const }));

describe("the kernels", () => {
  equalsReference(reluKernel, casesOf(anyFloat), "exact");
  equalsReference(sigmoidKernel, casesOf(anyFloat), { loops: "exact", simd: { ulps: 2.2, below: 1.5e-10 } });
  equalsReference(tanhKernel, casesOf(anyFloat), { loops: "exact", simd: { ulps: 2.7, below: 2e-10 } });
  equalsReference(softplusKernel, casesOf(anyFloat), "exact");
  // x / (1 + e⁻ˣ) in place of x · σ(x): the two may differ by an ulp of float64 before the one rounding.
  equalsReference(siluKernel, casesOf(fc.float({ noNaN: true, min: -(2 ** 120), max: 2 ** 120 })), {
    loops: { ulps: 0.5 + 2 ** -20 },
    simd: { ulps: 2.2, below: 2e-10 },
  });

  keepTheirBounds([
    [sigmoidKernel, 2.2, 1.5e-10],
    [tanhKernel, 2.7, 2e-10],
    [siluKernel, 2.2, 2e-10],
  ]);

  equalsReference(reluBackwardKernel, casesOf(anyFloat, 2), "exact");
  const slopes = [
    [sigmoidBackwardKernel, 1.5e-7, [evenly(0, 1)]],
    [tanhBackwardKernel, 1.5e-7, [evenly(-1, 1)]],
    [siluBackwardKernel, 3e-7, [evenly(-30, 30), evenly(-2, 2), everySize, awkward]],
  ] as const;
  for (const [kernel, slope] of slopes) {
    const element = kernel === siluBackwardKernel ? general : general.map((x) => Math.abs(x) / 4);
    equalsReference(kernel, casesOf(element, 2), {
      loops: "exact",
      simd: { absolute: ({ inputs: [g] }) => slope * Math.max(0, ...g.map(Math.abs)) },
    });
  }
  keepTheirSlopes(slopes);

  test("tanh by simd is odd, to the last digit", () => {
    const form = formOn(tanhKernel, "simd");
    if (form === undefined) throw new Error("tanh has no simd form");
    const [left, right] = [-1, 1].map((sign) => {
      const x = evenly(0, 12).map((v) => sign * v);
      const y = new Float32Array(x.length);
      form(y, [x], {});
      return y;
    });
    expect(right).toEqual(left.map((y) => -y));
  });

  test.each(ops)("%s keeps shape and dtype", (_, op) => {
    fc.assert(
      fc.property(shapes(), fc.constantFrom("float32" as const, "float64" as const), (shape, dtype) => {
        const y = op(ones(shape, { dtype }));
        expect(y.shape).toEqual(shape);
        expect(y.dtype).toBe(dtype);
      }),
    );
  });

  test.each<[string, Unary, number[], number[]]>([
    ["tanh", tanh, [-1e4, 0, 1e4], [-1, 0, 1]],
    ["sigmoid", sigmoid, [-1e4, 0, Math.log(3), 1e4], [0, 0.5, 0.75, 1]],
    ["relu", relu, [-1e4, 0, 1e4], [0, 0, 1e4]],
    ["silu", silu, [-1e4, 0, Math.log(3), 1e4], [0, 0, 0.75 * Math.log(3), 1e4]],
    ["softplus", softplus, [-1e4, 0, Math.log(3), 1e4], [0, Math.LN2, Math.log(4), 1e4]],
  ])("%s has its known values", (_, op, x, y) => {
    const actual = plainNumbers(op(tensor(x, { dtype: "float64" })));
    expect(actual).toEqual(y.map((v) => (Number.isInteger(v) ? v : expect.closeTo(v, 15))));
  });

  test.each(ops)("%s of NaN is NaN", (_, op) => {
    for (const dtype of ["float32", "float64"] as const) {
      expect(op(tensor(Number.NaN, { dtype })).item()).toBeNaN();
    }
  });
});

describe("the gradients", () => {
  isAdjoint(
    "relu away from the kink",
    tensors(positive).chain((x) =>
      fc.record({ f: fc.constant(relu), x: fc.constant(x), v: tensorOf(x.shape, positive), g: cotangent }),
    ),
  );

  const small = (element: fc.Arbitrary<number>) =>
    fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }).chain((shape) => tensorOf(shape, element, "float64"));
  for (const [name, f] of ops) {
    hasRightGradient(
      name,
      // Within ε of relu's kink a difference says nothing; the kink has a test of its own.
      small(general.filter((x) => Math.abs(x) > 1e-3)).map((x) => ({ f, inputs: [x] })),
    );
  }

  test.each<[string, Unary, (x: number) => number]>([
    ["tanh", tanh, (x) => -2 * (1 - Math.tanh(x) ** 2) * (1 - 3 * Math.tanh(x) ** 2)],
    [
      "sigmoid",
      sigmoid,
      (x) => {
        const s = 1 / (1 + Math.exp(-x));
        return s * (1 - s) * (1 - 6 * s + 6 * s * s);
      },
    ],
    ["relu", relu, () => 0],
  ])("%s has the third derivative of its formula", (_, op, formula) => {
    const third = grad(grad(grad(op)));
    for (const x of [-2, -0.5, 0.25, 1.5]) {
      expect(third(tensor(x, { dtype: "float64" })).item()).toBeCloseTo(formula(x), 13);
    }
  });

  test("the gradient of relu at 0 is 0, and stops what stands left of it", () => {
    const dx = grad((x: Tensor) =>
      relu(x)
        .mul(tensor([Infinity, Number.NaN, 1, 3]))
        .sum(),
    );
    expect(plainNumbers(dx(tensor([-1, 0, -0, 2])))).toEqual([0, 0, 0, 3]);
  });

  test.each(ops)("the gradient of %s at ±1e4 is finite", (_, op) => {
    const [left, right] = plainNumbers(grad((x: Tensor) => op(x).sum())(tensor([-1e4, 1e4])));
    expect(left).toBe(0);
    expect(right).toBe(op === sigmoid || op === tanh ? 0 : 1);
  });
});

describe("the laws", () => {
  test.each<[string, (x: Tensor) => [Tensor, Tensor]]>([
    ["relu(x) = max(x, 0)", (x) => [x.relu(), x.maximum(0)]],
    ["relu(x) − relu(−x) = x", (x) => [x.relu().sub(x.neg().relu()), x]],
    ["relu(relu(x)) = relu(x)", (x) => [x.relu().relu(), x.relu()]],
    ["tanh(−x) = −tanh(x)", (x) => [x.neg().tanh(), x.tanh().neg()]],
  ])("%s, exactly", (_, law) => {
    fc.assert(
      fc.property(tensors(), (x) => {
        const [left, right] = law(x);
        expect(plainNumbers(left)).toEqual(plainNumbers(right));
      }),
    );
  });

  // A handful of roundings of numbers of at most 4.
  test.each<[string, (x: Tensor) => [Tensor, Tensor]]>([
    ["σ(x) + σ(−x) = 1", (x) => [x.sigmoid().add(x.neg().sigmoid()), x.onesLike()]],
    ["tanh(x) = 2 σ(2x) − 1", (x) => [x.tanh(), x.mul(2).sigmoid().mul(2).sub(1)]],
    ["softplus(x) = −ln σ(−x)", (x) => [softplus(x), x.neg().sigmoid().log().neg()]],
    ["softplus(x) − softplus(−x) = x", (x) => [softplus(x).sub(softplus(x.neg())), x]],
    ["silu(x) = x σ(x)", (x) => [x.silu(), x.mul(x.sigmoid())]],
    ["silu(x) − silu(−x) = x", (x) => [x.silu().sub(x.neg().silu()), x]],
  ])("%s, within 1e-14 in float64", (_, law) => {
    fc.assert(
      fc.property(
        shapes().chain((shape) => tensorOf(shape, general, "float64")),
        (x) => {
          const [left, right] = law(x);
          for (const difference of numbers(left.sub(right))) expect(Math.abs(difference)).toBeLessThan(1e-14);
        },
      ),
    );
  });
});

describe("what is refused", () => {
  test.each(ops)("%s of integers", (name, op) => {
    expect(() => op(ones([2], { dtype: "int32" }))).toThrow(
      new TypeError(`${name}: x has dtype int32, expected float32 or float64 (convert with to())`),
    );
  });
});
