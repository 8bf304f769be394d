/**
 * Cumulative sums.
 *
 *   cumsum(x)[o, k, i] = Σ_{j ≤ k} x[o, j, i]        exclusive: j < k;  reverse: j ≥ k
 *
 * Adjoint: the same sum taken from the other end.
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkBoolean, checkOptions, checkTensor, rangeError } from "../errors.ts";
import { checkDim } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { type Span, spanOf } from "./reduce.ts";

export interface ScanAttrs extends Span {
  readonly exclusive: boolean;
  readonly reverse: boolean;
}

/** Error    float32: accumulated in float64, each partial sum rounded once */
export const cumsumKernel: Kernel<ScanAttrs> = {
  name: "cumsum",
  reference(out, [x], { outer, n, inner, exclusive, reverse }) {
    for (let o = 0; o < outer; o++) {
      for (let k = 0; k < n; k++) {
        for (let i = 0; i < inner; i++) {
          let sum = 0;
          for (let j = 0; j < n; j++) {
            const before = reverse ? j > k : j < k;
            if (before || (j === k && !exclusive)) sum += x[(o * n + j) * inner + i];
          }
          out[(o * n + k) * inner + i] = sum;
        }
      }
    }
  },
  loops(out, [x], { outer, n, inner, exclusive, reverse }) {
    const step = reverse ? -inner : inner;
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let p = (o * n + (reverse ? n - 1 : 0)) * inner + i;
        let sum = 0;
        for (let k = 0; k < n; k++, p += step) {
          const next = sum + x[p];
          out[p] = exclusive ? sum : next;
          sum = next;
        }
      }
    }
  },
};

const cumsumOp: OpFn<[x: Tensor], [dim: number, exclusive: boolean, reverse: boolean]> = defineOp({
  name: "cumsum",
  inputs: ["x"],
  forward: ([x], dim, exclusive, reverse) =>
    run(cumsumKernel, [x], { ...spanOf(x.shape, dim), exclusive, reverse }, x.shape, x.dtype),
  vjp: (g, { attrs: [dim, exclusive, reverse] }) => [() => cumsumOp(g, dim, exclusive, !reverse)],
});

export interface CumsumOptions {
  /** Leave out the element itself: y[k] = Σ_{j < k} x[j]. Default false. */
  exclusive?: boolean | undefined;
  /** Sum from the end. Default false. */
  reverse?: boolean | undefined;
}

/**
 * Cumulative sum along a dim: y[k] = x[0] + … + x[k].
 *
 * Shapes   x any of at least 1 dim → the same
 * Error    float32: accumulated in float64, each partial sum rounded once; int32 wraps
 * Throws   RangeError for a dim that is not there or a scalar, TypeError for unknown options or those that are no booleans
 */
export function cumsum(x: Tensor, dim: number, options: CumsumOptions = {}): Tensor {
  checkTensor("cumsum", "x", x);
  checkOptions("cumsum", options, ["exclusive", "reverse"]);
  const { exclusive = false, reverse = false } = options;
  checkBoolean("cumsum", "exclusive", exclusive);
  checkBoolean("cumsum", "reverse", reverse);
  if (x.shape.length === 0) throw rangeError("cumsum", "x", "shape []", "at least 1 dim");
  return cumsumOp(x, checkDim("cumsum", dim, x.shape.length), exclusive, reverse);
}
