/** Observations: what of a model in training is written down, as plain numbers. */
import { type Generator, noGrad, type Routing } from "../../../src/index.ts";
import { CLUSTERS, DIM, type Directions, dot } from "./data.ts";
import { type Batch, type Model, rightOf, type Weights } from "./model.ts";

/** How a model looks at a step. Tables have a row an expert and a column a cluster, but for the dispatch table. */
export interface Snapshot {
  /** Updates before it. */
  readonly step: number;
  /** Training samples by [cluster][expert], in the last pass. */
  readonly dispatch: readonly (readonly number[])[];
  /** Share of the cluster's test samples that the expert alone gets wrong. */
  readonly errors: readonly (readonly number[])[];
  /** max_j |⟨w_mj, v_k⟩| and max_j |⟨w_mj, c_k⟩|: what the filters of an expert look for. */
  readonly expertSignals: readonly (readonly number[])[];
  readonly expertCentres: readonly (readonly number[])[];
  /** ⟨θ_m, v_k⟩ and ⟨θ_m, c_k⟩; no rows for a router that is not linear. */
  readonly routerSignals: readonly (readonly number[])[];
  readonly routerCentres: readonly (readonly number[])[];
  /** The expert of each of the first test samples, when asked for. */
  readonly choices?: readonly number[];
}

/** Samples by [cluster][expert]. */
export function dispatchTable({ tokenOfSlot, offsets, numExperts }: Routing, cluster: ArrayLike<number>): number[][] {
  const table = Array.from({ length: CLUSTERS }, () => new Array<number>(numExperts).fill(0));
  const [tokens, ends] = [tokenOfSlot.data, offsets.data];
  for (let e = 0; e < numExperts; e++) {
    for (let s = ends[e]; s < ends[e + 1]; s++) table[cluster[tokens[s]]][e]++;
  }
  return table;
}

/** The experts that the first samples of a batch are sent to, with noise as in training. */
export function choicesOf(model: Model, batch: Batch, rng: Generator, count: number): number[] {
  const { routing } = noGrad(() => model.forward(batch, model.drawNoise(batch.size, rng)));
  const expertOf = new Array<number>(batch.size);
  const [tokens, chosen] = [routing.tokenOfSlot.data, routing.expertOfSlot.data];
  for (let s = 0; s < routing.numSlots; s++) expertOf[tokens[s]] = chosen[s];
  return expertOf.slice(0, count);
}

/** The share of ones. */
export const shareOf = (right: Uint8Array): number => right.reduce((a, b) => a + b, 0) / right.length;

/** Each expert on each cluster, whoever the router would choose. */
export function errorTable(model: Model, batch: Batch): number[][] {
  const output = noGrad(() => model.everyExpert(batch));
  const [n, E, classes] = output.shape;
  const labels = batch.label.data;
  const right = rightOf(
    output.reshape([n * E, classes]),
    Int32Array.from({ length: n * E }, (_, i) => labels[Math.floor(i / E)]),
  );
  const [wrong, all] = [0, 1].map(() => Array.from({ length: E }, () => new Array<number>(CLUSTERS).fill(0)));
  for (let i = 0; i < n * E; i++) {
    const [e, k] = [i % E, batch.cluster[Math.floor(i / E)]];
    all[e][k]++;
    wrong[e][k] += 1 - right[i];
  }
  return wrong.map((row, e) => row.map((count, k) => count / Math.max(1, all[e][k])));
}

/** The inner products of filters and router with signals and centres. */
export function innerProducts({ filters, router }: Weights, { signals, centres }: Directions) {
  const [E, , F] = filters.shape;
  const w = filters.data;
  const column = (data: ArrayLike<number>, at: number, stride: number) =>
    Float64Array.from({ length: DIM }, (_, d) => data[at + d * stride]);
  const largest = (e: number, direction: Float64Array): number => {
    const products = Array.from({ length: F }, (_, j) => Math.abs(dot(column(w, e * DIM * F + j, F), direction)));
    return Math.max(...products);
  };
  const experts = Array.from({ length: E }, (_, e) => e);
  const linear = router.length === 1 ? experts : [];
  const theta = router[0].data;
  return {
    expertSignals: experts.map((e) => signals.map((v) => largest(e, v))),
    expertCentres: experts.map((e) => centres.map((c) => largest(e, c))),
    routerSignals: linear.map((e) => signals.map((v) => dot(column(theta, e, E), v))),
    routerCentres: linear.map((e) => centres.map((c) => dot(column(theta, e, E), c))),
  };
}
