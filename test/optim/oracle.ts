/** PyTorch's documented update rules, number by number in plain JavaScript. */
import fc from "fast-check";
import { type DType, type Optimizer, type Tensor, tensor } from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";

export interface SgdSettings {
  lr: number;
  momentum: number;
  dampening: number;
  weightDecay: number;
  nesterov: boolean;
}

export interface AdamSettings {
  lr: number;
  betas: [number, number];
  eps: number;
  weightDecay: number;
}

/** One parameter's numbers after each step; a gradient of null is a step that passes it over. */
export type Trajectory = number[][];

export function sgd(
  start: readonly number[],
  grads: readonly (readonly number[] | null)[],
  s: SgdSettings,
): Trajectory {
  let p = [...start];
  let b: number[] | null = null;
  return grads.map((g) => {
    if (g === null) return p;
    const d = g.map((x, i) => x + s.weightDecay * p[i]);
    let step = d;
    if (s.momentum !== 0) {
      const before: number[] | null = b;
      const now = before === null ? d : d.map((x, i) => s.momentum * before[i] + (1 - s.dampening) * x);
      b = now;
      step = s.nesterov ? d.map((x, i) => x + s.momentum * now[i]) : now;
    }
    p = p.map((x, i) => x - s.lr * step[i]);
    return p;
  });
}

/** Adam, and with `decoupled` AdamW. */
export function adam(
  start: readonly number[],
  grads: readonly (readonly number[] | null)[],
  s: AdamSettings,
  decoupled: boolean,
): Trajectory {
  const [beta1, beta2] = s.betas;
  let p = [...start];
  let m = start.map(() => 0);
  let v = start.map(() => 0);
  let t = 0;
  return grads.map((g) => {
    if (g === null) return p;
    t++;
    const d = decoupled ? g : g.map((x, i) => x + s.weightDecay * p[i]);
    if (decoupled) p = p.map((x) => x - s.lr * s.weightDecay * x);
    m = m.map((x, i) => beta1 * x + (1 - beta1) * d[i]);
    v = v.map((x, i) => beta2 * x + (1 - beta2) * d[i] * d[i]);
    p = p.map((x, i) => {
      const mean = m[i] / (1 - beta1 ** t);
      const square = v[i] / (1 - beta2 ** t);
      return x - (s.lr * mean) / (Math.sqrt(square) + s.eps);
    });
    return p;
  });
}

/** Numbers of parameters after each step of an optimiser that is given these gradients. */
export function trajectory(
  params: readonly Tensor[],
  optimizer: Optimizer<{ lr: number }>,
  grads: readonly (readonly (readonly number[] | null)[])[],
): Trajectory[] {
  const steps = grads[0].map((_, t) => {
    params.forEach((p, i) => {
      const g = grads[i][t];
      p.grad = g === null ? null : tensor([...g], { dtype: p.dtype });
    });
    optimizer.step();
    return params.map(numbers);
  });
  return params.map((_, i) => steps.map((step) => step[i]));
}

export const parameter = (data: readonly number[], dtype: DType): Tensor =>
  tensor([...data], { dtype, requiresGrad: true });

/** A start and gradients of 1 to 8 steps, some of them missing. */
export const drawn = fc.integer({ min: 1, max: 4 }).chain((n) => {
  const list = fc.array(
    fc.integer({ min: -64, max: 64 }).map((x) => x / 16),
    { minLength: n, maxLength: n },
  );
  return fc.record({
    start: list,
    grads: fc.array(fc.option(list, { freq: 4, nil: null }), { minLength: 1, maxLength: 8 }),
  });
});

/** How far two trajectories may be apart: in units of the largest number in them, a few roundings per step. */
export const tolerance = (dtype: DType): number => (dtype === "float32" ? 1e-6 : 1e-12);

/** Largest distance of two trajectories, relative to the size of the numbers (at least 1). */
export function distance(actual: Trajectory, expected: Trajectory): number {
  const [a, b] = [actual.flat(), expected.flat()];
  if (a.length !== b.length) return Infinity;
  const scale = Math.max(1, ...b.map(Math.abs));
  return Math.max(0, ...a.map((x, i) => Math.abs(x - b[i]))) / scale;
}
