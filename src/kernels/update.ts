/**
 * The arithmetic of optimisers, one pass over the numbers each.
 *
 * These are kernels without ops: nothing is differentiated through an update.
 *
 * Error    float32: each output is computed in float64 and rounded once
 */
import type { Kernel } from "../device/kernel.ts";
import { adamStepForm, blendForm, secondMomentForm } from "./update.simd.ts";

/** y = p · x + q · z: momentum and plain steps. */
export const blendKernel: Kernel<{ p: number; q: number }> = {
  name: "blend",
  reference(out, [x, z], { p, q }) {
    for (let i = 0; i < out.length; i++) out[i] = p * x[i] + q * z[i];
  },
  loops(out, [x, z], { p, q }) {
    for (let i = 0; i < out.length; i++) out[i] = p * x[i] + q * z[i];
  },
  simd: blendForm,
};

/** v′ = β · v + (1 − β) · g²: the running mean of squared gradients. */
export const secondMomentKernel: Kernel<{ beta: number }> = {
  name: "secondMoment",
  reference(out, [v, g], { beta }) {
    for (let i = 0; i < out.length; i++) out[i] = beta * v[i] + (1 - beta) * g[i] ** 2;
  },
  loops(out, [v, g], { beta }) {
    const rest = 1 - beta;
    for (let i = 0; i < out.length; i++) out[i] = beta * v[i] + rest * g[i] * g[i];
  },
  simd: secondMomentForm,
};

export interface AdamAttrs {
  /** Factor on the parameter before the step: 1 − lr · weightDecay for AdamW. */
  readonly keep: number;
  /** lr / (1 − β₁ᵗ) */
  readonly rate: number;
  /** √(1 − β₂ᵗ) */
  readonly root: number;
  readonly eps: number;
}

/** p′ = keep · p − rate · m / (√v / root + eps) */
export const adamStepKernel: Kernel<AdamAttrs> = {
  name: "adamStep",
  reference(out, [p, m, v], { keep, rate, root, eps }) {
    for (let i = 0; i < out.length; i++) out[i] = keep * p[i] - (rate * m[i]) / (Math.sqrt(v[i]) / root + eps);
  },
  loops(out, [p, m, v], { keep, rate, root, eps }) {
    for (let i = 0; i < out.length; i++) out[i] = keep * p[i] - (rate * m[i]) / (Math.sqrt(v[i]) / root + eps);
  },
  simd: adamStepForm,
};
