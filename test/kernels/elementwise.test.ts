import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  add,
  div,
  grad,
  maximum,
  minimum,
  mul,
  type Operand,
  ones,
  pow,
  sub,
  type Tensor,
  tensor,
  zeros,
} from "../../src/index.ts";
import {
  addKernel,
  divKernel,
  maximumKernel,
  minimumKernel,
  mulKernel,
  planBroadcast,
  powKernel,
  subKernel,
} from "../../src/kernels/elementwise.ts";
import {
  anyFloat,
  anyInt,
  broadcastAt,
  cotangent,
  count,
  dyadic,
  floats,
  fullShapes,
  general,
  indices,
  ints,
  numbers,
  plainNumbers,
  positive,
  shapePairs,
  tensorOf,
  tensorPair,
} from "../arbitraries.ts";
import { equalsReference, hasRightGradient, isAdjoint } from "../suite.ts";

type Binary = (a: Operand, b: Operand) => Tensor;

/** aᵇ by IEEE 754, which says 1 where JavaScript says NaN. */
function power(a: number, b: number): number {
  if (a === 1 || (a === -1 && Math.abs(b) === Infinity)) return 1;
  return a ** b;
}

/** What each op is, on two numbers. */
const ops: [string, Binary, (a: number, b: number) => number][] = [
  ["add", add, (a, b) => a + b],
  ["sub", sub, (a, b) => a - b],
  ["mul", mul, (a, b) => a * b],
  ["div", div, (a, b) => a / b],
  ["pow", pow, power],
  ["maximum", maximum, (a, b) => Math.max(a, b)],
  ["minimum", minimum, (a, b) => Math.min(a, b)],
];

const floatCases = (element: fc.Arbitrary<number>) =>
  shapePairs().chain(({ a, b, out }) =>
    fc.tuple(floats(count(a), element), floats(count(b), element)).map((inputs) => ({
      inputs,
      attrs: planBroadcast(a, b, out),
      length: count(out),
      dtype: "float32" as const,
    })),
  );

const intCases = shapePairs().chain(({ a, b, out }) =>
  fc
    .tuple(ints(count(a), -(2 ** 31), 2 ** 31 - 1), ints(count(b), -(2 ** 31), 2 ** 31 - 1))
    .map((inputs) => ({ inputs, attrs: planBroadcast(a, b, out), length: count(out), dtype: "int32" as const })),
);

describe("the loops", () => {
  for (const kernel of [addKernel, subKernel, mulKernel, divKernel, powKernel, maximumKernel, minimumKernel]) {
    // One rounding of the same float64 number: equality, even of NaN and ∞.
    equalsReference(kernel, floatCases(fc.oneof(dyadic, anyFloat)), "exact");
  }
  for (const kernel of [addKernel, subKernel, mulKernel, maximumKernel, minimumKernel]) {
    equalsReference(kernel, intCases, "exact");
  }

  // Both forms walk a broadcast by the same plan, so the plan is checked against index arithmetic.
  test.each(ops)("%s reads its operands by the rules of broadcasting", (_, op, f) => {
    fc.assert(
      fc.property(tensorPair(fc.oneof(dyadic, anyFloat)), ({ a, b, out }) => {
        const y = op(a, b);
        expect(y.shape).toEqual(out);
        expect(plainNumbers(y)).toEqual(
          indices(out).map((index) => Math.fround(f(broadcastAt(a, index), broadcastAt(b, index))) + 0),
        );
      }),
    );
  });

  test.each(ops.filter(([name]) => name !== "div" && name !== "pow"))("%s of int32 is int32", (_, op, f) => {
    fc.assert(
      fc.property(tensorPair(fc.integer({ min: -999, max: 999 }), { dtype: "int32" }), ({ a, b, out }) => {
        const y = op(a, b);
        expect(y.dtype).toBe("int32");
        expect(numbers(y)).toEqual(indices(out).map((index) => f(broadcastAt(a, index), broadcastAt(b, index)) + 0));
      }),
    );
  });

  test("sums, differences and products of int32 wrap at 2³²", () => {
    fc.assert(
      fc.property(anyInt, anyInt, (a, b) => {
        const [x, y] = [tensor(Int32Array.of(a)), tensor(Int32Array.of(b))];
        expect(x.add(y).item()).toBe((a + b) | 0);
        expect(x.sub(y).item()).toBe((a - b) | 0);
        expect(x.mul(y).item()).toBe(Number(BigInt.asIntN(32, BigInt(a) * BigInt(b))));
      }),
    );
  });

  test("1 to any power is 1, and so is −1 to an infinite one", () => {
    for (const dtype of ["float32", "float64"] as const) {
      const [a, b] = [
        [1, 1, 1, -1, -1, 2, 0.5, -2],
        [Infinity, -Infinity, NaN, Infinity, -Infinity, -Infinity, -Infinity, Infinity],
      ].map((list) => tensor(list, { dtype }));
      expect(numbers(a.pow(b))).toEqual([1, 1, 1, 1, 1, 0, Infinity, Infinity]);
      expect(numbers(tensor([-1, NaN, NaN], { dtype }).pow(tensor([NaN, 1, 0], { dtype })))).toEqual([NaN, NaN, 1]);
    }
  });
});

test("add folds a list, whose reduce passes it an index besides", () => {
  const list = [tensor([1, 2]), tensor([3, 4]), tensor([5, 6])];
  expect(numbers(list.reduce(add))).toEqual([9, 12]);
});

describe("the gradients", () => {
  const linear: [string, (a: Tensor, b: Tensor) => Tensor, side: 0 | 1][] = [
    ["add, by a", (a, b) => a.add(b.mul(0)), 0],
    ["add, by b", (a, b) => a.mul(0).add(b), 1],
    ["sub, by a", (a, b) => a.sub(b.mul(0)), 0],
    ["sub, by b", (a, b) => a.mul(0).sub(b), 1],
    ["mul, by a", mul, 0],
    ["mul, by b", mul, 1],
    ["div by powers of two, by a", (a, b) => a.div(b.mul(0).add(4)), 0],
  ];
  for (const [name, op, side] of linear) {
    isAdjoint(
      name,
      tensorPair().chain(({ a, b }) => {
        const [x, other] = side === 0 ? [a, b] : [b, a];
        return fc.record({
          f: fc.constant((y: Tensor) => (side === 0 ? op(y, other) : op(other, y))),
          x: fc.constant(x),
          v: tensorOf(x.shape),
          g: cotangent,
        });
      }),
    );
  }

  const small = (element: fc.Arbitrary<number>, other = element) =>
    tensorPair(element, { dtype: "float64", other, maxRank: 2 }).map(({ a, b }) => [a, b]);
  /** From ½ to 2, so that powers stay of ordinary size. */
  const base = fc.integer({ min: 8, max: 32 }).map((n) => n / 16);
  /** Multiples of 1/8 on one side and odd multiples of 1/16 on the other never tie. */
  const untied = small(
    dyadic,
    dyadic.map((x) => x + 1 / 16),
  );
  const smooth: [string, Binary, fc.Arbitrary<Tensor[]>][] = [
    ["add", add, small(general)],
    ["sub", sub, small(general)],
    ["mul", mul, small(general)],
    ["div", div, small(general, positive)],
    ["pow", pow, small(base, dyadic)],
    ["maximum", maximum, untied],
    ["minimum", minimum, untied],
  ];
  for (const [name, f, inputs] of smooth) {
    hasRightGradient(
      name,
      inputs.map((pair) => ({ f, inputs: pair })),
      { numRuns: 12 },
    );
  }

  test.each([
    ["maximum", maximum],
    ["minimum", minimum],
  ] as const)("at a tie %s gives its gradient to a", (_, op) => {
    const tie = ones([3]);
    const [da, db] = grad((a: Tensor, b: Tensor) => op(a, b).sum(), { argnums: [0, 1] })(tie, tie);
    expect(numbers(da)).toEqual([1, 1, 1]);
    expect(numbers(db)).toEqual([0, 0, 0]);
  });

  test("the n-th derivative of x^p at 0 is finite, for whole p", () => {
    for (let p = 0; p <= 3; p++) {
      let f = (x: Tensor): Tensor => x.pow(p);
      for (let n = 1; n <= 5; n++) {
        f = grad(f);
        expect(f(tensor(0)).item() + 0).toBe(n === p ? [1, 1, 2, 6][p] : 0);
      }
    }
  });

  test("the mixed derivative of aᵇ is aᵇ⁻¹ (1 + b ln a), at b = 0 and a = 0 too", () => {
    const mixed = grad((b: Tensor, a: Tensor) => grad((x: Tensor) => x.pow(b))(a));
    const at = (a: number, b: number) => mixed(tensor(b, { dtype: "float64" }), tensor(a, { dtype: "float64" })).item();
    for (const a of [0.5, 2, 8]) expect(at(a, 0)).toBeCloseTo(1 / a, 14);
    expect(at(2, 3)).toBeCloseTo(4 * (1 + 3 * Math.log(2)), 13);
    expect(at(0, 2)).toBe(0);
  });

  test("the derivative of aᵇ by b at a = 0 is 0 where the power is flat, −∞ below", () => {
    const db = grad((b: Tensor) => zeros([3]).pow(b).sum())(tensor([0, 2, -1]));
    expect(plainNumbers(db)).toEqual([0, 0, -Infinity]);
  });
});

describe("the laws of arithmetic, exact for dyadic numbers", () => {
  const triple = fullShapes().chain((shape) => fc.tuple(tensorOf(shape), tensorOf(shape), tensorOf(shape)));
  const laws: [string, (a: Tensor, b: Tensor, c: Tensor) => [Tensor, Tensor]][] = [
    ["a + b = b + a", (a, b) => [a.add(b), b.add(a)]],
    ["a · b = b · a", (a, b) => [a.mul(b), b.mul(a)]],
    ["(a + b) + c = a + (b + c)", (a, b, c) => [a.add(b).add(c), a.add(b.add(c))]],
    ["(a · b) · c = a · (b · c)", (a, b, c) => [a.mul(b).mul(c), a.mul(b.mul(c))]],
    ["a · (b + c) = a · b + a · c", (a, b, c) => [a.mul(b.add(c)), a.mul(b).add(a.mul(c))]],
    ["a − b = a + (−b)", (a, b) => [a.sub(b), a.add(b.neg())]],
    ["(a + b) − b = a", (a, b) => [a.add(b).sub(b), a]],
    ["a / 8 = a · ⅛", (a) => [a.div(8), a.mul(0.125)]],
    ["a² = a · a", (a) => [a.pow(2), a.mul(a)]],
    ["max + min = a + b", (a, b) => [a.maximum(b).add(a.minimum(b)), a.add(b)]],
    ["max(a, b) = −min(−a, −b)", (a, b) => [a.maximum(b), a.neg().minimum(b.neg()).neg()]],
    ["max(max(a, b), c) = max(a, max(b, c))", (a, b, c) => [a.maximum(b).maximum(c), a.maximum(b.maximum(c))]],
    ["max(a, a) = a", (a) => [a.maximum(a), a]],
  ];
  test.each(laws)("%s", (_, law) => {
    fc.assert(
      fc.property(triple, ([a, b, c]) => {
        const [left, right] = law(a, b, c);
        expect(left.shape).toEqual(right.shape);
        expect(plainNumbers(left)).toEqual(plainNumbers(right));
      }),
    );
  });

  test.each(ops)("%s of a number is that of a tensor filled with it, on both sides", (_, op) => {
    fc.assert(
      fc.property(
        fullShapes().chain((shape) => tensorOf(shape, anyFloat)),
        dyadic,
        (x, n) => {
          expect(numbers(op(x, n))).toEqual(numbers(op(x, x.fullLike(n))));
          expect(numbers(op(n, x))).toEqual(numbers(op(x.fullLike(n), x)));
          expect(op(n, x).shape).toEqual(x.shape);
        },
      ),
    );
  });

  test.each(["float32", "float64"] as const)("a number takes the tensor's dtype, %s", (dtype) => {
    const third = ones([], { dtype }).div(3);
    expect(third.dtype).toBe(dtype);
    expect(third.item()).toBe(dtype === "float32" ? Math.fround(1 / 3) : 1 / 3);
  });
});

describe("what is refused", () => {
  test.each(ops)("%s of shapes that do not broadcast", (name, op) => {
    expect(() => op(zeros([2, 3]), zeros([4, 1, 2]))).toThrow(
      new RangeError(
        `${name}: the pair of inputs has shapes [2, 3] and [4, 1, 2], expected shapes that broadcast ` +
          "(aligned at the end, sizes are equal or one of them is 1, but 3 ≠ 2)",
      ),
    );
  });

  test.each(ops)("%s of two dtypes", (name, op) => {
    expect(() => op(zeros([2]), zeros([2], { dtype: "float64" }))).toThrow(
      new TypeError(
        `${name}: the pair of inputs has dtypes float32 and float64, expected one dtype (convert one with to())`,
      ),
    );
  });

  test.each(ops)("%s without a tensor", (name, op) => {
    expect(() => op(1, 2)).toThrow(
      new TypeError(`${name}: the pair of inputs has two numbers, expected at least one tensor`),
    );
    expect(() => op(zeros([2]), [1, 2] as never)).toThrow(
      new TypeError(`${name}: b has [1, 2], expected a tensor or a number (make one with tensor())`),
    );
    expect(() => op(undefined as never, zeros([2]))).toThrow(
      new TypeError(`${name}: a has undefined, expected a tensor or a number (make one with tensor())`),
    );
  });

  test.each([
    ["add", add, "there is no alpha: scale b with mul"],
    ["sub", sub, "there is no alpha: scale b with mul"],
    ["div", div, "there is no roundingMode"],
  ] as const)("%s with options that only other libraries have", (name, op, why) => {
    const call = op as unknown as (...args: unknown[]) => Tensor;
    expect(() => call(zeros([2]), 1, { alpha: 2 })).toThrow(
      new TypeError(`${name}: the third argument has a Object, expected none (${why})`),
    );
    // As in list.reduce(add), which passes an index.
    expect(numbers(call(ones([2]), 1, 7))).toEqual(numbers(op(ones([2]), 1)));
  });

  const whole = zeros([2], { dtype: "int32" });
  test.each(ops)("%s of int32 and a number that int32 does not have", (name, op) => {
    expect(() => op(whole, 1.5)).toThrow(
      new TypeError(
        `${name}: the number has 1.5, expected an integer (the tensor has dtype int32; convert it with to())`,
      ),
    );
    expect(() => op(2 ** 31, whole)).toThrow(
      new RangeError(
        `${name}: the number has 2147483648, expected an integer from −2³¹ to 2³¹ − 1 (the tensor has dtype int32)`,
      ),
    );
  });

  test.each([
    ["div", div],
    ["pow", pow],
  ] as const)("%s of integers", (name, op) => {
    expect(() => op(whole, 2)).toThrow(
      new TypeError(
        `${name}: the pair of inputs has dtype int32, expected float32 or float64 (convert integers with to())`,
      ),
    );
  });
});
