import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defineOp, type OpFn } from "../../src/autograd.ts";
import { filledValue } from "../../src/device/storage.ts";
import {
  concat,
  type DType,
  Generator,
  type GradcheckReport,
  grad,
  gradcheck,
  ones,
  rand,
  type Tensor,
  tensor,
  where,
  zeros,
} from "../../src/index.ts";
import { general, numbers, positive, shapes, tensorOf } from "../arbitraries.ts";

/** y = x², whose cotangent of x is what `vjp` makes of the right one. */
const squareWith = (vjp: (right: Tensor) => Tensor): OpFn<[x: Tensor]> =>
  defineOp({
    name: "plantedSquare",
    inputs: ["x"],
    forward: ([x]) => x.detach().square(),
    vjp: (g, { inputs: [x] }) => [() => vjp(g.mul(x.mul(2)))],
  });

/** The tensor with one of its elements changed. */
const changed = (x: Tensor, index: number, by: (old: number) => number): Tensor => {
  const data = x.data.slice();
  data[index] = by(data[index]);
  return tensor(data).reshape(x.shape);
};

describe("a right gradient", () => {
  test("passes, with every entry compared", () => {
    fc.assert(
      fc.property(
        shapes(2).chain((shape) => tensorOf(shape, general)),
        (x) => {
          const right = squareWith((dx) => dx);
          const report = gradcheck((y: Tensor) => right(y).sin(), [x]);
          expect(report.ok).toBe(true);
          expect(report.checked).toBe(x.size ** 2);
          expect(report.crossed).toEqual([]);
          expect(report.maxError).toBeLessThan(1e-6);
          expect(report.worst === null).toBe(x.size === 0);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("is reported with its worst entry", () => {
    const report = gradcheck((x: Tensor) => x.exp(), [tensor([0, 1])]);
    expect(report.worst).toMatchObject({ input: 0, index: expect.any(Number), output: expect.any(Number) });
    expect(report.worst?.error).toBe(Math.abs((report.worst?.analytic ?? 0) - (report.worst?.numeric ?? 0)));
    expect(report.worst?.error).toBe(report.maxError);
    expect(report.message).toMatch(
      /^gradcheck: all 4 entries agree, the worst by \d\.\de-\d+ at d output\[\d\] \/ d input 0\[\d\]: /,
    );
  });

  test("is found in float64, whatever the dtype of the inputs", () => {
    const seen: DType[] = [];
    const f = (x: Tensor, y: Tensor) => {
      seen.push(x.dtype, y.dtype);
      return x.mul(y).sin();
    };
    const report = gradcheck(f, [tensor([0.3]), tensor([0.7], { dtype: "float64" })]);
    expect(new Set(seen)).toEqual(new Set(["float64"]));
    expect(report.maxError).toBeLessThan(1e-9);
  });

  test("may be that of a gradient", () => {
    gradcheck(
      grad((x: Tensor) => x.sin().sum()),
      [tensor([0.5, 2])],
    );
  });

  test("of a constant is 0", () => {
    const constant = zeros([2], { dtype: "float64" });
    const report = gradcheck((_x: Tensor) => constant, [ones([3])]);
    expect([report.ok, report.checked, report.maxError]).toEqual([true, 6, 0]);
  });

  test("leaves the inputs and the tensors besides as they were, gradients too", () => {
    const x = tensor([1, 2], { requiresGrad: true });
    const w = tensor([3, 4], { dtype: "float64", requiresGrad: true });
    gradcheck((y: Tensor) => y.mul(w), [x]);
    expect([x.grad, w.grad]).toEqual([null, null]);
    expect(numbers(x)).toEqual([1, 2]);
    expect(w.mul(2).requiresGrad).toBe(true);
  });
});

describe("a planted error", () => {
  const x = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ]);

  test("in one entry is found there", () => {
    for (let index = 0; index < 6; index++) {
      // 6 entries of the gradient; the one at `index` is off by 1.
      const wrong = squareWith((dx) => changed(dx, index, (old) => old + 1));
      const { ok, worst, message } = gradcheck((y: Tensor) => wrong(y).sum(), [x], { raiseException: false });
      expect(ok).toBe(false);
      expect(worst).toMatchObject({ input: 0, index, output: 0, analytic: 2 * (index + 1) + 1 });
      expect(worst?.numeric).toBeCloseTo(2 * (index + 1), 6);
      expect(worst?.error).toBeCloseTo(1, 6);
      expect(message).toContain(
        `the gradient is wrong at d output[0] / d input 0[${index}]: ${2 * (index + 1) + 1} by`,
      );
    }
  });

  test("in one of several inputs and outputs is found there", () => {
    const wrong = squareWith((dx) => changed(dx, 1, (old) => old * 1.01));
    const f = (a: Tensor, b: Tensor) => a.add(wrong(b));
    const { worst } = gradcheck(f, [ones([3]), tensor([1, 2, 3])], { raiseException: false });
    // Asking for output 1 gives 2 · 2 · 1.01 at input 1, element 1; the other outputs have 0 there.
    expect(worst).toMatchObject({ input: 1, index: 1, output: 1 });
    expect(worst?.analytic).toBeCloseTo(4.04, 12);
  });

  test.each<[string, (right: Tensor) => Tensor]>([
    ["a sign", (dx) => dx.neg()],
    ["a factor", (dx) => dx.mul(1.01)],
    ["a zero", (dx) => dx.mul(0)],
    ["a NaN", (dx) => dx.mul(Number.NaN)],
    ["an infinity", (dx) => dx.mul(Infinity)],
    ["a constant", (dx) => dx.add(0.01)],
  ])("%s is caught, and the error names the entry", (_, vjp) => {
    const wrong = squareWith(vjp);
    expect(() => gradcheck((y: Tensor) => wrong(y), [x])).toThrow(
      /^gradcheck: the gradient is wrong at d output\[\d\] \/ d input 0\[\d\]: \S+ by backward, \S+ by difference$/,
    );
  });

  test("below the tolerances passes, above it does not", () => {
    const wrong = squareWith((dx) => dx.mul(1.001));
    const check = (atol: number, rtol: number) =>
      gradcheck((y: Tensor) => wrong(y), [tensor([5])], { atol, rtol, raiseException: false }).ok;
    // The error is 0.01 at a gradient of 10.
    expect(check(0.011, 0)).toBe(true);
    expect(check(0.009, 0)).toBe(false);
    expect(check(0, 0.0011)).toBe(true);
    expect(check(0, 0.0009)).toBe(false);
  });

  test("of tolerance 0 an exact gradient passes still", () => {
    const report = gradcheck((y: Tensor) => y.mul(0), [tensor([1, 2])], { atol: 0, rtol: 0 });
    expect(report).toMatchObject({ ok: true, checked: 4, maxError: 0 });
    // Of entries that are equally far off, the first.
    expect(report.worst).toMatchObject({ input: 0, index: 0, output: 0 });
  });

  test("an overflow is no agreement", () => {
    // e⁷¹⁰ has no float64 a little further on: the difference is ∞, the gradient is not.
    const edge = Math.log(Number.MAX_VALUE);
    const report = gradcheck((y: Tensor) => y.exp(), [tensor([edge], { dtype: "float64" })], { raiseException: false });
    expect(report).toMatchObject({ ok: false, maxError: Infinity });
  });

  test("a missing factor in a broadcast is caught", () => {
    const forgotten: OpFn<[x: Tensor]> = defineOp({
      name: "forgotten",
      inputs: ["x"],
      forward: ([y]) => filledValue(y.data[0] * 3, [3], y.dtype),
      // The cotangents of the three copies should be added up and multiplied by 3.
      vjp: (g) => [() => g.slice({ end: 1 }).reshape([]).mul(3)],
    });
    const { ok } = gradcheck((y: Tensor) => forgotten(y).sum(), [tensor(2)], { raiseException: false });
    expect(ok).toBe(false);
  });
});

describe("a boundary of a discrete choice", () => {
  const near = (gap: number) => tensor([1, 1 + gap, 0], { dtype: "float64" });
  const largest = (x: Tensor): Tensor => x.topk(1).values.mul(2);

  test("that a difference crosses is counted, not failed", () => {
    const report = gradcheck(largest, [near(1e-7)]);
    expect(report.ok).toBe(true);
    expect(report.crossed).toEqual([
      { input: 0, index: 0 },
      { input: 0, index: 1 },
    ]);
    expect(report.checked).toBe(1);
    expect(report.message).toMatch(
      /; 2 differences crossed a routing boundary \(a discrete choice changed\) and were left out$/,
    );
  });

  test("that is further away than ε counts for nothing", () => {
    for (const gap of [1e-3, -1e-3]) {
      const report = gradcheck(largest, [near(gap)]);
      expect([report.crossed.length, report.checked]).toEqual([0, 3]);
    }
    expect(gradcheck(largest, [near(1e-3)], { eps: 1e-2 }).crossed.length).toBe(2);
  });

  test("does not hide a wrong gradient elsewhere", () => {
    const wrong = squareWith((dx) => dx.add(2));
    const f = (x: Tensor) => largest(x).add(wrong(x).sum());
    expect(() => gradcheck(f, [near(1e-7)])).toThrow(/wrong at d output\[0\] \/ d input 0\[2\].*2 differences crossed/);
  });

  test.each<[string, (x: Tensor) => Tensor]>([
    ["eq", (x) => x.eq(0).to("float64")],
    ["gt", (x) => x.gt(0).to("float64").mul(x)],
    ["where", (x) => where(x.ge(0), x, x.mul(5))],
    ["max", (x) => concat([x, x.mul(2)]).max()],
  ])("of %s is one", (_, f) => {
    const report = gradcheck(f, [zeros([1])]);
    expect([report.ok, report.crossed.length, report.checked]).toEqual([true, 1, 0]);
    expect(report.message).toMatch(/^gradcheck: nothing was compared; 1 differences crossed/);
  });

  test("relu and abs make no choice: at their kink the difference speaks", () => {
    const report = gradcheck((x: Tensor) => x.relu(), [zeros([1])], { raiseException: false });
    expect(report).toMatchObject({ ok: false, checked: 1, crossed: [] });
    expect(report.worst?.numeric).toBeCloseTo(0.5, 6);
    // |x| has the slope 0 on average, which is what it says.
    expect(gradcheck((x: Tensor) => x.abs(), [zeros([1])]).crossed).toEqual([]);
  });
});

describe("what a function may be given and give", () => {
  test("integers are passed through as they are, and not moved", () => {
    const index = tensor(Int32Array.of(2, 0, 2));
    const seen: Tensor[] = [];
    const f = (x: Tensor, i: Tensor) => {
      seen.push(i);
      return x.indexSelect(0, i).square();
    };
    const report = gradcheck(f, [tensor([1, 2, 3]), index]);
    expect(report.checked).toBe(9);
    expect(new Set(seen)).toEqual(new Set([index]));
    const swapped = gradcheck((i: Tensor, x: Tensor) => f(x, i), [index, tensor([1, 2, 3])]);
    expect(swapped.worst?.input).toBe(1);
  });

  test("scalars, empty tensors and no inputs", () => {
    expect(gradcheck((x: Tensor) => x.sin(), [tensor(1)]).checked).toBe(1);
    expect(gradcheck((x: Tensor) => x.sin(), [zeros([0, 2])])).toMatchObject({ ok: true, checked: 0, worst: null });
    expect(gradcheck(() => ones([2], { dtype: "float64" }), []).message).toBe("gradcheck: nothing was compared");
  });

  test("a report instead of an error", () => {
    const wrong = squareWith((dx) => dx.neg());
    const report: GradcheckReport = gradcheck((x: Tensor) => wrong(x), [tensor([1])], { raiseException: false });
    expect(() => gradcheck((x: Tensor) => wrong(x), [tensor([1])])).toThrow(new Error(report.message));
  });

  test("every function of the same inputs passes or fails alike in every run", () => {
    fc.assert(
      fc.property(tensorOf([2], positive), (x) => {
        const first = gradcheck((y: Tensor) => y.log(), [x]);
        expect(gradcheck((y: Tensor) => y.log(), [x])).toEqual(first);
      }),
      { numRuns: 20 },
    );
  });
});

describe("what is refused", () => {
  const sin = (x: Tensor): Tensor => x.sin();
  const rng = new Generator(1);
  const x = ones([2]);
  test.each<[string, () => unknown, Error]>([
    [
      "a function that draws random numbers",
      () => gradcheck((y: Tensor) => y.mul(rand([2], { rng, dtype: "float64" })), [x]),
      new RangeError("gradcheck: fn has two results for the same inputs, expected one (fix its random numbers)"),
    ],
    [
      "a result of float32",
      () => gradcheck((_y: Tensor) => ones([2]), [x]),
      new TypeError("gradcheck: the result of fn has dtype float32, expected float64 (make its constants float64 too)"),
    ],
    [
      "a result of integers",
      () => gradcheck((y: Tensor) => y.argmax(), [x]),
      new TypeError("gradcheck: the result of fn has dtype int32, expected float64 (make its constants float64 too)"),
    ],
    [
      "a result that is no tensor",
      () => gradcheck((() => 3) as never, [x]),
      new TypeError("gradcheck: the result of fn has 3, expected a tensor (make one with tensor())"),
    ],
    [
      "an input that is no tensor",
      () => gradcheck(sin, [x, 3 as never]),
      new TypeError("gradcheck: input 1 has 3, expected a tensor (make one with tensor())"),
    ],
    [
      "a tensor in place of the list",
      () => gradcheck(sin, x as never),
      new TypeError("gradcheck: inputs has a Tensor, expected a list of tensors"),
    ],
    ["ε = 0", () => gradcheck(sin, [x], { eps: 0 }), new RangeError("gradcheck: eps has 0, expected a number above 0")],
    [
      "a tolerance of NaN",
      () => gradcheck(sin, [x], { atol: Number.NaN }),
      new RangeError("gradcheck: atol has NaN, expected a number of at least 0"),
    ],
    [
      "a negative tolerance",
      () => gradcheck(sin, [x], { rtol: -1 }),
      new RangeError("gradcheck: rtol has -1, expected a number of at least 0"),
    ],
    [
      "an unknown option",
      () => gradcheck(sin, [x], { tol: 1 } as never),
      new TypeError('gradcheck: options has the name "tol", expected eps, atol, rtol, raiseException'),
    ],
  ])("%s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});
