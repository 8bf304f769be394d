/** Kernels: one function in up to four forms. */
import type { GpuForm } from "../gpu/form.ts";
import type { SimdForm } from "./simd.ts";

export type DType = "float32" | "float64" | "int32";

/** A flat array as a kernel reads and writes it. */
export type Flat = Float32Array | Float64Array | Int32Array;

/** One form on the host: fills `out` from `inputs`, writes every cell of it, reads nothing that it wrote by chance. */
export type HostForm<A> = (out: Flat, inputs: readonly Flat[], attrs: A) => void;

/**
 * A kernel: one flat output, computed by forms that agree within the bound in the docstring.
 *
 * - `reference`: read off the formula, slow and obvious, in float64 arithmetic. It is the oracle of the tests and what
 *   float64 tensors run.
 * - `loops`: typed-array loops for float32 and int32, always there. Float64 arrays never enter them: V8 specialises a
 *   loop to the kinds of array that it has seen, and one float64 call would slow the float32 path for the whole process.
 * - `simd`, `gpu`: where they pay. A missing form means that the loops run.
 *
 * `check` looks at values (an index out of range, a NaN logit) before a form runs, and throws.
 */
export interface Kernel<A = object> {
  readonly name: string;
  readonly check?: (inputs: readonly Flat[], attrs: A) => void;
  readonly reference: HostForm<A>;
  readonly loops: HostForm<A>;
  readonly simd?: SimdForm<A>;
  readonly gpu?: GpuForm<A>;
}

export function allocate(dtype: DType, length: number): Flat {
  if (dtype === "float32") return new Float32Array(length);
  return dtype === "float64" ? new Float64Array(length) : new Int32Array(length);
}

/** Whether a dtype can hold a number: int32 exactly, floats rounded, but a finite one never as infinity. */
export function holds(dtype: DType, x: number): boolean {
  if (dtype === "int32") return x === (x | 0);
  return !Number.isFinite(x) || dtype === "float64" || Number.isFinite(Math.fround(x));
}

export const dtypeOf = (data: Flat): DType =>
  data instanceof Float32Array ? "float32" : data instanceof Float64Array ? "float64" : "int32";

/**
 * The index of the first NaN, or −1. Four sums are taken first, since one that has met a NaN is NaN: that is a third of the
 * time of as many comparisons.
 */
export function firstNaN(x: Flat): number {
  if (x instanceof Int32Array) return -1;
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = x.length - (x.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += x[i];
    b += x[i + 1];
    c += x[i + 2];
    d += x[i + 3];
  }
  for (let i = whole; i < x.length; i++) a += x[i];
  const sum = a + b + c + d;
  // ∞ − ∞ is NaN, too.
  return sum === sum ? -1 : x.findIndex(Number.isNaN);
}
