/**
 * K-means, as a task: what is found in the same inputs without any label, beside what the router finds.
 *
 *   assign each point to the nearest of k centres; move each centre to the mean of its points; until nothing changes
 *
 * Centres start by k-means++: each next one is drawn from the points with chances as their squared distances from the nearest
 * so far. Of several starts the one with the least sum of squared distances counts.
 *
 * Source   Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++)
 */
import { Generator } from "../../../src/index.ts";
import type { Task } from "../experiment.ts";
import { CLUSTERS, DIM, dataset, patchSums, type SettingName, settings } from "./data.ts";

export interface KMeansParams {
  readonly setting: SettingName;
  readonly samples: number;
  readonly k: number;
  readonly starts: number;
}

export interface KMeansRecord {
  /** Training samples by [cluster][centre]. */
  readonly table: readonly (readonly number[])[];
}

export const kmeansTask: Task<KMeansParams, KMeansRecord> = {
  name: "kmeans",
  version: 1,
  run({ setting, samples, k, starts }, { seed, progress }) {
    const { train } = dataset(settings[setting], samples);
    const rng = new Generator(seed);
    const points = patchSums(train);
    let best: Clustering = { centreOf: new Int32Array(train.count), cost: Infinity };
    for (let i = 0; i < starts; i++) {
      const found = cluster(points, DIM, k, rng);
      if (found.cost < best.cost) best = found;
      progress((i + 1) / starts);
    }
    const table = Array.from({ length: CLUSTERS }, () => new Array<number>(k).fill(0));
    for (let i = 0; i < train.count; i++) table[train.cluster[i]][best.centreOf[i]]++;
    return { table };
  },
};

export interface Clustering {
  readonly centreOf: Int32Array;
  /** Σ of squared distances from the nearest centre. */
  readonly cost: number;
}

const MAX_ROUNDS = 100;

/** K-means on points [n, d], from one start. */
export function cluster(points: Float32Array, d: number, k: number, rng: Generator): Clustering {
  const n = points.length / d;
  const centres = firstCentres(points, d, k, rng);
  const centreOf = new Int32Array(n);
  let cost = Infinity;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let now = 0;
    for (let i = 0; i < n; i++) {
      const { index, distance } = nearest(points, i * d, centres, d, k);
      centreOf[i] = index;
      now += distance;
    }
    if (now >= cost) break;
    cost = now;
    moveCentres(points, centreOf, centres, d, k);
  }
  return { centreOf, cost };
}

function firstCentres(points: Float32Array, d: number, k: number, rng: Generator): Float64Array {
  const n = points.length / d;
  const centres = new Float64Array(k * d);
  centres.set(pick(points, d, rng.integer(n)));
  const distances = new Float64Array(n).fill(Infinity);
  for (let c = 1; c < k; c++) {
    let total = 0;
    for (let i = 0; i < n; i++) {
      distances[i] = Math.min(distances[i], squared(points, i * d, centres, (c - 1) * d, d));
      total += distances[i];
    }
    let left = rng.uniform() * total;
    let chosen = 0;
    while (chosen < n - 1 && left >= distances[chosen]) left -= distances[chosen++];
    centres.set(pick(points, d, chosen), c * d);
  }
  return centres;
}

const pick = (points: Float32Array, d: number, i: number): Float32Array => points.subarray(i * d, (i + 1) * d);

function squared(points: Float32Array, at: number, centres: Float64Array, from: number, d: number): number {
  let sum = 0;
  for (let j = 0; j < d; j++) sum += (points[at + j] - centres[from + j]) ** 2;
  return sum;
}

function nearest(points: Float32Array, at: number, centres: Float64Array, d: number, k: number) {
  let [index, distance] = [0, Infinity];
  for (let c = 0; c < k; c++) {
    const far = squared(points, at, centres, c * d, d);
    if (far < distance) [index, distance] = [c, far];
  }
  return { index, distance };
}

/** Each centre to the mean of its points; one without points stays where it is. */
function moveCentres(points: Float32Array, centreOf: Int32Array, centres: Float64Array, d: number, k: number): void {
  const sums = new Float64Array(k * d);
  const counts = new Float64Array(k);
  centreOf.forEach((c, i) => {
    counts[c]++;
    for (let j = 0; j < d; j++) sums[c * d + j] += points[i * d + j];
  });
  for (let c = 0; c < k; c++) {
    if (counts[c] > 0) for (let j = 0; j < d; j++) centres[c * d + j] = sums[c * d + j] / counts[c];
  }
}
