/**
 * Trains one mixture, or one dense network of the size of one expert, on a clustered task, and watches the load.
 *
 * Every remedy is switched on alone, on the same start, data and steps. What collapses without one: a single expert per token,
 * gates of the softmax, no noise, and a router that learns faster than experts come to differ.
 */
import {
  AdamW,
  type AuxLossOptions,
  auxLoss,
  bincount,
  expertChoiceRouter,
  FeedForward,
  Generator,
  MoE,
  NormalizedGD,
  noGrad,
  type Optimizer,
  type Router,
  type Routing,
  SGD,
  scope,
  type Tensor,
  topKRouter,
  useDevice,
} from "../../../src/index.ts";
import { CollapseAlarm, type CollapseState } from "../../../src/report/index.ts";
import { type DeepSeekV3Router, deepSeekV3Router } from "../../../src/routers/index.ts";
import type { Task } from "../experiment.ts";
import { type Clustered, type ClusteredData, clusteredTask } from "./collapseData.ts";

export type Remedy =
  | "none"
  | "noise"
  | "balance loss"
  | "z-loss"
  | "normalised GD"
  | "bias"
  | "sigmoid alone"
  | "expert choice"
  | "capacity"
  | "dense";

export interface CollapseParams extends ClusteredData {
  readonly remedy: Remedy;
  readonly experts: number;
  readonly hidden: number;
  readonly batch: number;
  /** How many samples there are to train on; null: every batch is new. */
  readonly samples: number | null;
  readonly steps: number;
  readonly expertRate: number;
  readonly routerRate: number;
}

export interface CollapseRecord {
  /** The loss of every batch. */
  readonly losses: readonly number[];
  /** Effective experts of every batch, exp(H) of the slots that asked for each. */
  readonly effective: readonly number[];
  /** Shares of the slots that asked for each expert, at the steps in `looks`, [looks][E] */
  readonly looks: readonly number[];
  readonly loads: readonly (readonly number[])[];
  /** On samples that were not trained on, in evaluation. */
  readonly testLoss: number;
  /** The first step at which the alarm said so; null: never. */
  readonly fallingAt: number | null;
  readonly collapsedAt: number | null;
  readonly finalState: CollapseState;
}

const TEST = 4000;
const LOOKS = 20;

/** Steps at which the load is written down, closer together at the start, where it changes most. */
const looksOf = (steps: number): Set<number> =>
  new Set(Array.from({ length: LOOKS }, (_, i) => Math.round((steps - 1) * (i / (LOOKS - 1)) ** 3)));

const routers: Partial<Record<Remedy, (E: number) => Router>> = {
  noise: () => topKRouter({ k: 1, noise: "gumbel" }),
  bias: (numExperts) => deepSeekV3Router({ numExperts, k: 1, biasUpdateRate: 0.01 }),
  "sigmoid alone": () => topKRouter({ k: 1, scoreFn: "sigmoid" }),
  "expert choice": () => expertChoiceRouter({ capacityFactor: 1 }),
  capacity: () => topKRouter({ k: 1, capacityFactor: 1 }),
};

const auxiliary: Partial<Record<Remedy, AuxLossOptions>> = {
  "balance loss": { balance: 0.1 },
  "z-loss": { z: 0.01 },
};

export const collapseTask: Task<CollapseParams, CollapseRecord> = {
  name: "collapse",
  version: 2,
  async run(params, { seed, progress }) {
    await useDevice("simd");
    const rng = new Generator(seed);
    const task = clusteredTask(params, rng.split("task"));
    const model = modelOf(params, rng.split("start"));
    const draw = source(task, params, rng.split("data"));
    const alarm = new CollapseAlarm();
    const E = Math.max(2, params.experts);
    const record = {
      losses: [] as number[],
      effective: [] as number[],
      looks: [] as number[],
      loads: [] as number[][],
    };
    let [fallingAt, collapsedAt, finalState]: [number | null, number | null, CollapseState] = [null, null, "ok"];
    const looks = looksOf(params.steps);
    for (let step = 0; step < params.steps; step++) {
      const { loss, routing } = scope(() => model.train(draw()));
      record.losses.push(loss);
      if (routing !== null) {
        const load = Array.from(bincount(routing.expertOfSlot, { numBins: E }).data);
        const total = load.reduce((a, b) => a + b, 0);
        const shares = load.map((n) => n / total);
        const status = alarm.update(load);
        finalState = status.state;
        if (status.state === "falling") fallingAt ??= step;
        if (status.state === "collapsed") collapsedAt ??= step;
        record.effective.push(Math.exp(-shares.reduce((h, q) => h + (q > 0 ? q * Math.log(q) : 0), 0)));
        if (looks.has(step)) {
          record.looks.push(step);
          record.loads.push(shares);
        }
      }
      if (step % 20 === 0) progress(step / params.steps);
    }
    const test = task.draw(TEST, rng.split("test"));
    return { ...record, testLoss: model.test(test), fallingAt, collapsedAt, finalState };
  },
};

interface Batch {
  readonly x: Tensor;
  readonly y: Tensor;
}

/** New samples at every step, or batches of the same ones again and again. */
function source(task: Clustered, { samples, batch }: CollapseParams, rng: Generator): () => Batch {
  if (samples === null) return () => task.draw(batch, rng);
  const all = task.draw(samples, rng.split("samples"));
  if (samples <= batch) return () => all;
  return () => {
    const start = rng.integer(samples - batch + 1);
    return { x: all.x.slice({ start, end: start + batch }), y: all.y.slice({ start, end: start + batch }) };
  };
}

interface Trained {
  train(batch: Batch): { readonly loss: number; readonly routing: Routing | null };
  test(batch: Batch): number;
}

function modelOf(params: CollapseParams, rng: Generator): Trained {
  return params.remedy === "dense" ? denseOf(params, rng) : mixtureOf(params, rng);
}

function denseOf({ dim, hidden, expertRate }: CollapseParams, rng: Generator): Trained {
  const model = new FeedForward({ dim, hidden, rng });
  const optimizer = new AdamW(model.parameters(), { lr: expertRate, weightDecay: 0 });
  return {
    train({ x, y }) {
      const loss = model.forward(x).mseLoss(y);
      optimizer.zeroGrad();
      loss.backward();
      optimizer.step();
      return { loss: loss.item(), routing: null };
    },
    test: ({ x, y }) => noGrad(() => model.forward(x).mseLoss(y)).item(),
  };
}

function mixtureOf({ dim, hidden, experts, remedy, expertRate, routerRate }: CollapseParams, rng: Generator): Trained {
  const router = routers[remedy]?.(experts) ?? topKRouter({ k: 1 });
  const moe = new MoE({ dim, hidden, numExperts: experts, router, rng });
  const own = moe.experts.parameters();
  const optimizers: Optimizer<{ lr: number }>[] = [
    remedy === "normalised GD"
      ? new NormalizedGD(own, { lr: 10 * expertRate, perExpert: true })
      : new AdamW(own, { lr: expertRate, weightDecay: 0 }),
    new SGD(moe.router.parameters(), { lr: routerRate }),
  ];
  return {
    train({ x, y }) {
      const { output, routing } = moe.train().forward(x);
      const task = output.mseLoss(y);
      for (const optimizer of optimizers) optimizer.zeroGrad();
      const aux = auxiliary[remedy];
      (aux === undefined ? task : task.add(auxLoss(routing, aux))).backward();
      for (const optimizer of optimizers) optimizer.step();
      if (remedy === "bias") (router as DeepSeekV3Router).update(routing);
      return { loss: task.item(), routing };
    },
    test: ({ x, y }) => noGrad(() => moe.eval().forward(x).output.mseLoss(y)).item(),
  };
}
