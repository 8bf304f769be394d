import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Flat } from "../../src/device/kernel.ts";
import { argsort, type Shape, sort, type Tensor, tensor, topk, valueAndGrad, zeros } from "../../src/index.ts";
import { topkKernel } from "../../src/kernels/topk.ts";
import {
  cotangent,
  dyadic,
  floats,
  fullShapes,
  general,
  ints,
  intTensor,
  logit,
  numbers,
  plainNumbers,
  tensorOf,
} from "../arbitraries.ts";
import { equalsReference, hasRightGradient, isAdjoint } from "../suite.ts";

/** What is hard to order: ties, both zeros, infinities, the smallest numbers and the largest. */
const awkward = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: -2, max: 2 }) },
  { weight: 2, arbitrary: fc.constantFrom(0, -0) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(Infinity, -Infinity, 2 ** -149, -(2 ** -149), 2 ** -126, 2 ** 127, -(2 ** 127)),
  },
  { weight: 1, arbitrary: fc.float({ noNaN: true }) },
);

const extremes = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(-(2 ** 31), 2 ** 31 - 1, -(2 ** 31) + 1, 0, -1, 1) },
  { weight: 1, arbitrary: fc.integer() },
);

/** Rows of any kind of number. n is often small and sometimes 200; k is anything up to n, so both ways to choose run. */
const rows = fc
  .record({
    R: fc.nat(3),
    n: fc.oneof({ weight: 2, arbitrary: fc.nat(12) }, { weight: 2, arbitrary: fc.integer({ min: 17, max: 200 }) }),
  })
  .chain(({ R, n }) =>
    fc.record({
      n: fc.constant(n),
      k: fc.nat(n),
      R: fc.constant(R),
      x: fc.oneof(
        floats(R * n, awkward),
        floats(R * n, logit),
        fc.array(extremes, { minLength: R * n, maxLength: R * n }).map((list): Flat => Int32Array.from(list)),
      ),
    }),
  );

/** The definition: places sorted by value, largest first, then by place. */
function sortedPlaces(row: readonly number[]): number[] {
  return [...row.keys()].sort((i, j) => (row[i] === row[j] ? i - j : row[i] > row[j] ? -1 : 1));
}

const shapesAndDims = fullShapes(3, 1).chain((shape) =>
  fc.nat(shape.length - 1).chain((d) =>
    fc.record({
      shape: fc.constant<Shape>(shape),
      d: fc.constant(d),
      dim: fc.constantFrom(d, d - shape.length),
      k: fc.nat(shape[d]),
    }),
  ),
);

/** Different numbers, so that there are no ties; apart enough for differences. */
const distinct = (n: number) =>
  fc.shuffledSubarray([...new Array(n).keys()], { minLength: n }).map((p) => p.map((i) => i / 4));

describe("topk", () => {
  equalsReference(
    topkKernel,
    rows.map(({ x, n, k, R }) => ({
      inputs: [x],
      attrs: { op: "topk", n, k },
      length: R * k,
      dtype: "int32" as const,
    })),
    "exact",
  );

  isAdjoint(
    "topk's values",
    fc.record({ at: shapesAndDims, g: cotangent }).chain(({ at: { shape, dim, k }, g }) =>
      fc.record({ x: tensorOf(shape, general), v: tensorOf(shape) }).map(({ x, v }) => {
        // Linear where the choice does not change: the choice is made at x, whatever the numbers are.
        const { indices } = topk(x, k, { dim });
        return { f: (y: Tensor) => (y === v ? y.gather(dim, indices) : topk(y, k, { dim }).values), x, v, g };
      }),
    ),
  );
  hasRightGradient(
    "topk",
    fc.integer({ min: 1, max: 5 }).chain((n) =>
      fc.record({ list: distinct(n), k: fc.integer({ min: 1, max: n }) }).map(({ list, k }) => ({
        f: (x: Tensor) => x.topk(k).values.square(),
        inputs: [tensor(list)],
      })),
    ),
    { numRuns: 10 },
  );

  test("gives the k largest, sorted, ties to the lower index, for every k", () => {
    fc.assert(
      fc.property(rows, ({ x, n, R }) => {
        const t = tensor(x).reshape([R, n]);
        const expected = Array.from({ length: R }, (_, r) => sortedPlaces(Array.from(x.slice(r * n, (r + 1) * n))));
        for (const k of [0, 1, 2, 15, 16, 17, 18, n - 1, n].filter((k) => k >= 0 && k <= n)) {
          const { values, indices } = t.topk(k);
          expect(indices.dtype).toBe("int32");
          expect(values.dtype).toBe(t.dtype);
          const wanted = expected.flatMap((places) => places.slice(0, k));
          expect(numbers(indices)).toEqual(wanted);
          expect(numbers(values)).toEqual(wanted.map((i, j) => x[Math.floor(j / k) * n + i]));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("float64 ranks numbers that float32 cannot tell apart", () => {
    const x = tensor([1, 1 + 2 ** -40, 1 - 2 ** -40], { dtype: "float64" });
    expect(numbers(x.topk(3).indices)).toEqual([1, 0, 2]);
  });

  test("another dim is the last dim of the transpose", () => {
    fc.assert(
      fc.property(
        shapesAndDims.chain((at) => tensorOf(at.shape, logit).map((x) => ({ x, ...at }))),
        ({ x, d, dim, k }) => {
          const { values, indices } = x.topk(k, { dim });
          const last = x.transpose(d, -1).topk(k);
          expect(values.shape).toEqual(x.shape.map((n, i) => (i === d ? k : n)));
          expect(numbers(values)).toEqual(numbers(last.values.transpose(d, -1)));
          expect(numbers(indices)).toEqual(numbers(last.indices.transpose(d, -1)));
        },
      ),
    );
  });

  test("follows a permutation of the row, when there are no ties", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }).chain((n) =>
          fc.record({
            list: distinct(n),
            order: fc.shuffledSubarray([...new Array(n).keys()], { minLength: n }),
            k: fc.integer({ min: 1, max: n }),
          }),
        ),
        ({ list, order, k }) => {
          const plain = tensor(list).topk(k);
          const shuffled = tensor(order.map((i) => list[i])).topk(k);
          expect(numbers(shuffled.values)).toEqual(numbers(plain.values));
          expect(numbers(shuffled.indices).map((j) => order[j])).toEqual(numbers(plain.indices));
        },
      ),
    );
  });

  test("the gradient goes to the chosen elements alone, one each, ties included", () => {
    fc.assert(
      fc.property(
        fc
          .integer({ min: 1, max: 30 })
          .chain((n) => fc.tuple(tensorOf([n], fc.integer({ min: -2, max: 2 })), fc.nat(n))),
        ([x, k]) => {
          const weights = tensor(Float32Array.from({ length: k }, (_, j) => j + 1));
          const [, dx] = valueAndGrad((y: Tensor) => y.topk(k).values.mul(weights).sum())(x);
          const expected = new Array<number>(x.size).fill(0);
          sortedPlaces(numbers(x))
            .slice(0, k)
            .forEach((i, j) => {
              expected[i] = j + 1;
            });
          expect(plainNumbers(dx)).toEqual(expected);
        },
      ),
    );
  });

  test("a NaN has no order: it is refused, wherever it is and whatever k is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), fc.nat(), (n, at, k) => {
        const list = new Array<number>(n).fill(1);
        list[at % n] = Number.NaN;
        for (const dtype of ["float32", "float64"] as const) {
          const x = tensor(list, { dtype });
          const message = `x has NaN at flat index ${at % n}, expected numbers that can be ordered`;
          expect(() => x.topk(k % (n + 1))).toThrow(new RangeError(`topk: ${message}`));
          expect(() => argsort(x)).toThrow(new RangeError(`argsort: ${message}`));
          expect(() => sort(x, { descending: true })).toThrow(new RangeError(`sort: ${message}`));
        }
      }),
    );
  });

  test("rows as wide as a sort key holds, and wider", () => {
    for (const n of [2 ** 21, 2 ** 21 + 1]) {
      // The best is in front: of a row too wide for the keys it is the first whose place would run over into its value.
      const x = tensor(Float32Array.from({ length: n }, (_, i) => (i === 0 ? 7 : i % 7)));
      expect(numbers(x.topk(17).indices)).toEqual([0, ...Array.from({ length: 16 }, (_, j) => 7 * j + 6)]);
    }
  });

  test("an empty row has a top 0", () => {
    const { values, indices } = zeros([3, 0]).topk(0);
    expect([values.shape, indices.shape]).toEqual([
      [3, 0],
      [3, 0],
    ]);
    expect(zeros([0, 4]).topk(2).values.shape).toEqual([0, 2]);
  });

  test("refuses a k, a dim or an option that is not there", () => {
    const x = zeros([2, 3]);
    expect(() => x.topk(4)).toThrow(
      new RangeError("topk: k has 4, expected an integer from 0 to 3 (dim 1 has 3 elements)"),
    );
    expect(() => x.topk(3, { dim: 0 })).toThrow(
      new RangeError("topk: k has 3, expected an integer from 0 to 2 (dim 0 has 2 elements)"),
    );
    expect(() => x.topk(-1)).toThrow(
      new RangeError("topk: k has -1, expected an integer from 0 to 3 (dim 1 has 3 elements)"),
    );
    expect(() => x.topk(1.5)).toThrow(
      new RangeError("topk: k has 1.5, expected an integer from 0 to 3 (dim 1 has 3 elements)"),
    );
    expect(() => x.topk("2" as unknown as number)).toThrow(
      new TypeError('topk: k has "2", expected an integer from 0 to 3 (dim 1 has 3 elements)'),
    );
    expect(() => x.topk(1, { dim: 2 })).toThrow(
      new RangeError("topk: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"),
    );
    expect(() => x.topk(1, { largest: false } as object)).toThrow(
      new TypeError('topk: options has the name "largest", expected dim'),
    );
    expect(() => tensor(1).topk(1)).toThrow(new RangeError("topk: x has shape [], expected at least 1 dim"));
  });
});

describe("sort and argsort", () => {
  test("give every element once, in order, equal ones in order of place, both ways", () => {
    fc.assert(
      fc.property(rows, fc.boolean(), ({ x, n, R }, descending) => {
        const t = tensor(x).reshape([R, n]);
        const { values, indices } = sort(t, { descending });
        const wanted = Array.from({ length: R }, (_, r) => {
          const row = Array.from(x.slice(r * n, (r + 1) * n));
          return sortedPlaces(descending ? row : row.map((v) => -v));
        }).flat();
        expect(numbers(indices)).toEqual(wanted);
        expect(numbers(argsort(t, { descending }))).toEqual(wanted);
        expect(numbers(values)).toEqual(wanted.map((i, j) => x[Math.floor(j / n) * n + i]));
      }),
      { numRuns: 60 },
    );
  });

  test("the smallest first, when nothing is said", () => {
    for (const x of [tensor([3, 1, 2]), tensor(Int32Array.of(3, 1, 2))]) {
      expect(numbers(sort(x).values)).toEqual([1, 2, 3]);
      expect(numbers(argsort(x))).toEqual([1, 2, 0]);
    }
  });

  test("sort along the dim that is named", () => {
    fc.assert(
      fc.property(
        shapesAndDims.chain((at) => tensorOf(at.shape, logit).map((x) => ({ x, ...at }))),
        ({ x, d, dim }) => {
          expect(numbers(sort(x, { dim }).values)).toEqual(numbers(sort(x.transpose(d, -1)).values.transpose(d, -1)));
          expect(numbers(argsort(x, { dim }))).toEqual(numbers(argsort(x.transpose(d, -1)).transpose(d, -1)));
        },
      ),
      { numRuns: 50 },
    );
  });

  test("descending is topk of all", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }).chain((n) => fc.oneof(tensorOf([n], dyadic), intTensor(n, -3, 3))),
        (x) => {
          const [sorted, top] = [sort(x, { descending: true }), topk(x, x.size)];
          expect(numbers(sorted.values)).toEqual(numbers(top.values));
          expect(numbers(sorted.indices)).toEqual(numbers(top.indices));
        },
      ),
    );
  });

  test("refuse a scalar, a dim and an option that is not there", () => {
    for (const [name, op] of [
      ["sort", sort],
      ["argsort", argsort],
    ] as const) {
      expect(() => op(tensor(1))).toThrow(new RangeError(`${name}: x has shape [], expected at least 1 dim`));
      expect(() => op(zeros([2]), { dim: 1 })).toThrow(
        new RangeError(`${name}: dim has 1, expected an integer from -1 to 0 (the tensor has 1 dims)`),
      );
      expect(() => op(zeros([2]), { reverse: true } as object)).toThrow(
        new TypeError(`${name}: options has the name "reverse", expected dim, descending`),
      );
    }
  });

  test("the gradient of a sorted value goes to the element that it is", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }).chain((n) => fc.tuple(tensorOf([n], dyadic), ints(n, -8, 8))),
        ([x, g]) => {
          const weights = tensor(Float32Array.from(g));
          const [, dx] = valueAndGrad((y: Tensor) => sort(y).values.mul(weights).sum())(x);
          const order = numbers(argsort(x));
          expect(order.map((i) => dx.data[i] + 0)).toEqual(Array.from(weights.data));
        },
      ),
    );
  });
});
