/**
 * Trains a mixture, or one network of the size of one expert, on images or text.
 *
 *   f_m(x) = σ([x 1] · A_m) · B_m,  σ(z) = max(z, 0) or z             an expert: H hidden numbers
 *   mixture  π = softmax(x · Θ), Θ = 0 at the start; m = argmax(x · Θ + r), r ~ U[0, 1) in training;  π_m · f_m(x)
 *   single   f(x): the same code with one expert, whose gate is 1
 *
 * As for CIFAR-10-Rotate: four experts, one for each sample, a linear router from zero with uniform noise, and a balance loss of
 * 0.01. Other than there experts and single network are trained by Adam, and the gate is taken before the noise.
 */
import {
  Adam,
  combine,
  dispatch,
  Generator,
  groupedMatmul,
  noGrad,
  type Routing,
  randn,
  SGD,
  scope,
  type Tensor,
  tensor,
  topKRouter,
  useDevice,
  zeros,
} from "../../../src/index.ts";
import { dispatchEntropy } from "../../../src/report/index.ts";
import type { Task } from "../experiment.ts";
import { digitImages, type RealData, type RealSamples } from "./realImages.ts";
import { languageWindows } from "./realLanguages.ts";

export interface RealParams {
  readonly data: "images" | "languages";
  /** How many images of a digit; or how many symbols lie between the starts of two windows. */
  readonly amount: number;
  /** What is asked: is it turned, or which digit or language is it? */
  readonly question: "turned" | "kind";
  /** 1: a single network. */
  readonly experts: number;
  readonly activation: "linear" | "relu";
  readonly hidden: number;
  readonly steps: number;
  readonly batch: number;
  readonly expertRate: number;
  readonly routerRate: number;
}

export interface RealRecord {
  /** Right, as a share, of what was not trained on; and of what was. */
  readonly accuracy: number;
  readonly trainAccuracy: number;
  /** Test samples by [cluster][expert], and H(cluster | expert) of them. */
  readonly dispatch: readonly (readonly number[])[];
  readonly entropy: number;
}

const BALANCE = 0.01;

export const realTask: Task<RealParams, RealRecord> = {
  name: "real",
  version: 1,
  async run(params, { seed, progress }) {
    await useDevice("simd");
    const data = dataOf(params);
    const rng = new Generator(seed);
    const model = new RealModel(params, data, rng.split("start"));
    const order = batches(data.train.count, params.batch, rng.split("order"));
    const noise = rng.split("noise");
    for (let step = 0; step < params.steps; step++) {
      scope(() => model.train(batchOf(data, order(), params), noise));
      if (step % 20 === 0) progress(step / params.steps);
    }
    const { accuracy, table } = scope(() => measure(model, data.test, data, params));
    const { accuracy: trainAccuracy } = scope(() => measure(model, data.train, data, params));
    return { accuracy, trainAccuracy, dispatch: table, entropy: dispatchEntropy(table) };
  },
};

/** The data of the last trial, which the next one mostly needs again. */
let kept: { readonly key: string; readonly data: RealData } | null = null;

function dataOf({ data, amount }: RealParams): RealData {
  const key = `${data} ${amount}`;
  if (kept?.key !== key) kept = { key, data: data === "images" ? digitImages(amount) : languageWindows(amount) };
  return kept.data;
}

interface Batch {
  /** [n, D + 1], a 1 behind every row */
  readonly x: Tensor;
  readonly label: Tensor;
}

function batchOf({ train, dim }: RealData, chosen: Int32Array, { question }: RealParams): Batch {
  return rowsOf(train, dim, chosen, question);
}

function rowsOf({ x, turned, cluster }: RealSamples, dim: number, chosen: Int32Array, question: string): Batch {
  const rows = new Float32Array(chosen.length * (dim + 1)).fill(1);
  for (const [b, i] of chosen.entries()) rows.set(x.subarray(i * dim, (i + 1) * dim), b * (dim + 1));
  const labels = question === "turned" ? turned : cluster;
  return {
    x: tensor(rows).reshape([chosen.length, dim + 1]),
    label: tensor(Int32Array.from(chosen, (i) => labels[i])),
  };
}

/** Batches of all samples in a new order in every epoch; what does not fill a batch waits for the next one. */
function batches(count: number, size: number, rng: Generator): () => Int32Array {
  let [order, at] = [Int32Array.from(rng.permutation(count)), 0];
  return () => {
    if (at + size > count) [order, at] = [Int32Array.from(rng.permutation(count)), 0];
    at += size;
    return order.subarray(at - size, at);
  };
}

class RealModel {
  readonly #params: RealParams;
  /** A [E, D + 1, H], B [E, H, classes], Θ [D + 1, E] */
  readonly #first: Tensor;
  readonly #second: Tensor;
  readonly #router: Tensor;
  readonly #optimizers: readonly { zeroGrad(): void; step(): void }[];
  readonly #route = topKRouter({ k: 1, noise: "uniform" });

  constructor(params: RealParams, { dim, clusters }: RealData, rng: Generator) {
    const { experts: E, hidden: H, question, expertRate, routerRate } = params;
    this.#params = params;
    const classes = question === "turned" ? 2 : clusters.length;
    const drawn = (shape: number[], scale: number, name: string): Tensor =>
      randn(shape, { rng: rng.split(name) })
        .mul(scale)
        .detach();
    this.#first = drawn([E, dim + 1, H], Math.sqrt(1 / dim), "first");
    this.#second = drawn([E, H, classes], Math.sqrt(1 / H), "second");
    this.#router = zeros([dim + 1, E]);
    for (const p of [this.#first, this.#second, this.#router]) p.requiresGrad = true;
    this.#optimizers = [
      new Adam([this.#first, this.#second], { lr: expertRate }),
      new SGD([this.#router], { lr: routerRate }),
    ];
  }

  forward(x: Tensor, noise: Generator | null): { output: Tensor; routing: Routing } {
    const logits = x.matmul(this.#router);
    const routing = this.#route(logits, noise === null ? { training: false } : { training: true, rng: noise });
    const { offsets, numExperts: E } = routing;
    const sizes = offsets.slice({ start: 1 }).sub(offsets.slice({ end: E }));
    const z = groupedMatmul(dispatch(x, routing), this.#first, sizes);
    const said = groupedMatmul(this.#params.activation === "relu" ? z.relu() : z, this.#second, sizes);
    return { output: combine(said, routing.gate, routing), routing };
  }

  train({ x, label }: Batch, noise: Generator): void {
    const { output, routing } = this.forward(x, noise);
    for (const optimizer of this.#optimizers) optimizer.zeroGrad();
    const loss = output.crossEntropy(label);
    (this.#params.experts > 1 ? loss.add(routing.losses.balance.mul(BALANCE)) : loss).backward();
    for (const optimizer of this.#optimizers) optimizer.step();
  }
}

/** Without noise: the share that is right, and who was sent where. */
function measure(
  model: RealModel,
  samples: RealSamples,
  { dim, clusters }: RealData,
  { question, experts }: RealParams,
) {
  const all = Int32Array.from({ length: samples.count }, (_, i) => i);
  const { x, label } = rowsOf(samples, dim, all, question);
  const { output, routing } = noGrad(() => model.forward(x, null));
  const [said, asked] = [output.argmax({ dim: 1 }).data, label.data];
  const right = all.reduce((sum, i) => sum + Number(said[i] === asked[i]), 0);
  const table = clusters.map(() => new Array<number>(experts).fill(0));
  const [tokens, chosen] = [routing.tokenOfSlot.data, routing.expertOfSlot.data];
  for (let s = 0; s < routing.numSlots; s++) table[samples.cluster[tokens[s]]][chosen[s]]++;
  return { accuracy: right / samples.count, table };
}
