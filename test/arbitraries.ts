/** What the property tests draw: shapes, numbers and routings, with a liking for the awkward. */
import fc from "fast-check";
import { type DType, Generator, type Shape, type Tensor, tensor } from "../src/index.ts";

/** Small multiples of 1/8: sums and products of a few are exact in float32, so that results compare with equality. */
export const dyadic = fc.integer({ min: -16, max: 16 }).map((n) => n / 8);

/** Float32 numbers of ordinary size. */
export const general = fc.integer({ min: -(2 ** 23), max: 2 ** 23 }).map((n) => n / 2 ** 21);

/** Numbers above 0, away from 0. */
export const positive = fc.integer({ min: 1, max: 64 }).map((n) => n / 8);

/** Logits as routers meet them: ordinary ones, ties, and ±1e4. */
export const logit = fc.oneof(
  { weight: 6, arbitrary: general },
  { weight: 3, arbitrary: fc.integer({ min: -2, max: 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1e4, 1e4) },
);

/** Sizes of a dim; 0 and 1 come often. */
export const size = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0) },
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 6 }) },
);

/** Sizes of at least 1. */
export const some = fc.integer({ min: 1, max: 6 });

/** Shapes of up to `maxRank` dims, empty ones and scalars among them. */
export const shapes = (maxRank = 3): fc.Arbitrary<number[]> => fc.array(size, { maxLength: maxRank });

/** Shapes without an empty dim. */
export const fullShapes = (maxRank = 3, minRank = 0): fc.Arbitrary<number[]> =>
  fc.array(some, { minLength: minRank, maxLength: maxRank });

export const count = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/** A tensor of a shape with drawn elements. */
export const tensorOf = (
  shape: Shape,
  element: fc.Arbitrary<number> = dyadic,
  dtype: DType = "float32",
): fc.Arbitrary<Tensor> =>
  fc
    .array(element, { minLength: count(shape), maxLength: count(shape) })
    .map((list) => tensor(list, { dtype }).reshape([...shape]));

/** A tensor of a drawn shape. */
export const tensors = (element: fc.Arbitrary<number> = dyadic, maxRank = 3): fc.Arbitrary<Tensor> =>
  shapes(maxRank).chain((shape) => tensorOf(shape, element));

/** Two shapes that broadcast, and what they broadcast to: some leading dims left out, some sizes 1. */
export const broadcastPair = (maxRank = 4): fc.Arbitrary<{ a: number[]; b: number[]; out: number[] }> =>
  fullShapes(maxRank).chain((out) => {
    const side = fc.tuple(fc.nat(out.length), fc.array(fc.boolean(), { minLength: out.length, maxLength: out.length }));
    return fc.tuple(side, side).map(([[dropA, onesA], [dropB, onesB]]) => {
      const a = out.map((n, d) => (onesA[d] ? 1 : n)).slice(dropA);
      const b = out.map((n, d) => (onesB[d] ? 1 : n)).slice(dropB);
      const at = (shape: number[], d: number) => shape[d - (out.length - shape.length)] ?? 1;
      const joined = out.map((_, d) => Math.max(at(a, d), at(b, d)));
      return { a, b, out: joined.slice(Math.min(dropA, dropB)) };
    });
  });

/** Sizes of E groups among S rows: even, idle groups, one with everything, rows left over. */
export const groupSizes = (E: number, S: number): fc.Arbitrary<number[]> =>
  fc.oneof(
    fc.nat(E - 1).map((e) => Array.from({ length: E }, (_, i) => (i === e ? S : 0))),
    fc.constant(new Array<number>(E).fill(0)),
    fc.array(fc.nat(S), { minLength: E, maxLength: E }).map((cuts) => {
      const sorted = [...cuts].sort((a, b) => a - b);
      return sorted.map((cut, i) => cut - (i === 0 ? 0 : sorted[i - 1]));
    }),
  );

/** A generator of a drawn seed. */
export const generator = fc.integer().map((seed) => new Generator(seed));

/** A tensor's numbers as a list. */
export const numbers = (x: Tensor): number[] => Array.from(x.data);

/** A tensor's numbers as a list with −0 as 0: for results that are equal as numbers. */
export const plainNumbers = (x: Tensor): number[] => Array.from(x.data, (v) => v + 0);

/** Sizes around the tiles of the loops: all remainders of small tiles, and a few beyond. */
export const raggedSize = fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17);

/** n drawn float32 numbers, as a kernel reads them. */
export const floats = (n: number, element: fc.Arbitrary<number> = dyadic): fc.Arbitrary<Float32Array> =>
  fc.array(element, { minLength: n, maxLength: n }).map((list) => Float32Array.from(list));

/** n drawn integers from min to max, as a kernel reads them. */
export const ints = (n: number, min: number, max: number): fc.Arbitrary<Int32Array> =>
  fc.array(fc.integer({ min, max }), { minLength: n, maxLength: n }).map((list) => Int32Array.from(list));

/** An int32 tensor of n drawn integers from min to max. */
export const intTensor = (n: number, min: number, max: number): fc.Arbitrary<Tensor> =>
  ints(n, min, max).map((list) => tensor(list));

/** Float32 numbers of very different sizes, so that the order of a sum shows in its last digits. */
export const wide = fc
  .tuple(fc.integer({ min: -(2 ** 24), max: 2 ** 24 }), fc.integer({ min: -40, max: 4 }))
  .map(([m, e]) => m * 2 ** e);

/** A cotangent for any output shape: small multiples of 1/8 from a drawn seed. */
export const cotangent = fc.integer().map((seed) => (shape: Shape): Tensor => {
  const rng = new Generator(seed);
  const data = Float32Array.from({ length: count(shape) }, () => (rng.integer(33) - 16) / 8);
  return tensor(data).reshape([...shape]);
});

/** Every float32 number: ±0, ±∞, NaN, the tiny and the huge among them. */
export const anyFloat = fc.oneof(
  { weight: 3, arbitrary: fc.float() },
  { weight: 1, arbitrary: fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity, Number.NaN) },
);

/** Every int32 number, small ones and the two ends more often than others. */
export const anyInt = fc.oneof(fc.integer({ min: -9, max: 9 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));

/** Two shapes that broadcast, and what they broadcast to. */
export interface ShapePair {
  readonly a: number[];
  readonly b: number[];
  readonly out: number[];
}

/** Pairs of many dims, each repeated in one, in the other or in neither: loops cannot merge dims there. */
const stripedPair = (maxRank: number): fc.Arbitrary<ShapePair> =>
  fc
    .array(fc.tuple(fc.integer({ min: 2, max: 3 }), fc.constantFrom("a", "b", "")), {
      minLength: maxRank,
      maxLength: maxRank,
    })
    .map((dims) => ({
      a: dims.map(([n, repeated]) => (repeated === "a" ? 1 : n)),
      b: dims.map(([n, repeated]) => (repeated === "b" ? 1 : n)),
      out: dims.map(([n]) => n),
    }));

/** Pairs of shapes that broadcast, empty ones among them. */
export const shapePairs = (maxRank = 4): fc.Arbitrary<ShapePair> =>
  fc.oneof(
    { weight: 6, arbitrary: broadcastPair(maxRank) },
    { weight: 3, arbitrary: stripedPair(maxRank) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<ShapePair[]>(
        { a: [0], b: [1], out: [0] },
        { a: [2, 0], b: [], out: [2, 0] },
        { a: [0, 1], b: [3], out: [0, 3] },
        { a: [1, 3], b: [2, 0, 3], out: [2, 0, 3] },
      ),
    },
  );

/** Two tensors whose shapes broadcast. */
export const tensorPair = (
  element: fc.Arbitrary<number> = dyadic,
  { dtype = "float32", other = element, maxRank = 4 }: { dtype?: DType; other?: typeof element; maxRank?: number } = {},
): fc.Arbitrary<{ a: Tensor; b: Tensor; out: number[] }> =>
  shapePairs(maxRank).chain(({ a, b, out }) =>
    fc.record({ a: tensorOf(a, element, dtype), b: tensorOf(b, other, dtype), out: fc.constant(out) }),
  );

/** All index tuples of a shape, in row-major order. */
export function indices(shape: Shape): number[][] {
  return shape.reduce<number[][]>(
    (heads, n) => heads.flatMap((head) => Array.from({ length: n }, (_, i) => [...head, i])),
    [[]],
  );
}

/** The element of a tensor at an index tuple. */
export const at = (x: Tensor, index: readonly number[]): number =>
  x.data[index.reduce((flat, i, d) => flat * x.shape[d] + i, 0)];

/** The element that broadcasting puts at an index tuple of a wider shape: index 0 along the dims of size 1. */
export const broadcastAt = (x: Tensor, index: readonly number[]): number =>
  at(
    x,
    x.shape.map((n, d) => (n === 1 ? 0 : index[d + index.length - x.shape.length])),
  );
