/** What the laws draw, exported so that you can draw it too: numbers, tensors, logits, loads. */
import * as fc from "fast-check";
import { tensor } from "../create.ts";
import type { DType } from "../device/kernel.ts";
import { type Shape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Small multiples of 1/8: sums and products of a few are exact in float32, so that results compare with equality. */
export const dyadic: fc.Arbitrary<number> = fc.integer({ min: -16, max: 16 }).map((n) => n / 8);

/** Float32 numbers of ordinary size. */
export const general: fc.Arbitrary<number> = fc.integer({ min: -(2 ** 23), max: 2 ** 23 }).map((n) => n / 2 ** 21);

/** Logits as routers meet them: ordinary ones, ties, and ±10⁴. */
export const logit: fc.Arbitrary<number> = fc.oneof(
  { weight: 6, arbitrary: general },
  { weight: 3, arbitrary: fc.integer({ min: -2, max: 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1e4, 1e4) },
);

/** A tensor of a shape with drawn elements. */
export const tensorOf = (
  shape: Shape,
  element: fc.Arbitrary<number> = dyadic,
  dtype: DType = "float32",
): fc.Arbitrary<Tensor> =>
  fc
    .array(element, { minLength: sizeOf(shape), maxLength: sizeOf(shape) })
    .map((list) => tensor(list, { dtype }).reshape([...shape]));

/** Numbers that are all different, multiples of 2⁻⁸ and so exact in float32: logits without a tie. */
export const distinctTensor = (shape: Shape, dtype: DType = "float64"): fc.Arbitrary<Tensor> =>
  fc
    .uniqueArray(fc.integer({ min: -1024, max: 1024 }), { minLength: sizeOf(shape), maxLength: sizeOf(shape) })
    .map((list) =>
      tensor(
        list.map((n) => n / 256),
        { dtype },
      ).reshape([...shape]),
    );

/** Sizes of E groups among S rows: idle groups, one with everything, rows left over. */
export const groupSizes = (E: number, S: number): fc.Arbitrary<number[]> =>
  fc.oneof(
    fc.nat(E - 1).map((e) => Array.from({ length: E }, (_, i) => (i === e ? S : 0))),
    fc.constant(new Array<number>(E).fill(0)),
    fc.array(fc.nat(S), { minLength: E, maxLength: E }).map((cuts) => {
      const sorted = [...cuts].sort((a, b) => a - b);
      return sorted.map((cut, i) => cut - (i === 0 ? 0 : sorted[i - 1]));
    }),
  );

/** A random order of 0 … n − 1. */
export const permutation = (n: number): fc.Arbitrary<number[]> =>
  fc.shuffledSubarray(
    Array.from({ length: n }, (_, i) => i),
    { minLength: n },
  );
