/** run(): the only place that chooses which form of a kernel runs. */
import { checkSize, sizeOf } from "../shape.ts";
import { allocate, type DType, type Flat, type Kernel } from "./kernel.ts";
import { shared } from "./state.ts";
import { hostValue, type Storage, type Value } from "./storage.ts";

/** The part of a tensor that a kernel needs. */
export interface Stored {
  readonly storage: Storage;
}

/** The numbers of a tensor that is known to be on the host. */
export function hostData(x: Stored): Flat {
  const data = x.storage.host;
  if (data === null) throw new Error("run: input has its numbers on another device, expected the host");
  return data;
}

/**
 * Runs a kernel on the current device and gives its output.
 *
 * The form is chosen from dtypes and shapes alone: the reference when any array is float64, else the loops.
 *
 * Throws   RangeError for more elements than a tensor can have, and what the kernel's check refuses
 */
export function run<A>(
  kernel: Kernel<A>,
  inputs: readonly Stored[],
  attrs: A,
  shape: readonly number[],
  dtype: DType,
): Value {
  const arrays = inputs.map(hostData);
  kernel.check?.(arrays, attrs);
  checkSize(kernel.name, "the output", shape);
  const out = allocate(dtype, sizeOf(shape));
  const exact = dtype === "float64" || arrays.some((x) => x instanceof Float64Array);
  const form = exact ? kernel.reference : kernel.loops;
  form(out, arrays, attrs);
  const { decisions } = shared();
  if (decisions !== null && dtype === "int32" && arrays.some((x) => !(x instanceof Int32Array))) decisions.push(out);
  return hostValue(out, shape);
}
