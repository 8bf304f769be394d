/**
 * Elementwise functions of one tensor: y[i] = f(x[i]).
 *
 * Each loop is written out: one shared loop that takes f as an argument costs five times as much once V8 has seen a
 * handful of different f.
 *
 * Error    float32: the function of Math in float64, rounded once
 * Throws   TypeError for what is no tensor, and for int32 unless the function is exact in it
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { DType, Flat, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkDtype, checkTensor, rangeError, show } from "../errors.ts";
import type { Logits, Probs, Tensor } from "../tensor.ts";

type Unary = OpFn<[x: Tensor]>;
type Loop = (y: Flat, x: Flat) => void;

/** `integers`: a loop of its own for int32, where float64 arithmetic would not be exact. */
export function unaryKernel(name: string, f: (x: number) => number, loop: Loop, integers?: Loop): Kernel {
  const reference: Loop = (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = f(x[i]);
  };
  const pick = (out: Flat, floats: Loop): Loop => (integers && out instanceof Int32Array ? integers : floats);
  return {
    name,
    reference: (out, [x]) => pick(out, reference)(out, x),
    loops: (out, [x]) => pick(out, loop)(out, x),
  };
}

/** An op from its kernel and its vjp: g, x and y → dx. `integers`: whether int32 is allowed too. */
export function unary(
  kernel: Kernel,
  vjp: (g: Tensor, x: Tensor, y: Tensor) => Tensor,
  { integers = false }: { integers?: boolean } = {},
): Unary {
  const dtypes = integers ? ["float32", "float64", "int32"] : ["float32", "float64"];
  return defineOp({
    name: kernel.name,
    inputs: ["x"],
    forward([x]) {
      checkTensor(kernel.name, "x", x);
      checkDtype(kernel.name, "x", x.dtype, dtypes, "convert with to()");
      return run(kernel, [x], {}, x.shape, x.dtype);
    },
    vjp: (g, { inputs: [x], output }) => [() => vjp(g, x, output)],
  });
}

const sigmoidOf = (x: number): number => 1 / (1 + Math.exp(-x));

/** max(0, x) + ln(1 + e^−|x|): the exponent is never above 0. */
const softplusOf = (x: number): number => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x)));

export const negKernel = unaryKernel(
  "neg",
  (x) => -x,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = -x[i];
  },
);
export const expKernel = unaryKernel("exp", Math.exp, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.exp(x[i]);
});
export const logKernel = unaryKernel("log", Math.log, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.log(x[i]);
});
export const sqrtKernel = unaryKernel("sqrt", Math.sqrt, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.sqrt(x[i]);
});
export const squareKernel = unaryKernel(
  "square",
  (x) => x * x,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i] * x[i];
  },
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.imul(x[i], x[i]);
  },
);
export const absKernel = unaryKernel("abs", Math.abs, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.abs(x[i]);
});
export const signKernel = unaryKernel("sign", Math.sign, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.sign(x[i]);
});
export const sinKernel = unaryKernel("sin", Math.sin, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.sin(x[i]);
});
export const cosKernel = unaryKernel("cos", Math.cos, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.cos(x[i]);
});
export const tanhKernel = unaryKernel("tanh", Math.tanh, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.tanh(x[i]);
});
export const sigmoidKernel = unaryKernel("sigmoid", sigmoidOf, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = 1 / (1 + Math.exp(-x[i]));
});
export const reluKernel = unaryKernel(
  "relu",
  (x) => (x <= 0 ? 0 : x),
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i] <= 0 ? 0 : x[i];
  },
);
export const siluKernel = unaryKernel(
  "silu",
  (x) => x * sigmoidOf(x),
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  },
);

export const softplusKernel = unaryKernel("softplus", softplusOf, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = softplusOf(x[i]);
});

/** y = −x. */
export const neg: Unary = unary(negKernel, (g) => g.neg(), { integers: true });

/** y = eˣ. */
export const exp: Unary = unary(expKernel, (g, _x, y) => g.mul(y));

/** y = ln x; −∞ at 0, NaN below. */
export const log: Unary = unary(logKernel, (g, x) => g.div(x));

/** y = √x; NaN below 0. The gradient at 0 is ∞. */
export const sqrt: Unary = unary(sqrtKernel, (g, _x, y) => g.div(y.mul(2)));

/** y = x². int32 is exact, and wraps at 2³². */
export const square: Unary = unary(squareKernel, (g, x) => g.mul(x.mul(2)), { integers: true });

/** y = |x|. The gradient at the kink, 0, is 0. */
export const abs: Unary = unary(absKernel, (g, x) => g.mul(sign(x)), { integers: true });

/** y = −1, 0 or 1, by the sign of x. Its gradient is 0. */
export const sign: Unary = unary(signKernel, (g) => g.zerosLike(), { integers: true });

/** y = sin x, x in radians. */
export const sin: Unary = unary(sinKernel, (g, x) => g.mul(x.cos()));

/** y = cos x, x in radians. */
export const cos: Unary = unary(cosKernel, (g, x) => g.mul(x.sin()).neg());

/** y = tanh x. */
export const tanh: Unary = unary(tanhKernel, (g, _x, y) => g.mul(y.square().neg().add(1)));

const sigmoidOp: Unary = unary(sigmoidKernel, (g, _x, y) => g.mul(y).mul(y.neg().add(1)));

/** y = σ(x) = 1 / (1 + e⁻ˣ): a number from 0 to 1. */
export const sigmoid = (x: Logits): Probs => sigmoidOp(x) as Probs;

/** y = ln(1 + eˣ), whose derivative is σ(x). ln σ(x) is −softplus(−x). */
export const softplus: Unary = unary(softplusKernel, (g, x) => g.mul(x.sigmoid()));

/** y = max(0, x). The gradient at the kink, 0, is 0. */
export const relu: Unary = unary(reluKernel, (g, x) => x.gt(0).where(g, 0));

/** y = x · σ(x), also called swish. y′ = σ(x) · (1 + x · (1 − σ(x))). */
export const silu: Unary = unary(siluKernel, (g, x) => {
  const s = x.sigmoid();
  return g.mul(s.mul(x.mul(s.neg().add(1)).add(1)));
});

const castLoop = (out: Flat, [x]: readonly Flat[]): void => {
  for (let i = 0; i < out.length; i++) out[i] = x[i];
};

/** Refuses numbers that int32 has not: a conversion rounds floats to floats, but never a float to an integer. */
function checkIntegers([x]: readonly Flat[], { dtype }: { dtype: DType }): void {
  if (dtype !== "int32" || x instanceof Int32Array) return;
  const bad = x.findIndex((v) => v !== (v | 0));
  if (bad >= 0) {
    throw rangeError("to", "x", `${show(x[bad])} at flat index ${bad}`, "integers from −2³¹ to 2³¹ − 1", "dtype int32");
  }
}

export const castKernel: Kernel<{ dtype: DType }> = {
  name: "to",
  check: checkIntegers,
  reference: castLoop,
  loops: castLoop,
};

const toOp: OpFn<[x: Tensor], [dtype: DType]> = defineOp({
  name: "to",
  inputs: ["x"],
  forward: ([x], dtype) => run(castKernel, [x], { dtype }, x.shape, dtype),
  vjp: (g, { inputs: [x] }) => [() => to(g, x.dtype)],
});

/**
 * The same numbers as another dtype; x itself when it has it already.
 *
 * Error    float64 → float32 rounds once; int32 beyond 2²⁴ rounds in float32
 * Throws   RangeError when a float that is no int32 is converted to one, TypeError for an unknown dtype
 */
export function to(x: Tensor, dtype: DType): Tensor {
  checkTensor("to", "x", x);
  checkDtype("to", "dtype", dtype, ["float32", "float64", "int32"]);
  return dtype === x.dtype ? x : toOp(x, dtype);
}
