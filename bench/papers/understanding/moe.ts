/**
 * The training of Chen et al., as a task: gradient descent on all samples at once.
 *
 *   router    Θ ← Θ − 0.1 · ∇Θ
 *   experts   W_m ← W_m − 0.001 · ∇W_m / N_m        each expert's step has one length, however few samples it got
 *
 * As in the authors' code a training stops early when the loss rises: by 0.02 over the lowest so far, or at all once it is at
 * most 0.314, the floor of their loss.
 */
import { Generator, NormalizedGD, noGrad, SGD, scope, type Tensor, useDevice, withLogits } from "../../../src/index.ts";
import { dispatchEntropy } from "../../../src/report/index.ts";
import type { Task } from "../experiment.ts";
import { type Dataset, dataset, SAMPLES, type SettingName, settings } from "./data.ts";
import { type Batch, batchOf, type Forward, Model, type ModelForm, type ModelParams, rightOf } from "./model.ts";
import { choicesOf, dispatchTable, errorTable, innerProducts, type Snapshot, shareOf } from "./observe.ts";

export interface MoeParams extends ModelParams {
  readonly setting: SettingName;
  /** To train on, and as many to test with. */
  readonly samples: number;
  readonly steps: number;
  readonly earlyStop: boolean;
  readonly descent: "normalized" | "plain";
  /** "scores": 1e-4 · E · Σ_m load_m · mean score_m, as the authors' code has it; "probs": 0.01 times the balance loss. */
  readonly balance: "none" | "scores" | "probs";
  /** Steps before which the model is looked at; it is also looked at in the end. */
  readonly snapshots: readonly number[];
  /** The router's learning rate. Default 0.1. */
  readonly routerRate?: number;
  /** Test samples whose expert every snapshot names. Default 0. */
  readonly choices?: number;
}

/** What is not said otherwise: the authors' code. */
export const usual: MoeParams = {
  ...{ form: "official", activation: "cubic", experts: 8, filters: 16 },
  ...{ noise: "uniform", router: "linear", start: "independent" },
  ...{ setting: "1", samples: SAMPLES, steps: 501, earlyStop: true, descent: "normalized", balance: "none" },
  snapshots: [0, 25, 50, 75, 100, 200, 300, 400],
};

export interface MoeRecord {
  /** Steps taken. */
  readonly steps: number;
  /** Of every forward pass in training: the loss, and H(cluster | expert). */
  readonly losses: readonly number[];
  readonly entropies: readonly number[];
  /** Training samples by [cluster][expert] in the last one. */
  readonly dispatch: readonly (readonly number[])[];
  /** Test samples that are right, as a share: with the router's noise, as the paper measures, and without. */
  readonly accuracy: number;
  readonly accuracyWithoutNoise: number;
  readonly trainAccuracy: number;
  readonly snapshots: readonly Snapshot[];
}

const ROUTER_RATE = 0.1;
const EXPERT_RATE = 1e-3;
const LOSS_FLOOR = 0.314;
const LOSS_RISE = 0.02;
/** Test samples that every expert is tried on for a snapshot. */
const TRIED = 2000;

export const moeTask: Task<MoeParams, MoeRecord> = {
  name: "moe",
  version: 1,
  async run(params, { seed, progress }) {
    await useDevice("simd");
    const batches = batchesOf(params);
    const rng = new Generator(seed);
    const model = new Model(params, rng.split("start"));
    const course = train(model, params, batches, rng, progress);
    const { test } = batches;
    const accuracyWith = (noise: Tensor | null): number =>
      shareOf(rightOf(noGrad(() => model.forward(test, noise)).output, test.label.data));
    return {
      ...course,
      accuracy: accuracyWith(model.drawNoise(test.size, rng.split("test noise"))),
      accuracyWithoutNoise: accuracyWith(null),
    };
  },
};

/** Trains the model, and writes down what happens. */
function train(
  model: Model,
  params: MoeParams,
  { train: batch, tried, directions }: Batches,
  rng: Generator,
  progress: (share: number) => void,
): Omit<MoeRecord, "accuracy" | "accuracyWithoutNoise"> {
  const draw = noiseSource(model, params, batch.size, rng.split("noise"));
  const step = stepper(model, params);
  const [losses, entropies, snapshots]: [number[], number[], Snapshot[]] = [[], [], []];
  let [lowest, updates, trainAccuracy] = [Infinity, 0, 0];
  let dispatch: number[][] = [];
  const look = (): void => {
    if (snapshots.at(-1)?.step === updates) return;
    const tables = { errors: errorTable(model, tried), ...innerProducts(model.weights, directions) };
    const named = params.choices ? { choices: choicesOf(model, tried, rng.split("choices"), params.choices) } : {};
    snapshots.push({ step: updates, dispatch, ...tables, ...named });
  };
  /** A step, or only its forward pass when it turns out to be the last. What it makes is freed when it is done. */
  const advance = (): boolean => {
    const pass = model.forward(batch, draw());
    const loss = model.loss(pass, batch);
    const now = loss.item();
    losses.push(now);
    dispatch = dispatchTable(pass.routing, batch.cluster);
    entropies.push(dispatchEntropy(dispatch));
    if (params.snapshots.includes(updates)) look();
    const stops = params.earlyStop && now > lowest && (now > lowest + LOSS_RISE || now <= LOSS_FLOOR);
    if (stops || losses.length === params.steps) trainAccuracy = shareOf(rightOf(pass.output, batch.label.data));
    if (stops) return false;
    lowest = Math.min(lowest, now);
    step(loss, pass);
    updates++;
    return true;
  };
  while (losses.length < params.steps && scope(advance)) progress(losses.length / params.steps);
  look();
  return { steps: losses.length, losses, entropies, dispatch, trainAccuracy, snapshots };
}

/** The router's noise of each step. */
function noiseSource(model: Model, { noise }: MoeParams, size: number, rng: Generator): () => Tensor | null {
  const first = noise === "fixed" ? model.drawNoise(size, rng) : null;
  return () => first ?? model.drawNoise(size, rng);
}

/** One step of descent: plain for the router, normalised per expert for the experts unless the parameters say otherwise. */
function stepper(
  model: Model,
  { form, descent, balance, routerRate = ROUTER_RATE }: MoeParams,
): (loss: Tensor, pass: Forward) => void {
  const { filters, biases, router } = model.weights;
  const experts = biases === null ? [filters] : [filters, biases];
  const norm = form === "official" ? "sum" : "joint";
  const optimizers = [
    new SGD(router, { lr: routerRate }),
    descent === "plain"
      ? new SGD(experts, { lr: EXPERT_RATE })
      : new NormalizedGD(experts, { lr: EXPERT_RATE, norm, perExpert: true }),
  ];
  return (loss, pass) => {
    for (const optimizer of optimizers) optimizer.zeroGrad();
    (balance === "none" ? loss : loss.add(balanceLoss(pass, balance))).backward();
    for (const optimizer of optimizers) optimizer.step();
  };
}

function balanceLoss({ scores, routing }: Forward, balance: "scores" | "probs"): Tensor {
  if (balance === "probs") return withLogits(routing, scores).losses.balance.mul(0.01);
  const [n, E] = scores.shape;
  const load = routing.offsets
    .slice({ start: 1 })
    .sub(routing.offsets.slice({ end: E }))
    .to("float32")
    .div(n);
  return scores
    .mean({ dim: 0 })
    .mul(load)
    .sum()
    .mul(1e-4 * E);
}

interface Batches {
  readonly key: string;
  readonly train: Batch;
  readonly test: Batch;
  readonly tried: Batch;
  readonly directions: Dataset;
}

let kept: Batches | null = null;

/** The data of a setting, kept for the next trial of the same worker: all trials of a setting see the same. */
function batchesOf({ setting, samples, form }: { setting: SettingName; samples: number; form: ModelForm }): Batches {
  const key = [setting, samples, form].join();
  if (kept?.key === key) return kept;
  const directions = dataset(settings[setting], samples);
  const { test } = directions;
  const n = Math.min(TRIED, samples);
  const first = {
    ...test,
    count: n,
    x: test.x.subarray(0, (n * test.x.length) / samples),
    label: test.label.slice(0, n),
  };
  kept = {
    ...{ key, directions },
    ...{ train: batchOf(directions.train, form), test: batchOf(test, form), tried: batchOf(first, form) },
  };
  return kept;
}
