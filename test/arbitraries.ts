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
