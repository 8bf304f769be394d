import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  abs,
  cos,
  type DType,
  exp,
  grad,
  log,
  neg,
  ones,
  sign,
  sin,
  sqrt,
  square,
  type Tensor,
  tensor,
  to,
} from "../../src/index.ts";
import {
  absKernel,
  castKernel,
  cosKernel,
  expKernel,
  logKernel,
  negKernel,
  signKernel,
  sinKernel,
  sqrtKernel,
  squareKernel,
} from "../../src/kernels/unary.ts";
import {
  anyFloat,
  anyInt,
  cotangent,
  dyadic,
  floats,
  general,
  ints,
  numbers,
  plainNumbers,
  positive,
  shapes,
  tensorOf,
  tensors,
} from "../arbitraries.ts";
import { equalsReference, formOn, hasRightGradient, isAdjoint, ulps } from "../suite.ts";
import { evenly, keepTheirBounds } from "../sweep.ts";

type Unary = (x: Tensor) => Tensor;

const floatOps: [string, Unary][] = [
  ["exp", exp],
  ["log", log],
  ["sqrt", sqrt],
  ["sin", sin],
  ["cos", cos],
];
const integerOps: [string, Unary][] = [
  ["neg", neg],
  ["abs", abs],
  ["sign", sign],
  ["square", square],
];

const casesOf = (element: fc.Arbitrary<number>) =>
  fc.nat(20).chain((n) =>
    floats(n, fc.oneof(dyadic, element)).map((x) => ({
      inputs: [x],
      attrs: {},
      length: n,
      dtype: "float32" as const,
    })),
  );

describe("the kernels", () => {
  for (const kernel of [absKernel, cosKernel, negKernel, signKernel, sinKernel, sqrtKernel, squareKernel]) {
    equalsReference(kernel, casesOf(anyFloat), "exact");
  }
  // Between 88.7 and 710 eˣ is ∞ in float32 alone.
  const exponents = anyFloat.filter((x) => x < 88.7 || !(x < 710));
  equalsReference(expKernel, casesOf(exponents), { loops: "exact", simd: { ulps: 1.2, below: 1e-10 } });
  equalsReference(logKernel, casesOf(anyFloat), { loops: "exact", simd: { ulps: 2, below: 2e-10 } });
  keepTheirBounds([
    [expKernel, 1.2, 1e-10],
    [logKernel, 2, 2e-10],
    [sqrtKernel, 0.5, 1e-10],
  ]);

  test("exp by simd is exact to 1.2 ulp down to 1.7e-38, and 0 from there on; e⁰ is 1", () => {
    const exp = formOn(expKernel, "simd");
    if (exp === undefined) throw new Error("exp has no simd form");
    const xs = [...evenly(-86.98, 88.72), 0, -0];
    const ys = new Float32Array(xs.length);
    exp(ys, [Float32Array.from(xs)], {});
    const beyond = xs.filter((x, i) => !(ulps(ys[i], Math.exp(Math.fround(x))) <= 1.2));
    expect(beyond).toEqual([]);
    expect(Array.from(ys.slice(-2))).toEqual([1, 1]);
    exp(ys, [evenly(-105, -87.1, xs.length)], {});
    expect(ys.findIndex((y) => y !== 0)).toBe(-1);
  });

  for (const kernel of [absKernel, negKernel, signKernel, squareKernel]) {
    equalsReference(
      kernel,
      fc
        .nat(20)
        .chain((n) =>
          ints(n, -(2 ** 31), 2 ** 31 - 1).map((x) => ({ inputs: [x], attrs: {}, length: n, dtype: "int32" as const })),
        ),
      "exact",
    );
  }

  test.each([...floatOps, ...integerOps])("%s keeps shape and dtype", (_, op) => {
    fc.assert(
      fc.property(shapes(), fc.constantFrom<DType[]>("float32", "float64"), (shape, dtype) => {
        const y = op(ones(shape, { dtype }));
        expect(y.shape).toEqual(shape);
        expect(y.dtype).toBe(dtype);
      }),
    );
  });

  test.each(integerOps)("%s of int32 is int32", (_, op) => {
    expect(op(tensor(Int32Array.of(-3, 0, 5))).dtype).toBe("int32");
  });

  const e = Math.E;
  test.each<[string, Unary, number[], number[]]>([
    ["neg", neg, [-2, 0, 3], [2, 0, -3]],
    ["abs", abs, [-2, 0, 3, -Infinity], [2, 0, 3, Infinity]],
    ["sign", sign, [-2, 0, 3, -Infinity], [-1, 0, 1, -1]],
    ["square", square, [-2, 0, 3], [4, 0, 9]],
    ["exp", exp, [-Infinity, 0, 1, Infinity], [0, 1, e, Infinity]],
    ["log", log, [-1, 0, 1, e, Infinity], [Number.NaN, -Infinity, 0, 1, Infinity]],
    ["sqrt", sqrt, [-1, 0, 9, Infinity], [Number.NaN, 0, 3, Infinity]],
    ["sin", sin, [0, Math.PI / 2], [0, 1]],
    ["cos", cos, [0, Math.PI], [1, -1]],
  ])("%s has its known values", (_, op, x, y) => {
    const actual = plainNumbers(op(tensor(x, { dtype: "float64" })));
    expect(actual).toEqual(y.map((v) => (Number.isInteger(v) || Number.isNaN(v) ? v : expect.closeTo(v, 15))));
  });

  test("squares of int32 are exact, and wrap at 2³²", () => {
    fc.assert(
      fc.property(anyInt, (n) => {
        const expected = Number(BigInt.asIntN(32, BigInt(n) ** 2n));
        expect(square(tensor(Int32Array.of(n))).item()).toBe(expected);
      }),
    );
  });

  test.each([...floatOps, ...integerOps])("%s of NaN is NaN", (_, op) => {
    for (const dtype of ["float32", "float64"] as const) {
      expect(op(tensor(Number.NaN, { dtype })).item()).toBeNaN();
    }
  });
});

describe("the gradients", () => {
  const linear: [string, Unary, fc.Arbitrary<Tensor>][] = [
    ["neg", neg, tensors()],
    ["abs away from the kink", abs, tensors(positive)],
    ["to float64", (x) => x.to("float64").to("float32"), tensors()],
  ];
  for (const [name, f, points] of linear) {
    isAdjoint(
      name,
      points.chain((x) =>
        fc.record({ f: fc.constant(f), x: fc.constant(x), v: tensorOf(x.shape, positive), g: cotangent }),
      ),
    );
  }

  const small = (element: fc.Arbitrary<number>) =>
    fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }).chain((shape) => tensorOf(shape, element, "float64"));
  const smooth: [string, Unary, fc.Arbitrary<number>][] = [
    ["exp", exp, general],
    ["log", log, positive],
    ["sqrt", sqrt, positive],
    ["square", square, general],
    ["abs", abs, general],
    ["sign", sign, general],
    ["sin", sin, general],
    ["cos", cos, general],
    ["neg", neg, general],
  ];
  for (const [name, f, element] of smooth) {
    hasRightGradient(
      name,
      // Within ε of a kink a difference says nothing; the kinks have a test of their own.
      small(element.filter((x) => Math.abs(x) > 1e-3)).map((x) => ({ f, inputs: [x] })),
    );
  }

  test.each([
    ["abs", abs],
    ["sign", sign],
  ] as const)("the gradient of %s at 0 is 0", (_, op) => {
    const dx = grad((x: Tensor) => op(x).sum())(tensor([0, -0]));
    expect(plainNumbers(dx)).toEqual([0, 0]);
  });

  test("the gradient of sqrt at 0 is ∞", () => {
    expect(grad((x: Tensor) => x.sqrt())(tensor(0)).item()).toBe(Infinity);
  });
});

describe("the laws", () => {
  const exact: [string, (x: Tensor) => [Tensor, Tensor]][] = [
    ["−(−x) = x", (x) => [x.neg().neg(), x]],
    ["|x| = x · sign(x)", (x) => [x.abs(), x.mul(x.sign())]],
    ["|x| = max(x, −x)", (x) => [x.abs(), x.maximum(x.neg())]],
    ["x² = x · x", (x) => [x.square(), x.mul(x)]],
    ["√(x²) = |x|", (x) => [x.square().sqrt(), x.abs()]],
    ["sin(−x) = −sin(x)", (x) => [x.neg().sin(), x.sin().neg()]],
    ["cos(−x) = cos(x)", (x) => [x.neg().cos(), x.cos()]],
  ];
  test.each(exact)("%s, exactly", (_, law) => {
    fc.assert(
      fc.property(tensors(), (x) => {
        const [left, right] = law(x);
        expect(plainNumbers(left)).toEqual(plainNumbers(right));
      }),
    );
  });

  const rounded: [string, (x: Tensor) => [Tensor, Tensor]][] = [
    ["sin² + cos² = 1", (x) => [x.sin().square().add(x.cos().square()), x.onesLike()]],
    ["ln eˣ = x", (x) => [x.exp().log(), x]],
    ["e^(x + 1) = e · eˣ", (x) => [x.add(1).exp().div(x.exp()), x.fullLike(Math.E)]],
  ];
  // A handful of roundings of numbers of at most 4.
  test.each(rounded)("%s, within 1e-14 in float64", (_, law) => {
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

describe("to", () => {
  for (const [from, into] of [
    ["float32", "int32"],
    ["int32", "float32"],
  ] as const) {
    equalsReference(
      castKernel,
      fc
        .nat(20)
        .chain((n) => ints(n, -(2 ** 24), 2 ** 24))
        .map((x) => ({
          inputs: [from === "int32" ? x : Float32Array.from(x)],
          attrs: { dtype: into },
          length: x.length,
          dtype: into,
        })),
      "exact",
    );
  }

  test("gives x itself when it has the dtype", () => {
    const x = ones([2]);
    expect(x.to("float32")).toBe(x);
  });

  test("float32 → float64 → float32 changes nothing", () => {
    fc.assert(
      fc.property(
        shapes().chain((shape) => tensorOf(shape, anyFloat)),
        (x) => {
          const wide = x.to("float64");
          expect(wide.dtype).toBe("float64");
          expect(numbers(wide)).toEqual(numbers(x));
          expect(numbers(wide.to("float32"))).toEqual(numbers(x));
        },
      ),
    );
  });

  test("int32 → float64 → int32 changes nothing", () => {
    fc.assert(
      fc.property(anyInt, (n) => {
        const x = tensor(Int32Array.of(n));
        expect(x.to("float64").to("int32").data).toEqual(x.data);
      }),
    );
  });

  test("float64 → float32 rounds once", () => {
    expect(tensor(0.1, { dtype: "float64" }).to("float32").item()).toBe(Math.fround(0.1));
  });

  test("the gradient comes back in the dtype of x", () => {
    const x = tensor([1, 2], { requiresGrad: true });
    x.to("float64").mul(3).sum().backward();
    expect(x.grad?.dtype).toBe("float32");
    expect(numbers(x.grad as Tensor)).toEqual([3, 3]);
  });

  test("the way to int32 ends the graph", () => {
    expect(tensor([1, 2], { requiresGrad: true }).to("int32").requiresGrad).toBe(false);
  });

  test.each([
    [1.5, "1.5"],
    [Number.NaN, "NaN"],
    [-Infinity, "-Infinity"],
    [2 ** 31, "2147483648"],
  ])("refuses %d as int32", (x, shown) => {
    for (const dtype of ["float32", "float64"] as const) {
      expect(() => to(tensor([0, x], { dtype }), "int32")).toThrow(
        new RangeError(`to: x has ${shown} at flat index 1, expected integers from −2³¹ to 2³¹ − 1 (dtype int32)`),
      );
    }
  });

  test("refuses an unknown dtype", () => {
    expect(() => to(ones([2]), "float16" as never)).toThrow(
      new TypeError("to: dtype has dtype float16, expected float32 or float64 or int32"),
    );
  });
});

describe("what is refused", () => {
  test.each(floatOps)("%s of integers", (name, op) => {
    expect(() => op(ones([2], { dtype: "int32" }))).toThrow(
      new TypeError(`${name}: x has dtype int32, expected float32 or float64 (convert with to())`),
    );
  });
});
