/**
 * Elementwise functions of one tensor: y[i] = f(x[i]).
 *
 * Error    loops: the function of Math in float64, rounded once; simd: the same bits, but for exp and log
 * Throws   TypeError for what is no tensor, and for int32 unless the function is exact in it
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { DType, Flat, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkDtype, checkTensor, rangeError, show } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { type Unary, unary, unaryKernel } from "./pointwise.ts";
import { forms } from "./unary.simd.ts";

export { relu, sigmoid, silu, softplus, tanh } from "./activations.ts";
export { unary, unaryKernel } from "./pointwise.ts";

export const negKernel = unaryKernel(
  "neg",
  (x) => -x,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = -x[i];
  },
);

/** Error    simd: 1.2 ulp, and 0 below 1.7e-38 */
export const expKernel = unaryKernel(
  "exp",
  Math.exp,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.exp(x[i]);
  },
  { simd: forms.exp },
);

/** Error    simd: 2 ulp where |y| ≥ 1e-3, 2e-10 below */
export const logKernel = unaryKernel(
  "log",
  Math.log,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.log(x[i]);
  },
  { simd: forms.log },
);

export const sqrtKernel = unaryKernel(
  "sqrt",
  Math.sqrt,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.sqrt(x[i]);
  },
  { simd: forms.sqrt },
);
export const squareKernel = unaryKernel(
  "square",
  (x) => x * x,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i] * x[i];
  },
  {
    integers: (y, x) => {
      for (let i = 0; i < y.length; i++) y[i] = Math.imul(x[i], x[i]);
    },
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
