/**
 * Top-k: the k largest elements of each row and where they are.
 *
 *   indices[r, j] = the place of the j-th largest of x[r, :]; equal elements in order of their place
 *
 * Two kernels: the integer choice, which has no gradient, and the gather of the chosen values, which has.
 */
import { defineOp, type OpFn } from "../autograd.ts";
import { type Flat, firstNaN, type Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkBoolean, checkInteger, checkOptions, checkTensor, rangeError } from "../errors.ts";
import { checkDim } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import type { ValuesAndIndices } from "./reduce.ts";
import { topkForm } from "./topk.simd.ts";

export interface TopkAttrs {
  /** For messages. */
  readonly op: string;
  /** Width of a row. */
  readonly n: number;
  readonly k: number;
}

function checkOrdered([x]: readonly Flat[], { op }: TopkAttrs): void {
  const nan = firstNaN(x);
  if (nan >= 0) throw rangeError(op, "x", `NaN at flat index ${nan}`, "numbers that can be ordered");
}

/** Above this k, sorting a row beats inserting into a list of the k best. */
const INSERTION_LIMIT = 16;

/** Keys of 32 bits of value and 21 of place fill a float64's 53 exactly. */
const PLACES = 2 ** 21;

export const topkKernel: Kernel<TopkAttrs> = {
  name: "topk",
  check: checkOrdered,
  reference(out, [x], { n, k }) {
    for (let r = 0; r * k < out.length; r++) {
      const places = Array.from({ length: n }, (_, i) => i);
      places.sort((i, j) => x[r * n + j] - x[r * n + i] || i - j);
      out.set(places.slice(0, k), r * k);
    }
  },
  loops(out, [x], attrs) {
    if (attrs.k <= INSERTION_LIMIT || attrs.n > PLACES) insertBest(out, x, attrs);
    else sortRows(out, x, attrs);
  },
  simd: topkForm,
};

/** Each row's list of the best so far is kept sorted; a new element moves up past those that are smaller. */
function insertBest(out: Flat, x: Flat, { n, k }: TopkAttrs): void {
  for (let row = 0, at = 0; at < out.length; row += n, at += k) {
    const last = at + k - 1;
    for (let i = 0; i < k; i++) moveUp(out, x, row, at, at + i, i);
    let least = x[row + out[last]];
    for (let i = k; i < n; i++) {
      if (!(x[row + i] > least)) continue;
      moveUp(out, x, row, at, last, i);
      least = x[row + out[last]];
    }
  }
}

/** Puts element i of a row into the list that starts at `at`, from its end on upwards. */
function moveUp(out: Flat, x: Flat, row: number, at: number, end: number, i: number): void {
  const value = x[row + i];
  let j = end;
  while (j > at && value > x[row + out[j - 1]]) {
    out[j] = out[j - 1];
    j--;
  }
  out[j] = i;
}

/** Sorts one number per element: its value's rank among all float32 numbers, then its place from the end. */
function sortRows(out: Flat, x: Flat, { n, k }: TopkAttrs): void {
  const keys = new Float64Array(n);
  const value = new Float32Array(1);
  const bits = new Int32Array(value.buffer);
  const integers = x instanceof Int32Array;
  for (let row = 0, at = 0; at < out.length; row += n, at += k) {
    for (let i = 0; i < n; i++) {
      let rank = x[row + i];
      if (!integers) {
        value[0] = rank;
        rank = bits[0] < 0 ? -(bits[0] & 0x7fffffff) : bits[0]; // −0 becomes 0, with which it ties
      }
      keys[i] = rank * PLACES + (n - 1 - i);
    }
    keys.sort();
    for (let j = 0; j < k; j++) {
      const key = keys[n - 1 - j];
      out[at + j] = n - 1 - (key - Math.floor(key / PLACES) * PLACES);
    }
  }
}

/** The places of the k largest along the last dim. `op` is the name that an error gives. */
const topkIndices: OpFn<[x: Tensor], [k: number, op: string]> = defineOp({
  name: "topk",
  inputs: ["x"],
  forward([x], k, op) {
    const n = x.shape[x.shape.length - 1];
    return run(topkKernel, [x], { op, n, k }, [...x.shape.slice(0, -1), k], "int32");
  },
  vjp: () => [null],
});

/** The same along any dim, counted from the front. */
function largest(op: string, x: Tensor, k: number, dim: number): Tensor {
  const last = x.shape.length - 1;
  return dim === last ? topkIndices(x, k, op) : topkIndices(x.transpose(dim, last), k, op).transpose(dim, last);
}

function dimOf(op: string, x: Tensor, dim = -1): number {
  checkTensor(op, "x", x);
  if (x.shape.length === 0) throw rangeError(op, "x", "shape []", "at least 1 dim");
  return checkDim(op, dim, x.shape.length);
}

/**
 * The k largest elements along a dim, largest first, and their int32 indices. Equal elements come in order of index.
 * The gradient of a value goes to the element that it is.
 *
 * Shapes   x […, n, …] → values and indices […, k, …]
 * Error    exact
 * Throws   RangeError unless 0 ≤ k ≤ n, or when x has a NaN, which has no order
 */
export function topk(x: Tensor, k: number, options: { dim?: number | undefined } = {}): ValuesAndIndices {
  checkOptions("topk", options, ["dim"]);
  const dim = dimOf("topk", x, options.dim);
  checkInteger("topk", "k", k, 0, x.shape[dim], `dim ${dim} has ${x.shape[dim]} elements`);
  const indices = largest("topk", x, k, dim);
  return { values: x.gather(dim, indices), indices };
}

export interface SortOptions {
  /** Default −1. */
  dim?: number | undefined;
  /** Largest first. Default false. */
  descending?: boolean | undefined;
}

/**
 * The order that sorts x along a dim, as int32 indices. Stable: equal elements keep their order, either way.
 *
 * Shapes   x […, n, …] → the same
 * Throws   RangeError when x has a NaN, which has no order, or is a scalar
 */
export function argsort(x: Tensor, options: SortOptions = {}): Tensor {
  return orderOf("argsort", x, options);
}

function orderOf(op: string, x: Tensor, options: SortOptions): Tensor {
  checkOptions(op, options, ["dim", "descending"]);
  const { descending = false } = options;
  checkBoolean(op, "descending", descending);
  const dim = dimOf(op, x, options.dim);
  // −x turns the order round; so does −x − 1, which int32 has for every x.
  const turned = (): Tensor => (x.dtype === "int32" ? x.neg().sub(1) : x.detach().neg());
  return largest(op, descending ? x : turned(), x.shape[dim], dim);
}

/**
 * x sorted along a dim, smallest first unless descending, and where each element was. Stable. The gradient of a value
 * goes to the element that it is.
 *
 * Shapes, throws   as argsort
 */
export function sort(x: Tensor, options: SortOptions = {}): ValuesAndIndices {
  const indices = orderOf("sort", x, options);
  return { values: x.gather(dimOf("sort", x, options.dim), indices), indices };
}
