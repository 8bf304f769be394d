/**
 * The data of Chen et al.: clusters that no single function of a patch can tell apart.
 *
 *   2K orthonormal vectors of R^d: a signal v_k and a centre c_k for each of K clusters
 *   a sample: k ≠ k' at random, y, ε = ±1, α, β, γ from intervals; then P = 4 patches in random order,
 *     y·α·v_k      the only one that carries the label
 *     β·c_k        says which cluster it is
 *     ε·γ·v_k'     looks like the signal of another cluster, with a sign that means nothing
 *     ξ            Gaussian noise, σ_p / √d in each of the d coordinates
 *   and everything times 10
 *
 * A function of single patches that takes y·α·v_k for a sign of the label must take ε·γ·v_k' for one, too: only who knows the
 * cluster knows which to believe. With α and γ of one distribution no sum of such functions errs on fewer than 1 in 8.
 *
 * Source   Definition 3.1; constants as in the authors' code. Random numbers are ours: the same distribution, other draws
 */
import { Generator } from "../../../src/index.ts";

export const CLUSTERS = 4;
export const PATCHES = 4;
export const DIM = 50;
export const SAMPLES = 16_000;
/** All numbers are multiplied by this one at the end; the learning rates are tuned to it. */
export const SCALE = 10;

type Interval = readonly [low: number, high: number];

export interface Setting {
  readonly alpha: Interval;
  readonly beta: Interval;
  readonly gamma: Interval;
  /** σ_p */
  readonly noise: number;
  /** The seed of its data, the same for every training. */
  readonly seed: number;
}

/** The paper's settings. "same" is Theorem 4.1's case, one distribution for signal and feature noise. */
export const settings = {
  1: { alpha: [0.5, 2], beta: [1, 2], gamma: [0.5, 3], noise: 1, seed: 12 },
  2: { alpha: [0.5, 2], beta: [1, 2], gamma: [0.5, 3], noise: 2, seed: 11 },
  3: { alpha: [0.5, 2], beta: [1, 2], gamma: [0.5, 2], noise: 1, seed: 11 },
  4: { alpha: [0.5, 2], beta: [1, 2], gamma: [0.5, 2], noise: 2, seed: 11 },
  same: { alpha: [1, 2], beta: [1, 2], gamma: [1, 2], noise: 1, seed: 11 },
} as const satisfies Record<string | number, Setting>;

export type SettingName = "1" | "2" | "3" | "4" | "same";

/** Signals v and centres c, [K][d] each. */
export interface Directions {
  readonly signals: readonly Float64Array[];
  readonly centres: readonly Float64Array[];
}

/** Samples, one after the other. */
export interface Samples {
  readonly count: number;
  /** [n, P, d] */
  readonly x: Float32Array;
  /** [n]: 1 for y = +1, 0 for y = −1. */
  readonly label: Int32Array;
  /** [n]: k */
  readonly cluster: Int32Array;
  /** [n]: k', whose signal the feature noise borrows. */
  readonly other: Int32Array;
}

export interface Dataset extends Directions {
  readonly train: Samples;
  readonly test: Samples;
}

/** 2K random orthonormal vectors by Gram and Schmidt's method, the first K of them signals. */
export function directions(rng: Generator): Directions {
  const basis: Float64Array[] = [];
  for (let i = 0; i < 2 * CLUSTERS; i++) {
    const x = unit(Float64Array.from({ length: DIM }, () => rng.normal()));
    for (const b of basis) {
      const along = dot(x, b);
      for (let d = 0; d < DIM; d++) x[d] -= along * b[d];
    }
    basis.push(unit(x));
  }
  return { signals: basis.slice(0, CLUSTERS), centres: basis.slice(CLUSTERS) };
}

/** n samples. The patches of each stand in an order of their own. */
export function drawSamples(n: number, setting: Setting, { signals, centres }: Directions, rng: Generator): Samples {
  const x = new Float32Array(n * PATCHES * DIM);
  const [label, cluster, other] = [new Int32Array(n), new Int32Array(n), new Int32Array(n)];
  const between = ([low, high]: Interval): number => low + (high - low) * rng.uniform();
  const deviation = setting.noise / Math.sqrt(DIM);
  for (let i = 0; i < n; i++) {
    const k = rng.integer(CLUSTERS);
    const k2 = (k + 1 + rng.integer(CLUSTERS - 1)) % CLUSTERS;
    const [y, sign] = [rng.integer(2), rng.integer(2)];
    const signal = (2 * y - 1) * between(setting.alpha);
    const centre = between(setting.beta);
    const noise = (2 * sign - 1) * between(setting.gamma);
    const places = rng.permutation(PATCHES);
    const patch = (p: number, value: (d: number) => number): void => {
      const at = (i * PATCHES + places[p]) * DIM;
      for (let d = 0; d < DIM; d++) x[at + d] = SCALE * value(d);
    };
    patch(0, (d) => signal * signals[k][d]);
    patch(1, (d) => centre * centres[k][d]);
    patch(2, (d) => noise * signals[k2][d]);
    patch(3, () => deviation * rng.normal());
    label[i] = y;
    cluster[i] = k;
    other[i] = k2;
  }
  return { count: n, x, label, cluster, other };
}

/** The data of a setting: as many samples to train on as to test with. */
export function dataset(setting: Setting, samples = SAMPLES): Dataset {
  const rng = new Generator(setting.seed);
  const found = directions(rng.split("directions"));
  const train = drawSamples(samples, setting, found, rng.split("train"));
  const test = drawSamples(samples, setting, found, rng.split("test"));
  return { ...found, train, test };
}

/** Σ_p x^(p) of each sample, [n, d]: what a linear router sees. */
export function patchSums({ count, x }: Samples): Float32Array {
  const sums = new Float32Array(count * DIM);
  for (let i = 0; i < count; i++) {
    for (let p = 0; p < PATCHES; p++) {
      const at = (i * PATCHES + p) * DIM;
      for (let d = 0; d < DIM; d++) sums[i * DIM + d] += x[at + d];
    }
  }
  return sums;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d] * b[d];
  return sum;
}

function unit(x: Float64Array): Float64Array {
  const length = Math.sqrt(dot(x, x));
  return x.map((value) => value / length);
}
