/** What a case of a kernel is, and what it is made of: plain data from one seed, the same in a browser and in Node. */
import type { DType, Flat, Kernel } from "../device/kernel.ts";
import { Generator } from "../random.ts";

/** One call of a kernel, and how far two forms of it may be apart. */
export interface Case {
  readonly kernel: Kernel<never>;
  readonly inputs: readonly Flat[];
  readonly attrs: object;
  readonly length: number;
  readonly dtype: DType;
  /** As a share of the largest number of the output, or of the terms where they cancel. 0: the same numbers. */
  readonly bound: number;
  /** The size of terms that cancel, where the result may be far smaller; "magnitudes": what the kernel gives for all |x|. */
  readonly terms: number | "magnitudes";
}

/** The distance of float32 numbers next to 1. */
export const ULP = 2 ** -23;

/** What no kernel may exceed, whatever its own bound allows. */
export const MOST = 2e-5;

interface Accuracy {
  readonly bound?: number;
  readonly terms?: number | "magnitudes";
}

/** A case; exact, unless it says how far off it may be. */
export function call<A extends object>(
  kernel: Kernel<A>,
  inputs: readonly Flat[],
  attrs: A,
  length: number,
  dtype: DType = "float32",
  { bound = 0, terms = 0 }: Accuracy = {},
): Case {
  const anyKernel = kernel as unknown as Kernel<never>;
  return {
    kernel: anyKernel,
    inputs,
    attrs,
    length,
    dtype,
    bound: dtype === "int32" ? 0 : Math.min(bound, MOST),
    terms,
  };
}

/** A sum of n terms in float32, rounded at every step. */
export const sumOf = (n: number): Accuracy => ({ bound: n * ULP, terms: "magnitudes" });

/** Numbers to draw. */
export class Draw {
  readonly #rng: Generator;

  constructor(seed: number) {
    this.#rng = new Generator(seed);
  }

  readonly floats = (n: number, scale = 2): Float32Array =>
    Float32Array.from({ length: n }, () => scale * (2 * this.#rng.uniform() - 1));

  readonly ints = (n: number, below: number): Int32Array =>
    Int32Array.from({ length: n }, () => this.#rng.integer(below));

  /** Of which many are equal. */
  readonly ties = (n: number): Float32Array => Float32Array.from({ length: n }, () => this.#rng.integer(5) - 2);

  readonly positive = (n: number): Float32Array => this.floats(n).map((x) => Math.abs(x) + 0.1);

  /** At least ¼ from 0. */
  readonly away = (n: number): Float32Array => this.floats(n).map((x) => (Math.abs(x) < 0.25 ? x + 1 : x));

  readonly wide = (n: number): Float32Array => this.floats(n, 30);
}

/** How far numbers are from those expected, as a share; ∞ where integers differ, or a NaN is none, or 0 is no 0. */
export function distance(actual: Flat, expected: Flat, terms: number): number {
  let [most, far] = [terms, 0];
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) most = Math.max(most, Math.abs(expected[i]));
    if (Object.is(actual[i] + 0, expected[i] + 0)) continue;
    const d = expected instanceof Int32Array ? Infinity : Math.abs(actual[i] - expected[i]);
    far = d >= 0 ? Math.max(far, d) : Infinity;
  }
  return far === 0 ? 0 : far / most;
}
