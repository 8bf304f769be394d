/**
 * The smoothing lemma, as a task: noise makes the choice of an expert a smooth function of the logits.
 *
 *   p_m(h) = P(m = argmax_j (h_j + r_j)),  r_j ~ U[0, 1) independent        |p(h) − p(h')|_∞ ≤ M² · |h − h'|_∞
 *
 * Without noise p jumps from 0 to 1. Both sides are counted with the same draws of r, so that only choices that differ count.
 *
 * Source   Chen et al. 2022, Lemma 5.1
 */
import { Generator } from "../../../src/index.ts";
import type { Task } from "../experiment.ts";

export interface SmoothingParams {
  /** M */
  readonly experts: number;
  /** Pairs h, h'. */
  readonly pairs: number;
  /** Draws of r for each pair. */
  readonly draws: number;
}

export interface SmoothingRecord {
  /** Of each pair: |h − h'|_∞, and |p(h) − p(h')|_∞ as counted. */
  readonly distances: readonly number[];
  readonly changes: readonly number[];
}

export const smoothingTask: Task<SmoothingParams, SmoothingRecord> = {
  name: "smoothing",
  version: 1,
  run({ experts: M, pairs, draws }, { seed, progress }) {
    const rng = new Generator(seed);
    const [distances, changes]: number[][] = [[], []];
    for (let i = 0; i < pairs; i++) {
      // Logits are most often as close to one another as the noise is wide, and steps go from small to large.
      const h = Array.from({ length: M }, () => rng.uniform());
      const size = 10 ** (-3 + 3 * rng.uniform());
      const moved = h.map((x) => x + size * (2 * rng.uniform() - 1));
      distances.push(Math.max(...h.map((x, m) => Math.abs(x - moved[m]))));
      changes.push(changeOf(h, moved, draws, rng));
      progress((i + 1) / pairs);
    }
    return { distances, changes };
  },
};

/** |p(a) − p(b)|_∞ by counting. */
function changeOf(a: readonly number[], b: readonly number[], draws: number, rng: Generator): number {
  const difference = new Float64Array(a.length);
  const noise = new Float64Array(a.length);
  for (let n = 0; n < draws; n++) {
    for (let m = 0; m < noise.length; m++) noise[m] = rng.uniform();
    difference[argmax(a, noise)]++;
    difference[argmax(b, noise)]--;
  }
  return Math.max(...difference.map(Math.abs)) / draws;
}

function argmax(h: readonly number[], noise: Float64Array): number {
  let best = 0;
  for (let m = 1; m < h.length; m++) if (h[m] + noise[m] > h[best] + noise[best]) best = m;
  return best;
}
