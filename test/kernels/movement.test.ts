import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  expand,
  ones,
  permute,
  reshape,
  type Shape,
  slice,
  type Tensor,
  tensor,
  transpose,
  zeros,
} from "../../src/index.ts";
import { placeKernel, stridedKernel } from "../../src/kernels/movement.ts";
import { broadcastStrides, stridesOf } from "../../src/shape.ts";
import {
  anyFloat,
  at,
  broadcastAt,
  cotangent,
  count,
  dyadic,
  floats,
  general,
  indices,
  numbers,
  shapePairs,
  shapes,
  size,
  tensorOf,
} from "../arbitraries.ts";
import { equalsReference, hasRightGradient, isAdjoint } from "../suite.ts";

const order = (shape: Shape): fc.Arbitrary<number[]> => {
  const dims = shape.map((_, d) => d);
  return fc.shuffledSubarray(dims, { minLength: dims.length });
};

/** A tensor and an order of its dims. */
const permutations = (element: fc.Arbitrary<number> = anyFloat, maxRank = 4) =>
  shapes(maxRank).chain((shape) => fc.record({ x: tensorOf(shape, element), dims: order(shape) }));

/** A tensor of at least one dim, and one of its dims, counted from the front or from the end. */
const withDim = (element: fc.Arbitrary<number> = anyFloat, maxRank = 3) =>
  fc
    .array(size, { minLength: 1, maxLength: maxRank })
    .chain((shape) =>
      fc.record({ x: tensorOf(shape, element), dim: fc.integer({ min: -shape.length, max: shape.length - 1 }) }),
    );

const bound = fc.option(fc.integer({ min: -8, max: 8 }), { nil: undefined });
const step = fc.oneof(
  fc.integer({ min: 1, max: 4 }),
  fc.integer({ min: -4, max: -1 }),
  fc.constantFrom(undefined, 100, -100),
);
const slices = (element: fc.Arbitrary<number> = anyFloat, maxRank = 3) =>
  withDim(element, maxRank).chain(({ x, dim }) =>
    fc.record({ x: fc.constant(x), dim: fc.constant(dim), start: bound, end: bound, step }),
  );

/** A linear map and where to try it, from a tensor and the map. */
const linear = (x: Tensor, f: (x: Tensor) => Tensor) =>
  fc.record({ f: fc.constant(f), x: fc.constant(x), v: tensorOf(x.shape), g: cotangent });

describe("the loops", () => {
  const strided = shapes(4).chain((shape) =>
    fc.tuple(floats(count(shape), anyFloat), order(shape), fc.boolean()).map(([x, dims, permuted]) => {
      const plan = permuted
        ? { shape: dims.map((d) => shape[d]), strides: dims.map((d) => stridesOf(shape)[d]), offset: 0 }
        : { shape: [2, ...shape], strides: broadcastStrides(shape, [2, ...shape]), offset: 0 };
      return { inputs: [x], attrs: plan, length: count(plan.shape), dtype: "float32" as const };
    }),
  );
  equalsReference(stridedKernel, strided, "exact");

  /** Every other cell of the last dim, walked forwards or backwards. */
  const placed = fc.tuple(size, size, fc.boolean()).chain(([rows, n, forwards]) =>
    floats(rows * n, anyFloat).map((g) => ({
      inputs: [g],
      attrs: { shape: [rows, n], strides: [2 * n, forwards ? 2 : -2], offset: forwards ? 0 : 2 * n - 1 },
      length: rows * 2 * n,
      dtype: "float32" as const,
    })),
  );
  equalsReference(placeKernel, placed, "exact");
});

describe("permute and transpose", () => {
  test("y[i₀, i₁, …] is x at the index with i_j at place dims[j]", () => {
    fc.assert(
      fc.property(permutations(), ({ x, dims }) => {
        const y = permute(x, dims);
        expect(y.shape).toEqual(dims.map((d) => x.shape[d]));
        const place = dims.map((_, d) => dims.indexOf(d));
        expect(numbers(y)).toEqual(
          indices(y.shape).map((index) =>
            at(
              x,
              place.map((j) => index[j]),
            ),
          ),
        );
      }),
    );
  });

  test("the inverse order undoes an order, and negative dims count from the end", () => {
    fc.assert(
      fc.property(permutations(), ({ x, dims }) => {
        const y = permute(x, dims);
        const back = permute(
          y,
          dims.map((_, d) => dims.indexOf(d)),
        );
        expect(back.shape).toEqual(x.shape);
        expect(numbers(back)).toEqual(numbers(x));
        const negative = dims.map((d) => d - dims.length);
        expect(numbers(permute(x, negative))).toEqual(numbers(y));
      }),
    );
  });

  test("transpose swaps two dims, by default the last two, and is its own inverse", () => {
    fc.assert(
      fc.property(
        withDim().chain(({ x, dim }) =>
          fc.record({
            x: fc.constant(x),
            dim0: fc.constant(dim),
            dim1: fc.integer({ min: -x.shape.length, max: x.shape.length - 1 }),
          }),
        ),
        ({ x, dim0, dim1 }) => {
          const rank = x.shape.length;
          const [a, b] = [(dim0 + rank) % rank, (dim1 + rank) % rank];
          const dims = x.shape.map((_, d) => (d === a ? b : d === b ? a : d));
          const y = transpose(x, dim0, dim1);
          expect(y.shape).toEqual(permute(x, dims).shape);
          expect(numbers(y)).toEqual(numbers(permute(x, dims)));
          expect(numbers(transpose(y, dim1, dim0))).toEqual(numbers(x));
          if (rank >= 2) expect(numbers(transpose(x))).toEqual(numbers(transpose(x, rank - 2, rank - 1)));
        },
      ),
    );
  });

  isAdjoint(
    "permute",
    permutations(dyadic).chain(({ x, dims }) => linear(x, (y) => permute(y, dims))),
  );
  hasRightGradient(
    "permute",
    permutations(general, 2).map(({ x, dims }) => ({ f: (y: Tensor) => permute(y, dims), inputs: [x] })),
    { numRuns: 8 },
  );

  test.each([
    [
      "a dim twice",
      () => permute(zeros([2, 3]), [0, 0]),
      "permute: dims has [0, 0], expected each of the 2 dims of [2, 3] once",
    ],
    [
      "a dim too few",
      () => permute(zeros([2, 3]), [1]),
      "permute: dims has [1], expected each of the 2 dims of [2, 3] once",
    ],
    [
      "a dim that is not there",
      () => permute(zeros([2, 3]), [0, 2]),
      "permute: dims has 2, expected an integer from -2 to 1 (the tensor has 2 dims)",
    ],
    [
      "any dim of a scalar",
      () => permute(zeros([]), [0]),
      "permute: dims has [0], expected each of the 0 dims of [] once",
    ],
    [
      "the last two of one dim",
      () => transpose(zeros([2])),
      "transpose: dim0 has -2, expected an integer from -1 to 0 (the tensor has 1 dims)",
    ],
  ])("refuse %s", (_, call, message) => {
    expect(call).toThrow(new RangeError(message));
  });
});

test.each([
  ["permute", (x: Tensor) => permute(x, [0])],
  ["transpose", (x: Tensor) => transpose(x)],
  ["reshape", (x: Tensor) => reshape(x, [2])],
  ["expand", (x: Tensor) => expand(x, [2])],
  ["slice", (x: Tensor) => slice(x)],
])("%s refuses what is no tensor, and names it", (name, call) => {
  expect(() => call([1, 2] as never)).toThrow(
    new TypeError(`${name}: x has [1, 2], expected a tensor (make one with tensor())`),
  );
});

test("dims and sizes come as lists", () => {
  expect(() => permute(zeros([2, 3]), 1 as never)).toThrow(
    new TypeError("permute: dims has 1, expected a list of dims (such as [1, 0])"),
  );
  expect(() => reshape(zeros([2, 3]), 6 as never)).toThrow(
    new TypeError("reshape: shape has 6, expected a list of sizes (such as [2, 3])"),
  );
  expect(() => expand(zeros([2, 3]), 6 as never)).toThrow(
    new TypeError("expand: shape has 6, expected a list of sizes (such as [2, 3])"),
  );
});

describe("reshape", () => {
  /** A shape of the same number of elements: dims merged, and dims of size 1 put in. */
  const reshapes = (element: fc.Arbitrary<number> = anyFloat, maxRank = 4) =>
    shapes(maxRank).chain((shape) =>
      fc
        .record({ x: tensorOf(shape, element), merge: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }) })
        .map(({ x, merge }) => {
          const into: number[] = [];
          shape.forEach((n, d) => {
            if (merge[2 * d] && into.length > 0) into[into.length - 1] *= n;
            else into.push(n);
            if (merge[2 * d + 1]) into.push(1);
          });
          return { x, into };
        }),
    );

  test("keeps the numbers in their order and shares their storage", () => {
    fc.assert(
      fc.property(reshapes(), ({ x, into }) => {
        const y = reshape(x, into);
        expect(y.shape).toEqual(into);
        expect(y.storage).toBe(x.storage);
        expect(reshape(y, x.shape).toArray()).toEqual(x.toArray());
      }),
    );
  });

  test("works out one size", () => {
    fc.assert(
      fc.property(
        reshapes().filter(({ x }) => x.size > 0),
        fc.nat(),
        ({ x, into }, at) => {
          const open = [...into, 1].map((n, d) => (d === at % (into.length + 1) ? -1 : n));
          expect(reshape(x, open).shape).toEqual([...into, 1]);
        },
      ),
    );
    expect(reshape(zeros([0, 3]), [-1, 3]).shape).toEqual([0, 3]);
  });

  test("does not follow later changes of the list of sizes", () => {
    const sizes = [2, 3];
    const y = reshape(zeros([6]), sizes);
    sizes[0] = 9;
    expect(y.shape).toEqual([2, 3]);
  });

  isAdjoint(
    "reshape",
    reshapes(dyadic).chain(({ x, into }) => linear(x, (y) => reshape(y, into))),
  );
  hasRightGradient(
    "reshape",
    reshapes(general, 2).map(({ x, into }) => ({ f: (y: Tensor) => reshape(y, into), inputs: [x] })),
    { numRuns: 8 },
  );

  test.each([[[4]], [[2, -1, -1]], [[4, -1]], [[-6]], [[1.5, 4]], [[0, -1]], [[]]])(
    "refuses %j for six elements",
    (into) => {
      expect(() => reshape(zeros([2, 3]), into)).toThrow(
        new RangeError(`reshape: shape has [${into.join(", ")}], expected sizes that hold the 6 elements of [2, 3]`),
      );
    },
  );
});

describe("expand", () => {
  const expansions = (element: fc.Arbitrary<number> = anyFloat, maxRank = 4) =>
    shapePairs(maxRank).chain(({ a, out }) => fc.record({ x: tensorOf(a, element), into: fc.constant(out) }));

  test("repeats as broadcasting does", () => {
    fc.assert(
      fc.property(expansions(), ({ x, into }) => {
        const y = expand(x, into);
        expect(y.shape).toEqual(into);
        expect(numbers(y)).toEqual(indices(into).map((index) => broadcastAt(x, index)));
        const kept = into.map((n, d) => (n === x.shape[d - (into.length - x.shape.length)] ? -1 : n));
        expect(expand(x, kept).toArray()).toEqual(y.toArray());
      }),
    );
  });

  test("to its own shape is the tensor itself", () => {
    const x = ones([2, 3]);
    expect(expand(x, [2, -1])).toBe(x);
  });

  isAdjoint(
    "expand",
    expansions(dyadic).chain(({ x, into }) => linear(x, (y) => expand(y, into))),
  );
  hasRightGradient(
    "expand",
    expansions(general, 2).map(({ x, into }) => ({ f: (y: Tensor) => expand(y, into), inputs: [x] })),
    { numRuns: 8 },
  );

  test.each([
    [
      "another size",
      () => expand(zeros([2, 3]), [2, 6]),
      "expand: x has shape [2, 3], expected one that broadcasts to [2, 6]",
    ],
    ["fewer dims", () => expand(zeros([2, 3]), [3]), "expand: x has shape [2, 3], expected one that broadcasts to [3]"],
    [
      "−1 for a new dim",
      () => expand(zeros([3]), [-1, 3]),
      "expand: shape has [-1, 3], expected sizes that are integers of at least 0",
    ],
  ])("refuses %s", (_, call, message) => {
    expect(call).toThrow(new RangeError(message));
  });
});

/**
 * Which indices Python's range(n)[start:end:k] holds, as its manual has it: x = i + m·k for as long as x has not reached
 * j. Bounds below 0 count from the end; then they are cut to 0 … n for a positive step, to −1 … n − 1 for a negative one.
 */
function pythonSlice(n: number, start: number | undefined, end: number | undefined, k: number): number[] {
  const cut = (x: number): number => {
    const fromFront = x < 0 ? x + n : x;
    return k > 0 ? Math.min(Math.max(fromFront, 0), n) : Math.min(Math.max(fromFront, -1), n - 1);
  };
  const i = start === undefined ? (k > 0 ? 0 : n - 1) : cut(start);
  const j = end === undefined ? (k > 0 ? n : -1) : cut(end);
  const found: number[] = [];
  for (let x = i; k > 0 ? x < j : x > j; x += k) found.push(x);
  return found;
}

describe("slice", () => {
  test("holds what Python's slice holds", () => {
    fc.assert(
      fc.property(slices(), ({ x, dim, start, end, step }) => {
        const d = dim < 0 ? dim + x.shape.length : dim;
        const kept = pythonSlice(x.shape[d], start, end, step ?? 1);
        const y = slice(x, { dim, start, end, step });
        expect(y.shape).toEqual(x.shape.map((n, i) => (i === d ? kept.length : n)));
        expect(numbers(y)).toEqual(
          indices(y.shape).map((index) =>
            at(
              x,
              index.map((i, e) => (e === d ? kept[i] : i)),
            ),
          ),
        );
      }),
    );
  });

  // Python's own answers, so that the model above is not alone.
  test.each([
    [{ start: 1, end: 4 }, [1, 2, 3]],
    [{ start: -2 }, [3, 4]],
    [{ end: -2 }, [0, 1, 2]],
    [{ step: -1 }, [4, 3, 2, 1, 0]],
    [{ start: 3, end: 0, step: -2 }, [3, 1]],
    [{ start: 10, end: -10, step: -3 }, [4, 1]],
    [{ start: 3, end: 1 }, []],
    [{ end: -1, step: -1 }, []],
    [{ start: -100, end: 100, step: 2 }, [0, 2, 4]],
  ])("of 0 … 4 by %j is %j", (options, expected) => {
    expect(slice(tensor([0, 1, 2, 3, 4]), options).toArray()).toEqual(expected);
  });

  test("by default holds everything, along dim 0", () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(slice(x).toArray()).toEqual(x.toArray());
    expect(slice(x, { start: 1 }).toArray()).toEqual([[3, 4]]);
  });

  test("two slices backwards are the whole again", () => {
    fc.assert(
      fc.property(withDim(), ({ x, dim }) => {
        const back = slice(slice(x, { dim, step: -1 }), { dim, step: -1 });
        expect(back.toArray()).toEqual(x.toArray());
      }),
    );
  });

  isAdjoint(
    "slice",
    slices(dyadic).chain(({ x, ...options }) => linear(x, (y) => slice(y, options))),
  );
  hasRightGradient(
    "slice",
    slices(general, 2).map(({ x, ...options }) => ({ f: (y: Tensor) => slice(y, options), inputs: [x] })),
    { numRuns: 8 },
  );

  const x = zeros([2, 3]);
  test.each([
    ["step 0", () => slice(x, { step: 0 }), new RangeError("slice: step has 0, expected an integer that is not 0")],
    ["half a step", () => slice(x, { step: 0.5 }), new RangeError("slice: step has 0.5, expected an integer")],
    ["half a bound", () => slice(x, { end: 1.5 }), new RangeError("slice: end has 1.5, expected an integer")],
    [
      "a bound that is no number",
      () => slice(x, { start: null as never }),
      new TypeError("slice: start has null, expected an integer"),
    ],
    [
      "a dim that is not there",
      () => slice(x, { dim: 2 }),
      new RangeError("slice: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    ],
    [
      "an unknown option",
      () => slice(x, { stop: 1 } as never),
      new TypeError('slice: options has the name "stop", expected dim, start, end, step'),
    ],
    ["a scalar", () => slice(zeros([])), new RangeError("slice: x has shape [], expected at least 1 dim")],
  ])("refuses %s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});
