import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  gather,
  indexAdd,
  indexSelect,
  type Shape,
  scatterAdd,
  segmentSum,
  type Tensor,
  tensor,
  zeros,
} from "../../src/index.ts";
import {
  gatherKernel,
  indexAddKernel,
  indexAddToKernel,
  indexSelectKernel,
  scatterAddKernel,
} from "../../src/kernels/rows.ts";
import {
  cotangent,
  count,
  dyadic,
  floats,
  fullShapes,
  general,
  ints,
  intTensor,
  numbers,
  plainNumbers,
  size,
  some,
  tensorOf,
  wide,
} from "../arbitraries.ts";
import { equalsReference, hasRightGradient, isAdjoint, type KernelCase, sumInFloat32 } from "../suite.ts";

/** [outer, n, inner] and M indices; none where there is nothing to point to. */
const spans = fc
  .record({ outer: size, n: size, inner: size, M: fc.nat(9) })
  .map((span) => ({ ...span, M: span.n === 0 ? 0 : span.M, op: "test" }));

type Span = { outer: number; n: number; inner: number; M: number; op: string };
type Numbers = (n: number) => fc.Arbitrary<Float32Array | Int32Array>;

const kernelCases = (numbersOf: Numbers, form: (s: Span) => { x: number; index: number; out: number }) =>
  spans.chain((attrs) => {
    const { x, index, out } = form(attrs);
    return fc.tuple(numbersOf(x), ints(index, 0, Math.max(0, attrs.n - 1))).map((inputs) => ({
      inputs,
      attrs,
      length: out,
      dtype: inputs[0] instanceof Int32Array ? ("int32" as const) : ("float32" as const),
    }));
  });

const rowsOf = ({ outer, n, inner }: Span) => outer * n * inner;
const pickedOf = ({ outer, M, inner }: Span) => outer * M * inner;

/** A shape, one of its dims, and the same shape with M along it. */
const places = fullShapes(3, 1).chain((shape) =>
  fc.record({ dim: fc.nat(shape.length - 1), M: fc.integer({ min: 0, max: 7 }), negative: fc.boolean() }).map((p) => ({
    shape: shape as Shape,
    d: p.dim,
    dim: p.negative ? p.dim - shape.length : p.dim,
    M: p.M,
    picked: shape.map((n, i) => (i === p.dim ? p.M : n)) as Shape,
  })),
);

/** x with a list of indices along a dim, and rows to add there. */
const rowCases = (element: fc.Arbitrary<number> = dyadic) =>
  places.chain(({ shape, d, dim, M, picked }) =>
    fc.record({
      x: tensorOf(shape, element),
      index: intTensor(M, 0, shape[d] - 1),
      src: tensorOf(picked, element),
      dim: fc.constant(dim),
      d: fc.constant(d),
    }),
  );

/** x with an index for every element. */
const elementCases = (element: fc.Arbitrary<number> = dyadic) =>
  places.chain(({ shape, d, dim, picked }) =>
    fc.record({
      x: tensorOf(shape, element),
      index: ints(count(picked), 0, shape[d] - 1).map((list) => tensor(list).reshape(picked)),
      src: tensorOf(picked, element),
      dim: fc.constant(dim),
      d: fc.constant(d),
    }),
  );

/** Indices of all cells of a shape, with their flat place. */
const cells = (shape: Shape): number[][] =>
  Array.from({ length: count(shape) }, (_, i) => shape.map((n, d) => Math.floor(i / count(shape.slice(d + 1))) % n));
const flatPlace = (shape: Shape, cell: readonly number[]): number => cell.reduce((at, i, d) => at * shape[d] + i, 0);
const moved = (cell: readonly number[], d: number, to: number): number[] => cell.map((i, e) => (e === d ? to : i));

describe("indexSelect, indexAdd, gather and scatterAdd", () => {
  const select = (s: Span) => ({ x: rowsOf(s), index: s.M, out: pickedOf(s) });
  const add = (s: Span) => ({ x: pickedOf(s), index: s.M, out: rowsOf(s) });
  const pick = (s: Span) => ({ x: rowsOf(s), index: pickedOf(s), out: pickedOf(s) });
  const scatter = (s: Span) => ({ x: pickedOf(s), index: pickedOf(s), out: rowsOf(s) });
  // Sums of int32 wrap at 2³².
  const large: Numbers = (n) => ints(n, -(2 ** 31), 2 ** 31 - 1);
  // indexAddTo has the rows to add to besides: here as many copies of a few numbers as it takes.
  const onto = <A>(cases: fc.Arbitrary<KernelCase<A>>): fc.Arbitrary<KernelCase<A>> =>
    fc.tuple(cases, floats(5, dyadic)).map(([c, few]) => {
      const x = c.dtype === "int32" ? new Int32Array(c.length).fill(3) : new Float32Array(c.length);
      if (x instanceof Float32Array) for (let i = 0; i < x.length; i++) x[i] = few[i % 5];
      return { ...c, inputs: [x, ...c.inputs] };
    });
  equalsReference(indexAddToKernel, onto(kernelCases((n) => fc.oneof(floats(n, dyadic), large(n)), add)), "exact");
  for (const [kernel, form] of [
    [indexSelectKernel, select],
    [indexAddKernel, add],
    [gatherKernel, pick],
    [scatterAddKernel, scatter],
  ] as const) {
    equalsReference(
      kernel,
      kernelCases((n) => fc.oneof(floats(n, dyadic), large(n)), form),
      "exact",
    );
    equalsReference(
      kernel,
      kernelCases((n) => floats(n, general), form),
      kernel === indexAddKernel ? { loops: { ulps: 0.5 }, simd: sumInFloat32(({ attrs }) => attrs.M) } : { ulps: 0.5 },
    );
  }

  const adjointCases = fc.tuple(rowCases(), elementCases(), cotangent);
  isAdjoint(
    "indexSelect",
    adjointCases.chain(([{ x, index, dim }, , g]) =>
      tensorOf(x.shape).map((v) => ({ f: (y: Tensor) => y.indexSelect(dim, index), x, v, g })),
    ),
  );
  isAdjoint(
    "indexAdd by src",
    adjointCases.chain(([{ x, index, src, dim }, , g]) =>
      tensorOf(src.shape).map((v) => ({
        f: (y: Tensor) => x.zerosLike().indexAdd(dim, index, y),
        x: src,
        v,
        g,
      })),
    ),
  );
  isAdjoint(
    "indexAdd by x",
    adjointCases.chain(([{ x, index, src, dim }, , g]) =>
      tensorOf(x.shape).map((v) => ({ f: (y: Tensor) => y.indexAdd(dim, index, src.zerosLike()), x, v, g })),
    ),
  );
  isAdjoint(
    "gather",
    adjointCases.chain(([, { x, index, dim }, g]) =>
      tensorOf(x.shape).map((v) => ({ f: (y: Tensor) => y.gather(dim, index), x, v, g })),
    ),
  );
  isAdjoint(
    "scatterAdd by src",
    adjointCases.chain(([, { x, index, src, dim }, g]) =>
      tensorOf(src.shape).map((v) => ({
        f: (y: Tensor) => x.zerosLike().scatterAdd(dim, index, y),
        x: src,
        v,
        g,
      })),
    ),
  );
  isAdjoint(
    "segmentSum",
    fc
      .tuple(fullShapes(3, 1), fc.integer({ min: 1, max: 5 }), cotangent)
      .chain(([shape, n, g]) =>
        fc
          .tuple(tensorOf(shape), tensorOf(shape), intTensor(shape[0], 0, n - 1))
          .map(([x, v, ids]) => ({ f: (y: Tensor) => segmentSum(y, ids, n), x, v, g })),
      ),
  );
  hasRightGradient(
    "indexAdd and indexSelect",
    rowCases(general)
      .filter(({ x, src }) => x.size + src.size <= 16)
      .map(({ x, index, src, dim }) => ({
        f: (a: Tensor, b: Tensor) => a.indexAdd(dim, index, b).square().indexSelect(dim, index),
        inputs: [x, src],
      })),
    { numRuns: 10 },
  );
  hasRightGradient(
    "scatterAdd and gather",
    elementCases(general)
      .filter(({ x, src }) => x.size + src.size <= 16)
      .map(({ x, index, src, dim }) => ({
        f: (a: Tensor, b: Tensor) => a.scatterAdd(dim, index, b).square().gather(dim, index),
        inputs: [x, src],
      })),
    { numRuns: 10 },
  );

  test("indexSelect: y[…, m, …] = x[…, index[m], …], along every dim", () => {
    fc.assert(
      fc.property(rowCases(general), ({ x, index, src, dim, d }) => {
        const y = x.indexSelect(dim, index);
        expect(y.shape).toEqual(src.shape);
        const expected = cells(y.shape).map((cell) => x.data[flatPlace(x.shape, moved(cell, d, index.data[cell[d]]))]);
        expect(numbers(y)).toEqual(expected);
      }),
    );
  });

  test("gather: y[o, m, i] = x[o, index[o, m, i], i], along every dim", () => {
    fc.assert(
      fc.property(elementCases(general), ({ x, index, dim, d }) => {
        const y = x.gather(dim, index);
        expect(y.shape).toEqual(index.shape);
        const expected = cells(y.shape).map((cell, i) => x.data[flatPlace(x.shape, moved(cell, d, index.data[i]))]);
        expect(numbers(y)).toEqual(expected);
      }),
    );
  });

  test("indexAdd and scatterAdd add each entry where its index points, repeated ones too, and leave x alone", () => {
    fc.assert(
      fc.property(rowCases(), elementCases(), (rows, elements) => {
        const added = (x: Tensor, src: Tensor, d: number, to: (cell: number[], i: number) => number) => {
          const sums = numbers(x);
          cells(src.shape).forEach((cell, i) => {
            sums[flatPlace(x.shape, moved(cell, d, to(cell, i)))] += src.data[i];
          });
          return sums.map((v) => v + 0);
        };
        const before = [numbers(rows.x), numbers(elements.x)];
        const y = rows.x.indexAdd(rows.dim, rows.index, rows.src);
        const z = elements.x.scatterAdd(elements.dim, elements.index, elements.src);
        expect(plainNumbers(y)).toEqual(added(rows.x, rows.src, rows.d, (cell) => rows.index.data[cell[rows.d]]));
        expect(plainNumbers(z)).toEqual(added(elements.x, elements.src, elements.d, (_, i) => elements.index.data[i]));
        expect([numbers(rows.x), numbers(elements.x)]).toEqual(before);
      }),
    );
  });

  test("gather and scatterAdd into zeros are adjoint, and so are indexSelect and indexAdd", () => {
    fc.assert(
      fc.property(rowCases(), elementCases(), (rows, elements) => {
        const dot = (a: Tensor, b: Tensor) => numbers(a).reduce((sum, v, i) => sum + v * b.data[i], 0);
        const { x, index, src, dim } = rows;
        expect(dot(indexSelect(x, dim, index), src)).toBe(dot(x, indexAdd(x.zerosLike(), dim, index, src)));
        const e = elements;
        expect(dot(gather(e.x, e.dim, e.index), e.src)).toBe(
          dot(e.x, scatterAdd(e.x.zerosLike(), e.dim, e.index, e.src)),
        );
      }),
    );
  });

  test("one index for a whole row and one for each of its elements say the same", () => {
    fc.assert(
      fc.property(rowCases(wide), ({ x, index, src, dim, d }) => {
        const perElement = index.reshape(src.shape.map((n, i) => (i === d ? n : 1))).expand(src.shape);
        expect(numbers(x.gather(dim, perElement))).toEqual(numbers(x.indexSelect(dim, index)));
        expect(numbers(x.scatterAdd(dim, perElement, src))).toEqual(numbers(x.indexAdd(dim, index, src)));
      }),
    );
  });

  test("a permutation and its inverse give x back, and indexAdd by it is indexSelect by the inverse", () => {
    fc.assert(
      fc.property(
        places.chain(({ shape, d, dim }) =>
          fc.tuple(
            tensorOf(shape, general),
            fc.constant(dim),
            fc.shuffledSubarray([...new Array(shape[d]).keys()], { minLength: shape[d] }),
          ),
        ),
        ([x, dim, order]) => {
          const inverse = order.map((_, i) => order.indexOf(i));
          const [there, back] = [Int32Array.from(order), Int32Array.from(inverse)].map((list) => tensor(list));
          expect(numbers(x.indexSelect(dim, there).indexSelect(dim, back))).toEqual(numbers(x));
          expect(plainNumbers(x.zerosLike().indexAdd(dim, there, x))).toEqual(plainNumbers(x.indexSelect(dim, back)));
        },
      ),
    );
  });

  test("gather takes an index that is smaller along the other dims, and leaves the rest of x without gradient", () => {
    fc.assert(
      fc.property(
        elementCases(general).chain((c) =>
          fc
            .tuple(...c.index.shape.map((n) => fc.integer({ min: Math.min(n, 1), max: n })))
            .map((smaller) => ({ ...c, smaller })),
        ),
        ({ x, index, dim, d, smaller }) => {
          const crop = (y: Tensor, keep: number) =>
            smaller.reduce((part, n, e) => (e === keep ? part : part.slice({ dim: e, end: n })), y);
          const cropped = crop(index, d);
          const leaf = x.detach();
          leaf.requiresGrad = true;
          const y = leaf.gather(dim, cropped);
          expect(numbers(y)).toEqual(numbers(crop(x, d).gather(dim, cropped)));
          y.sum().backward();
          const touched = crop(leaf.grad as Tensor, d)
            .sum()
            .item();
          expect(touched).toBe(cropped.size);
          expect((leaf.grad as Tensor).sum().item()).toBe(cropped.size);
        },
      ),
    );
  });

  test("segmentSum is indexAdd into zeros, and a segment without rows is 0", () => {
    fc.assert(
      fc.property(
        fc
          .tuple(fc.nat(6), some, some)
          .chain(([M, D, n]) => fc.tuple(tensorOf([M, D], wide), intTensor(M, 0, n - 1), fc.constant(n))),
        ([x, ids, n]) => {
          const sums = segmentSum(x, ids, n);
          expect(numbers(sums)).toEqual(numbers(zeros([n, x.shape[1]]).indexAdd(0, ids, x)));
          for (let s = 0; s < n; s++) {
            if (!ids.data.includes(s))
              expect(numbers(sums.slice({ start: s, end: s + 1 }))).toEqual(new Array(x.shape[1]).fill(0));
          }
        },
      ),
    );
  });

  test("an index that is not there is refused, by every op, negative ones too", () => {
    const at = (...list: number[]) => tensor(list, { dtype: "int32" });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.oneof(fc.integer({ min: -9, max: -1 }), fc.integer({ min: 0, max: 9 })),
        fc.nat(2),
        (n, offset, place) => {
          const bad = offset < 0 ? offset : n + offset;
          const list = [0, 0, 0];
          list[place] = bad;
          const [x, index, src] = [zeros([n]), at(...list), zeros([3])];
          const why = `index has ${bad} at flat index ${place}, expected indices from 0 to ${n - 1}`;
          expect(() => x.indexSelect(0, index)).toThrow(new RangeError(`indexSelect: ${why}`));
          expect(() => x.indexAdd(0, index, src)).toThrow(new RangeError(`indexAdd: ${why}`));
          expect(() => x.gather(0, index)).toThrow(new RangeError(`gather: ${why}`));
          expect(() => x.scatterAdd(0, index, src)).toThrow(new RangeError(`scatterAdd: ${why}`));
        },
      ),
    );
    expect(() => zeros([0]).indexSelect(0, at(0))).toThrow(
      new RangeError("indexSelect: index has 0 at flat index 0, expected none, as the dim is empty"),
    );
  });

  test("refuses shapes, dims and dtypes that do not fit", () => {
    const x = zeros([2, 3]);
    const index = tensor([0, 1], { dtype: "int32" });
    const perElement = zeros([2, 3], { dtype: "int32" });
    const refused: [() => Tensor, Error][] = [
      [
        () => x.indexSelect(0, tensor([0, 1])),
        new TypeError("indexSelect: index has dtype float32, expected int32 (convert with to())"),
      ],
      [
        () => x.indexSelect(0, perElement),
        new RangeError("indexSelect: index has shape [2, 3], expected 1 dim (one entry per row)"),
      ],
      [
        () => x.indexSelect(2, index),
        new RangeError("indexSelect: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"),
      ],
      [() => tensor(1).indexSelect(0, index), new RangeError("indexSelect: x has shape [], expected at least 1 dim")],
      [
        () => x.indexAdd(0, index, zeros([2, 2])),
        new RangeError("indexAdd: src has shape [2, 2], expected [2, 3] (x's, with one row per index)"),
      ],
      [
        () => x.indexAdd(0, index, zeros([2, 3], { dtype: "float64" })),
        new TypeError(
          "indexAdd: the pair x, src has dtypes float32 and float64, expected one dtype (convert one with to())",
        ),
      ],
      [
        () => x.gather(0, index),
        new RangeError("gather: index has shape [2], expected 2 dims (one entry per element, the dims of x)"),
      ],
      [
        () => x.gather(0, zeros([1, 4], { dtype: "int32" })),
        new RangeError("gather: index has shape [1, 4], expected at most [2, 3] but along dim 0"),
      ],
      [
        () => x.scatterAdd(1, perElement, zeros([2, 2])),
        new RangeError("scatterAdd: src has shape [2, 2], expected [2, 3] (one entry per index)"),
      ],
      [
        () => x.scatterAdd(1, zeros([1, 3], { dtype: "int32" }), zeros([1, 3])),
        new RangeError("scatterAdd: index has shape [1, 3], expected [2, 3] (x's but along dim 1)"),
      ],
      [
        () => x.scatterAdd(1, perElement, perElement),
        new TypeError(
          "scatterAdd: the pair x, src has dtypes float32 and int32, expected one dtype (convert one with to())",
        ),
      ],
      [
        () => segmentSum(x, tensor([0], { dtype: "int32" }), 2),
        new RangeError("segmentSum: segmentIds has shape [1], expected [2] (one per row)"),
      ],
      [
        () => segmentSum(x, index, -1),
        new RangeError("segmentSum: numSegments has -1, expected an integer from 0 to 2147483647"),
      ],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
  });
});
