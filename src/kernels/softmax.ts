/**
 * The softmax family, along the last dim of the kernel.
 *
 *   softmax(x)[i] = e^(x[i] − m) / Σⱼ e^(x[j] − m)        m = max x: no exponent is above 0, so nothing overflows
 *   logsumexp(x)  = m + ln Σⱼ e^(x[j] − m)
 *   logSoftmax(x) = x − logsumexp(x)
 *
 * softmax does not change when a constant is added to x; logsumexp grows by it.
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { Flat, HostForm, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkBoolean, checkDtype, checkOptions, checkTensor, rangeError, show } from "../errors.ts";
import { checkDim, reducedShape, type Shape } from "../shape.ts";
import type { Logits, Probs, Tensor } from "../tensor.ts";

/** Rows of n numbers. */
interface Rows {
  readonly n: number;
}

function maxOf(x: Flat, from: number, n: number): number {
  let m = -Infinity;
  for (let i = from; i < from + n; i++) if (!(x[i] <= m)) m = x[i];
  return m;
}

/** What is taken off before the exponential: an infinite m would give ∞ − ∞ = NaN, where 0 gives e^−∞ = 0 and e^∞ = ∞. */
const shiftOf = (m: number): number => (m === -Infinity || m === Infinity ? 0 : m);

function logsumexpOf(x: Flat, from: number, n: number): number {
  const m = shiftOf(maxOf(x, from, n));
  let sum = 0;
  for (let i = from; i < from + n; i++) sum += Math.exp(x[i] - m);
  return m + Math.log(sum);
}

/** The same where it is finite, else NaN: of a row with +∞ nobody knows the shares, which all become NaN. */
function finiteLogsumexp(x: Flat, from: number, n: number): number {
  const lse = logsumexpOf(x, from, n);
  return lse < Infinity ? lse : NaN;
}

interface Shares extends Rows {
  /** In a row with +∞: 0 for finite numbers, as in the limit, and NaN for the infinite ones alone. Default false. */
  readonly limit?: boolean;
}

function softmaxRow(out: Flat, x: Flat, at: number, { n, limit }: Shares): void {
  const lse = (limit ? logsumexpOf : finiteLogsumexp)(x, at, n);
  for (let i = at; i < at + n; i++) out[i] = Math.exp(x[i] - lse);
}

/** Error    float32: computed in float64, rounded once */
export const softmaxKernel: Kernel<Shares> = {
  name: "softmax",
  reference(out, [x], attrs) {
    for (let at = 0; at < x.length; at += attrs.n) softmaxRow(out, x, at, attrs);
  },
  loops(out, [x], attrs) {
    const { n, limit } = attrs;
    const e = new Float64Array(n);
    for (let at = 0; at < x.length; at += n) {
      const m = maxOf(x, at, n);
      if (limit && m === Infinity) {
        softmaxRow(out, x, at, attrs);
        continue;
      }
      let sum = 0;
      for (let i = 0; i < n; i++) sum += e[i] = Math.exp(x[at + i] - m);
      const scale = 1 / sum;
      for (let i = 0; i < n; i++) out[at + i] = e[i] * scale;
    }
  },
};

const logSoftmaxForm: HostForm<Rows> = (out, [x], { n }) => {
  for (let at = 0; at < x.length; at += n) {
    const lse = finiteLogsumexp(x, at, n);
    for (let i = at; i < at + n; i++) out[i] = x[i] - lse;
  }
};

/** Error    float32: computed in float64, rounded once */
export const logSoftmaxKernel: Kernel<Rows> = {
  name: "logSoftmax",
  reference: logSoftmaxForm,
  loops(out, [x], { n }) {
    for (let at = 0; at < x.length; at += n) {
      const m = maxOf(x, at, n);
      let sum = 0;
      for (let i = at; i < at + n; i++) sum += Math.exp(x[i] - m);
      const lse = m + Math.log(sum);
      for (let i = at; i < at + n; i++) out[i] = x[i] - lse;
    }
  },
};

/** Error    float32: computed in float64, rounded once */
export const logsumexpKernel: Kernel<Rows> = {
  name: "logsumexp",
  reference(out, [x], { n }) {
    for (let r = 0; r < out.length; r++) out[r] = logsumexpOf(x, r * n, n);
  },
  loops(out, [x], { n }) {
    for (let r = 0; r < out.length; r++) {
      const m = shiftOf(maxOf(x, r * n, n));
      let sum = 0;
      for (let i = r * n; i < (r + 1) * n; i++) sum += Math.exp(x[i] - m);
      out[r] = m + Math.log(sum);
    }
  },
};

// All three keep the last dim; logsumexp with size 1. A scalar is a row of one.
const width = (shape: Shape): number => shape[shape.length - 1] ?? 1;

const softmaxOp: OpFn<[x: Tensor], [limit: boolean]> = defineOp({
  name: "softmax",
  inputs: ["x"],
  forward: ([x], limit) => run(softmaxKernel, [x], { n: width(x.shape), limit }, x.shape, x.dtype),
  // The Jacobian is diag(y) − y·yᵀ.
  vjp: (g, { output: y }) => [() => y.mul(g.sub(g.mul(y).sum({ dim: -1, keepdim: true })))],
});

const logSoftmaxOp: OpFn<[x: Tensor]> = defineOp({
  name: "logSoftmax",
  inputs: ["x"],
  forward: ([x]) => run(logSoftmaxKernel, [x], { n: width(x.shape) }, x.shape, x.dtype),
  vjp: (g, { output: y }) => [() => g.sub(y.exp().mul(g.sum({ dim: -1, keepdim: true })))],
});

const logsumexpOp: OpFn<[x: Tensor]> = defineOp({
  name: "logsumexp",
  inputs: ["x"],
  forward([x]) {
    const shape = [...x.shape.slice(0, -1), 1];
    return run(logsumexpKernel, [x], { n: width(x.shape) }, shape, x.dtype);
  },
  vjp: (g, { inputs: [x] }) => [() => g.mul(softmaxOp(x, true))],
});

export interface DimOptions {
  /** The dim along which to work; negative ones count from the end. Default −1. */
  dim?: number | undefined;
}

/** Runs f with the dim moved to the end, and moves it back. */
function alongLast(op: string, x: Tensor, { dim = -1 }: DimOptions, f: (x: Tensor) => Tensor): Tensor {
  checkTensor(op, "x", x);
  checkDtype(op, "x", x.dtype, ["float32", "float64"], "convert integers with to()");
  const d = checkDim(op, dim, x.shape.length);
  const last = x.shape.length - 1;
  return d >= last ? f(x) : f(x.transpose(d, last)).transpose(d, last);
}

/**
 * y = eˣ / Σ eˣ along a dim: positive numbers that sum to 1.
 *
 * Shapes   x any → the same
 * Error    float32: computed in float64, rounded once; finite for logits of any finite size. A row of −∞ alone is NaN, and
 *          so is one with +∞.
 * Throws   RangeError for a dim that is not there, TypeError for int32 or unknown options
 */
export function softmax(x: Logits, options: DimOptions = {}): Probs {
  checkOptions("softmax", options, ["dim"]);
  return alongLast("softmax", x, options, (rows) => softmaxOp(rows, false)) as Probs;
}

/** y = x − ln Σ eˣ along a dim: the logarithm of softmax, without its underflow. As softmax otherwise. */
export function logSoftmax(x: Logits, options: DimOptions = {}): Tensor {
  checkOptions("logSoftmax", options, ["dim"]);
  return alongLast("logSoftmax", x, options, logSoftmaxOp);
}

/**
 * y = ln Σ eˣ along a dim, which is dropped unless keepdim. ∞ in a row with +∞, whose gradient is 0 for its finite numbers
 * and NaN for the infinite ones; −∞ for a row of −∞ alone.
 *
 * Throws   RangeError for a dim that is not there or is empty, TypeError for int32 or unknown options
 */
export function logsumexp(x: Tensor, options: DimOptions & { keepdim?: boolean | undefined } = {}): Tensor {
  checkOptions("logsumexp", options, ["dim", "keepdim"]);
  const { dim: given = -1, keepdim = false } = options;
  checkTensor("logsumexp", "x", x);
  checkBoolean("logsumexp", "keepdim", keepdim);
  const dim = checkDim("logsumexp", given, x.shape.length);
  if (x.shape[dim] === 0) throw rangeError("logsumexp", "x", `shape ${show(x.shape)}`, `elements along dim ${dim}`);
  const rows = x.shape.length === 0 ? x.reshape([1]) : x;
  const kept = alongLast("logsumexp", rows, { dim }, logsumexpOp);
  return kept.reshape(reducedShape(x.shape, x.shape.length === 0 ? [] : [dim], keepdim));
}
