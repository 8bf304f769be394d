/**
 * Activations of one tensor, and their backwards dx = g · f′, each of which is one pass over memory.
 *
 *   σ(x) = 1 / (1 + e⁻ˣ)       σ′ = σ · (1 − σ)
 *   tanh                       tanh′ = 1 − tanh²
 *   relu(x) = max(0, x)        relu′ = 1 where x > 0, else 0
 *   silu(x) = x · σ(x)         silu′ = σ + x · σ′
 *   softplus(x) = ln(1 + eˣ)   softplus′ = σ
 *
 * Error    loops: float64 arithmetic, rounded once; simd: as said at each kernel
 * Throws   TypeError for what is no tensor, and for int32
 */
import type { Logits, Probs } from "../tensor.ts";
import { forms } from "./activations.simd.ts";
import { type Backward, backward, backwardKernel, type Unary, unary, unaryKernel } from "./pointwise.ts";

const sigmoidOf = (x: number): number => 1 / (1 + Math.exp(-x));

/** Error    simd: 2.2 ulp where |y| ≥ 1e-3, 1.5e-10 below */
export const sigmoidKernel = unaryKernel(
  "sigmoid",
  sigmoidOf,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = 1 / (1 + Math.exp(-x[i]));
  },
  { simd: forms.sigmoid },
);

/** Error    simd: 1.5e-7 · |g| for y from 0 to 1 */
export const sigmoidBackwardKernel = backwardKernel(
  "sigmoidBackward",
  (g, y) => g * y * (1 - y),
  (dx, g, y) => {
    for (let i = 0; i < dx.length; i++) dx[i] = g[i] * y[i] * (1 - y[i]);
  },
  forms.sigmoidBackward,
);

const sigmoidBackward: Backward = backward(sigmoidBackwardKernel, "y", (c, g, y) => c.mul(g).mul(y.mul(-2).add(1)));

const sigmoidOp: Unary = unary(sigmoidKernel, (g, _x, y) => sigmoidBackward(g, y));

/** y = σ(x) = 1 / (1 + e⁻ˣ): a number from 0 to 1. */
export const sigmoid = (x: Logits): Probs => sigmoidOp(x) as Probs;

/** Error    simd: 2.7 ulp where |y| ≥ 1e-3, 2e-10 below; tanh(−x) is exactly −tanh(x) */
export const tanhKernel = unaryKernel(
  "tanh",
  Math.tanh,
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.tanh(x[i]);
  },
  { simd: forms.tanh },
);

/** Error    simd: 1.5e-7 · |g| for y from −1 to 1 */
export const tanhBackwardKernel = backwardKernel(
  "tanhBackward",
  (g, y) => g * (1 - y * y),
  (dx, g, y) => {
    for (let i = 0; i < dx.length; i++) dx[i] = g[i] * (1 - y[i] * y[i]);
  },
  forms.tanhBackward,
);

const tanhBackward: Backward = backward(tanhBackwardKernel, "y", (c, g, y) => c.mul(g).mul(y.mul(-2)));

/** y = tanh x. */
export const tanh: Unary = unary(tanhKernel, (g, _x, y) => tanhBackward(g, y));

/** Error    none, in all forms */
export const reluKernel = unaryKernel(
  "relu",
  (x) => (x <= 0 ? 0 : x),
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i] <= 0 ? 0 : x[i];
  },
  { simd: forms.relu },
);

/** Error    none, in all forms */
export const reluBackwardKernel = backwardKernel(
  "reluBackward",
  (g, x) => (x > 0 ? g : 0),
  (dx, g, x) => {
    for (let i = 0; i < dx.length; i++) dx[i] = x[i] > 0 ? g[i] : 0;
  },
  forms.reluBackward,
);

const reluBackward: Backward = backward(reluBackwardKernel, "x", (c) => c.zerosLike());

/** y = max(0, x). The gradient at the kink, 0, is 0. */
export const relu: Unary = unary(reluKernel, (g, x) => reluBackward(g, x));

/** Error    loops: one rounding, and 2e-16 · |y|; simd: 2.2 ulp where |y| ≥ 1e-3, 2e-10 below */
export const siluKernel = unaryKernel(
  "silu",
  (x) => x * sigmoidOf(x),
  (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  },
  { simd: forms.silu },
);

/** Error    simd: 3e-7 · |g| */
export const siluBackwardKernel = backwardKernel(
  "siluBackward",
  (g, x) => {
    const s = sigmoidOf(x);
    return g * (s + x * s * (1 - s));
  },
  (dx, g, x) => {
    for (let i = 0; i < dx.length; i++) {
      const s = 1 / (1 + Math.exp(-x[i]));
      dx[i] = g[i] * (s + x[i] * s * (1 - s));
    }
  },
  forms.siluBackward,
);

// silu″ = σ · (1 − σ) · (2 + x · (1 − 2σ))
const siluBackward: Backward = backward(siluBackwardKernel, "x", (c, g, x) => {
  const s = x.sigmoid();
  const bend = x.mul(s.mul(-2).add(1)).add(2);
  return sigmoidBackward(c.mul(g), s).mul(bend);
});

/** y = x · σ(x), also called swish. */
export const silu: Unary = unary(siluKernel, (g, x) => siluBackward(g, x));

/** max(0, x) + ln(1 + e^−|x|): the exponent is never above 0. */
const softplusOf = (x: number): number => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x)));

export const softplusKernel = unaryKernel("softplus", softplusOf, (y, x) => {
  for (let i = 0; i < y.length; i++) y[i] = softplusOf(x[i]);
});

/** y = ln(1 + eˣ), whose derivative is σ(x). ln σ(x) is −softplus(−x). */
export const softplus: Unary = unary(softplusKernel, (g, x) => g.mul(x.sigmoid()));
