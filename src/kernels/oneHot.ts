/** One-hot vectors: integers as rows of a unit matrix. */
import { defineOp, type OpFn } from "../autograd.ts";
import type { DType, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkDtype, checkInteger, checkOptions, checkTensor } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { checkIndices } from "./rows.ts";

export const oneHotKernel: Kernel<{ classes: number }> = {
  name: "oneHot",
  check: ([index], { classes }) => checkIndices(index, "oneHot", classes),
  reference(out, [index], { classes }) {
    for (let i = 0; i < out.length; i++) out[i] = index[Math.floor(i / classes)] === i % classes ? 1 : 0;
  },
  loops(out, [index], { classes }) {
    out.fill(0);
    for (let i = 0; i < index.length; i++) out[i * classes + index[i]] = 1;
  },
};

const oneHotOp: OpFn<[index: Tensor], [classes: number, dtype: DType]> = defineOp({
  name: "oneHot",
  inputs: ["index"],
  forward: ([index], classes, dtype) => run(oneHotKernel, [index], { classes }, [...index.shape, classes], dtype),
  vjp: () => [null],
});

/**
 * Integers as unit vectors: y[…, c] = 1 if index[…] = c, else 0.
 *
 * Shapes   index int32 […] with entries from 0 to numClasses − 1 → […, numClasses], float32 unless a dtype is given
 * Throws   RangeError for a class that is not there, TypeError unless index is int32
 */
export function oneHot(index: Tensor, numClasses: number, options: { dtype?: DType | undefined } = {}): Tensor {
  checkTensor("oneHot", "index", index);
  checkOptions("oneHot", options, ["dtype"]);
  const { dtype = "float32" } = options;
  checkDtype("oneHot", "index", index.dtype, ["int32"], "convert with to()");
  checkDtype("oneHot", "dtype", dtype, ["float32", "float64", "int32"]);
  checkInteger("oneHot", "numClasses", numClasses, 1, 2 ** 31 - 1);
  return oneHotOp(index, numClasses, dtype);
}
