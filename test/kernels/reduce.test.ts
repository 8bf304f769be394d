import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  argmax,
  grad,
  max,
  mean,
  min,
  ones,
  type Shape,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from "../../src/index.ts";
import { argmaxKernel, sumKernel, sumTo } from "../../src/kernels/reduce.ts";
import {
  anyFloat,
  at,
  cotangent,
  dyadic,
  floats,
  fullShapes,
  general,
  indices,
  ints,
  numbers,
  plainNumbers,
  shapePairs,
  shapes,
  some,
  tensorOf,
  wide,
} from "../arbitraries.ts";
import { equalsReference, formOn, hasRightGradient, isAdjoint } from "../suite.ts";

/** Some dims of a shape, in any order, some counted from the end. */
const dimsOf = (shape: Shape): fc.Arbitrary<number[]> =>
  fc
    .shuffledSubarray(shape.map((_, d) => d))
    .chain((dims) => fc.tuple(...dims.map((d) => fc.constantFrom(d, d - shape.length))));

/** A tensor, some of its dims, and the same dims counted from the front in order. */
const reductions = (element: fc.Arbitrary<number> = dyadic, shaped = shapes(4)) =>
  shaped.chain((shape) =>
    fc.record({ x: tensorOf(shape, element), dim: dimsOf(shape), keepdim: fc.boolean() }).map((drawn) => ({
      ...drawn,
      front: drawn.dim.map((d) => (d < 0 ? d + shape.length : d)).sort((p, q) => p - q),
    })),
  );

/** The shape that stays. */
const reduced = (shape: Shape, front: readonly number[], keepdim: boolean): number[] =>
  shape.flatMap((n, d) => (front.includes(d) ? (keepdim ? [1] : []) : [n]));

/** For every kept index tuple in order, the elements that are reduced there, in order. */
function groups(x: Tensor, front: readonly number[]): number[][] {
  const inner = indices(x.shape.map((n, d) => (front.includes(d) ? n : 1)));
  return indices(x.shape.map((n, d) => (front.includes(d) ? 1 : n))).map((outer) =>
    inner.map((index) =>
      at(
        x,
        outer.map((i, d) => i + index[d]),
      ),
    ),
  );
}

const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

const spans = fc.record({
  outer: fc.nat(3),
  n: fc.oneof(fc.nat(6), fc.nat(21)),
  inner: fc.oneof(fc.constant(1), fc.nat(4), fc.nat(9)),
});

describe("sum", () => {
  const cases = (element: fc.Arbitrary<number>) =>
    spans.chain((span) =>
      floats(span.outer * span.n * span.inner, element).map((x) => ({
        inputs: [x],
        attrs: span,
        length: span.outer * span.inner,
        dtype: "float32" as const,
      })),
    );
  equalsReference(sumKernel, cases(dyadic), "exact");
  equalsReference(sumKernel, cases(wide), {
    // Both add in float64 in the same order, and round once.
    loops: "exact",
    simd: {
      absolute: ({ inputs: [x], attrs: { n } }) => {
        const largest = Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        return n * largest * (2 ** -24 + n * 2 ** -52);
      },
    },
  });
  equalsReference(
    sumKernel,
    spans.chain((span) =>
      ints(span.outer * span.n * span.inner, -(2 ** 31), 2 ** 31 - 1).map((x) => ({
        inputs: [x],
        attrs: span,
        length: span.outer * span.inner,
        dtype: "int32" as const,
      })),
    ),
    "exact",
  );

  // Columns are cut at 64 and more, rows at some thousands of elements.
  test.each([
    { outer: 3, n: 700, inner: 150 },
    { outer: 2, n: 3, inner: 1100 },
    { outer: 3000, n: 3, inner: 2 },
    { outer: 5000, n: 9, inner: 1 },
    { outer: 1, n: 40_001, inner: 1 },
    { outer: 2, n: 0, inner: 5 },
  ])("on simd, $outer × $n × $inner numbers that are exact in every order give the exact sums", (span) => {
    const x = Float32Array.from({ length: span.outer * span.n * span.inner }, (_, i) => ((i * 37) % 61) / 8 - 3);
    const [actual, expected] = [0, 1].map((dirt) => new Float32Array(span.outer * span.inner).fill(dirt));
    formOn(sumKernel, "simd")?.(actual, [x], span);
    sumKernel.loops(expected, [x], span);
    expect(actual).toEqual(expected);
  });

  test("adds up the elements along any dims, in any order", () => {
    fc.assert(
      fc.property(reductions(), ({ x, dim, front, keepdim }) => {
        const y = sum(x, { dim, keepdim });
        expect(y.shape).toEqual(reduced(x.shape, front, keepdim));
        expect(plainNumbers(y)).toEqual(groups(x, front).map((list) => total(list) + 0));
      }),
    );
  });

  test("over several dims is one sum after the other", () => {
    fc.assert(
      fc.property(reductions(), ({ x, dim, front }) => {
        const stepwise = dim.reduce((y, d) => y.sum({ dim: d, keepdim: true }), x);
        expect(plainNumbers(sum(x, { dim }))).toEqual(plainNumbers(stepwise));
        expect(sum(x, { dim, keepdim: true }).shape).toEqual(stepwise.shape);
        expect(front.length).toBe(dim.length);
      }),
    );
  });

  test("without a dim goes over all of them", () => {
    fc.assert(
      fc.property(reductions(), ({ x, keepdim }) => {
        const y = sum(x, { keepdim });
        expect(y.shape).toEqual(keepdim ? x.shape.map(() => 1) : []);
        expect(plainNumbers(y)).toEqual([total(numbers(x)) + 0]);
      }),
    );
  });

  test("of a scalar is the scalar, by dim 0 and −1 too", () => {
    for (const options of [{}, { dim: 0 }, { dim: -1 }, { dim: [] }]) {
      expect(sum(tensor(3), options).toArray()).toBe(3);
    }
  });

  test("over neighbouring dims is rounded once, as over one dim of all their elements", () => {
    fc.assert(
      fc.property(
        fc.tuple(some, some, some).chain((shape) => tensorOf([...shape], wide)),
        (x) => {
          const [a, b, c] = x.shape;
          expect(numbers(x.sum({ dim: [0, 1] }))).toEqual(numbers(x.reshape([a * b, c]).sum({ dim: 0 })));
          expect(numbers(x.sum({ dim: [1, 2] }))).toEqual(numbers(x.reshape([a, b * c]).sum({ dim: 1 })));
        },
      ),
    );
  });

  test("of int32 wraps at 2³²", () => {
    expect(sum(tensor(Int32Array.of(2 ** 31 - 1, 1))).item()).toBe(-(2 ** 31));
  });

  isAdjoint(
    "sum",
    reductions().chain(({ x, dim, keepdim }) =>
      fc.record({
        f: fc.constant((y: Tensor) => sum(y, { dim, keepdim })),
        x: fc.constant(x),
        v: tensorOf(x.shape),
        g: cotangent,
      }),
    ),
  );

  hasRightGradient(
    "sum",
    reductions(general, shapes(2)).map(({ x, dim, keepdim }) => ({
      f: (y: Tensor) => sum(y, { dim, keepdim }),
      inputs: [x],
    })),
    { numRuns: 12 },
  );
});

describe("mean", () => {
  const full = reductions(dyadic, fullShapes(4));

  test("is the sum over the number of elements", () => {
    fc.assert(
      fc.property(full, ({ x, dim, front, keepdim }) => {
        const y = mean(x, { dim, keepdim });
        expect(y.shape).toEqual(reduced(x.shape, front, keepdim));
        expect(plainNumbers(y)).toEqual(
          groups(x, front).map((list) => Math.fround(Math.fround(total(list)) / list.length) + 0),
        );
      }),
    );
  });

  test("of a constant is the constant", () => {
    fc.assert(
      fc.property(fullShapes(), dyadic, (shape, value) => {
        const x = zeros(shape).add(value);
        expect(mean(x).item()).toBe(value);
      }),
    );
  });

  hasRightGradient(
    "mean",
    reductions(general, fullShapes(2)).map(({ x, dim, keepdim }) => ({
      f: (y: Tensor) => mean(y, { dim, keepdim }),
      inputs: [x],
    })),
    { numRuns: 12 },
  );

  test("along a dim of others that are empty is empty", () => {
    expect(mean(zeros([0, 3]), { dim: 1 }).shape).toEqual([0]);
  });
});

describe("sumTo", () => {
  const pairs = shapePairs().chain(({ a, out }) =>
    fc.record({ small: fc.constant(a), x: tensorOf(out), v: tensorOf(out) }),
  );

  test("is the adjoint of expand: ⟨sumTo(x), v⟩ = ⟨x, expand(v)⟩", () => {
    fc.assert(
      fc.property(
        pairs.chain(({ small, x }) => tensorOf(small).map((v) => ({ small, x, v }))),
        ({ small, x, v }) => {
          const y = sumTo(x, small);
          expect(y.shape).toEqual(small);
          expect(y.mul(v).sum().item() + 0).toBe(x.mul(v.expand(x.shape)).sum().item() + 0);
        },
      ),
    );
  });

  isAdjoint(
    "sumTo",
    pairs.chain(({ small, x, v }) =>
      fc.record({
        f: fc.constant((y: Tensor) => sumTo(y, small)),
        x: fc.constant(x),
        v: fc.constant(v),
        g: cotangent,
      }),
    ),
  );

  test("to its own shape is the tensor itself", () => {
    const x = ones([2, 1]);
    expect(sumTo(x, [2, 1])).toBe(x);
  });

  test.each([[[4]], [[2, 2]], [[1, 2, 3]]])("refuses %j, which does not broadcast to [2, 3]", (shape) => {
    expect(() => sumTo(zeros([2, 3]), shape)).toThrow(
      new RangeError(`sumTo: shape has [${shape.join(", ")}], expected one that broadcasts to [2, 3]`),
    );
  });
});

/** Numbers with many ties, NaN and ∞ among them. */
const tied = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: -2, max: 2 }) }, { weight: 1, arbitrary: anyFloat });

/** The place of the first NaN, else of the first that no other is larger than. */
function firstLargest(list: readonly number[]): number {
  const nan = list.findIndex(Number.isNaN);
  return nan >= 0 ? nan : list.findIndex((x) => list.every((other) => x >= other));
}

describe("max, min and argmax", () => {
  const full = fc.record({ outer: fc.nat(3), n: some, inner: fc.nat(4) });
  for (const sign of [1, -1] as const) {
    equalsReference(
      argmaxKernel,
      full.chain((span) =>
        floats(span.outer * span.n * span.inner, tied).map((x) => ({
          inputs: [x],
          attrs: { ...span, sign },
          length: span.outer * span.inner,
          dtype: "int32" as const,
        })),
      ),
      "exact",
    );
  }

  const alongDim = (element: fc.Arbitrary<number>) =>
    fc.tuple(fullShapes(2), some, fullShapes(1)).chain(([before, n, after]) =>
      fc.record({
        x: tensorOf([...before, n, ...after], element),
        dim: fc.constantFrom(before.length, -1 - after.length),
        front: fc.constant([before.length]),
        keepdim: fc.boolean(),
      }),
    );

  test("along a dim give the extreme and its first place; a NaN counts as both", () => {
    fc.assert(
      fc.property(alongDim(tied), ({ x, dim, front, keepdim }) => {
        const lists = groups(x, front);
        const highest = lists.map(firstLargest);
        const lowest = lists.map((list) => firstLargest(list.map((v) => -v)));
        const options = { dim, keepdim };
        const shape = reduced(x.shape, front, keepdim);
        for (const [actual, places] of [
          [max(x, options), highest],
          [min(x, options), lowest],
        ] as const) {
          expect(actual.values.shape).toEqual(shape);
          expect(actual.indices.shape).toEqual(shape);
          expect(actual.indices.dtype).toBe("int32");
          expect(numbers(actual.indices)).toEqual(places);
          expect(numbers(actual.values)).toEqual(places.map((place, i) => lists[i][place]));
        }
        expect(numbers(argmax(x, options))).toEqual(highest);
        expect(argmax(x, options).shape).toEqual(shape);
      }),
    );
  });

  test("without a dim go over all elements", () => {
    fc.assert(
      fc.property(
        fullShapes().chain((shape) => tensorOf(shape, tied)),
        fc.boolean(),
        (x, keepdim) => {
          const list = numbers(x);
          const place = firstLargest(list);
          expect(max(x).toArray()).toBe(list[place]);
          expect(min(x).toArray()).toBe(list[firstLargest(list.map((v) => -v))]);
          expect(numbers(argmax(x))).toEqual([place]);
          expect(argmax(x, { keepdim }).shape).toEqual(keepdim ? x.shape.map(() => 1) : []);
        },
      ),
    );
  });

  test("min is −max of −x", () => {
    fc.assert(
      fc.property(alongDim(dyadic), ({ x, dim }) => {
        const [low, high] = [min(x, { dim }), max(x.neg(), { dim })];
        expect(plainNumbers(low.values)).toEqual(plainNumbers(high.values.neg()));
        expect(numbers(low.indices)).toEqual(numbers(high.indices));
      }),
    );
  });

  test.each(["float32", "float64"] as const)("the first of several NaN counts, wherever it is, in %s", (dtype) => {
    for (const [list, place] of [
      [[NaN, 2, NaN], 0],
      [[3, NaN, NaN], 1],
      [[3, 2, NaN], 2],
    ] as const) {
      const x = tensor([...list], { dtype });
      for (const op of [max, min]) {
        const { values, indices: places } = op(x, { dim: 0 });
        expect([values.item(), places.item()]).toEqual([NaN, place]);
      }
      expect(x.argmax().item()).toBe(place);
    }
  });

  test("of a scalar are the scalar, by dim 0 and −1 too", () => {
    for (const dim of [0, -1]) {
      for (const op of [max, min]) {
        const { values, indices: places } = op(tensor(3), { dim });
        expect([values.shape, values.item(), places.shape, places.item()]).toEqual([[], 3, [], 0]);
      }
    }
  });

  test("take integers and keep their dtype", () => {
    const x = tensor(Int32Array.of(2, -(2 ** 31), 2 ** 31 - 1, 2 ** 31 - 1));
    expect([max(x).item(), min(x).item(), argmax(x).item()]).toEqual([2 ** 31 - 1, -(2 ** 31), 2]);
    expect(max(x).dtype).toBe("int32");
  });

  test("the gradient goes to the lower index of a tie, and nowhere else", () => {
    const x = tensor([
      [1, 3, 3],
      [2, 2, 2],
    ]);
    const by = (f: (x: Tensor) => Tensor) => grad((y: Tensor) => f(y).sum())(x).toArray();
    expect(by((y) => max(y, { dim: 1 }).values)).toEqual([
      [0, 1, 0],
      [1, 0, 0],
    ]);
    expect(by((y) => min(y, { dim: 0 }).values)).toEqual([
      [1, 0, 0],
      [0, 1, 1],
    ]);
    expect(by(max)).toEqual([
      [0, 1, 0],
      [0, 0, 0],
    ]);
  });

  test("indices carry no graph, values do", () => {
    const x = ones([2, 2], { requiresGrad: true });
    const { values, indices: places } = max(x, { dim: 0 });
    expect([values.requiresGrad, places.requiresGrad, argmax(x).requiresGrad]).toEqual([true, false, false]);
  });

  hasRightGradient(
    "max along a dim",
    alongDim(general)
      .filter(({ x }) => x.size <= 12)
      .map(({ x, dim, keepdim }) => ({ f: (y: Tensor) => max(y, { dim, keepdim }).values, inputs: [x] })),
    { numRuns: 12 },
  );

  test("the value of valueAndGrad(min) is the smallest element", () => {
    const [value, dx] = valueAndGrad((x: Tensor) => min(x))(tensor([3, 1, 2]));
    expect(value.item()).toBe(1);
    expect(numbers(dx)).toEqual([0, 1, 0]);
  });
});

describe("what is refused", () => {
  const x = ones([2, 3]);
  test.each([
    [
      "a dim that is not there",
      () => sum(x, { dim: 2 }),
      new RangeError("sum: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    ],
    [
      "a dim that is no integer",
      () => mean(x, { dim: 0.5 }),
      new RangeError("mean: dim has 0.5, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    ],
    [
      "a dim that is no number",
      () => max(x, { dim: "0" as never }),
      new TypeError('max: dim has "0", expected an integer from -2 to 1 (the tensor has 2 dims)'),
    ],
    ["a dim twice", () => sum(x, { dim: [1, -1] }), new RangeError("sum: dim has [1, -1], expected each dim once")],
    [
      "an unknown option",
      () => sum(x, { axis: 1 } as never),
      new TypeError('sum: options has the name "axis", expected dim, keepdim'),
    ],
    [
      "a dim in place of the options",
      () => sum(x, 1 as never),
      new TypeError("sum: options has 1, expected an object with dim, keepdim"),
    ],
    [
      "the mean of nothing",
      () => mean(zeros([2, 0])),
      new RangeError("mean: x has shape [2, 0], expected at least one element in each mean"),
    ],
    [
      "the mean along an empty dim",
      () => mean(zeros([2, 0]), { dim: 1 }),
      new RangeError("mean: x has shape [2, 0], expected at least one element in each mean"),
    ],
    [
      "the mean of integers",
      () => mean(zeros([2], { dtype: "int32" })),
      new TypeError("mean: x has dtype int32, expected float32 or float64 (convert integers with to())"),
    ],
    [
      "the largest of nothing",
      () => max(zeros([2, 0])),
      new RangeError("max: x has shape [2, 0], expected at least one element"),
    ],
    [
      "the place of the smallest of nothing, by any dims",
      () => min(zeros([0, 2, 3])),
      new RangeError("min: x has shape [0, 2, 3], expected at least one element"),
    ],
    [
      "the place of the largest of nothing",
      () => argmax(zeros([2, 0]), { keepdim: true }),
      new RangeError("argmax: x has shape [2, 0], expected at least one element"),
    ],
    [
      "the smallest along an empty dim",
      () => min(zeros([2, 0]), { dim: -1 }),
      new RangeError("min: x has shape [2, 0], expected elements along dim 1"),
    ],
    [
      "the place of the largest along an empty dim",
      () => argmax(zeros([0, 2]), { dim: 0 }),
      new RangeError("argmax: x has shape [0, 2], expected elements along dim 0"),
    ],
  ])("%s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});

test("float64 has no limit on the length of a row: 200,000 numbers are no arguments of one call", () => {
  const n = 200_000;
  const x = zeros([n], { dtype: "float64" }).add(tensor(Float64Array.from({ length: n }, (_, i) => Math.sin(i))));
  const data = Array.from(x.data);
  expect(max(x).item()).toBe(data.reduce((a, b) => Math.max(a, b)));
  expect(min(x).item()).toBe(data.reduce((a, b) => Math.min(a, b)));
  expect(data[argmax(x).item()]).toBe(max(x).item());
});
