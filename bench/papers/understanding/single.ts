/**
 * One network without a router, as a task: what the mixture is measured against.
 *
 *   F(x) = Σ_p Σ_j σ(⟨w_j, x^(p)⟩ + b_j), half of the filters for each class; −ln softmax(F)_label
 *
 * Adam with an L2 penalty of 5e-4 on all samples at once, from PyTorch's default start. As in the authors' code it ends after
 * 801 steps, or after 501 once the loss is 0.02 over the lowest so far.
 */
import { Adam, Generator, noGrad, scope, type Tensor, tensor, useDevice } from "../../../src/index.ts";
import type { Task } from "../experiment.ts";
import { type Dataset, DIM, dataset, PATCHES, type Samples, type SettingName, settings } from "./data.ts";
import { batchOf, cube, rightOf } from "./model.ts";
import { shareOf } from "./observe.ts";

const activations = {
  linear: (z: Tensor) => z,
  cubic: (z: Tensor) => cube(z),
  relu: (z: Tensor) => z.relu(),
  celu: (z: Tensor) => z.relu().add(z.minimum(0).exp().sub(1)),
  gelu: (z: Tensor) => z.gelu(),
  tanh: (z: Tensor) => z.tanh(),
};

export type SingleActivation = keyof typeof activations;

export interface SingleParams {
  readonly setting: SettingName;
  readonly samples: number;
  readonly activation: SingleActivation;
  /** Filters of both classes together. */
  readonly filters: number;
  readonly steps: number;
}

export interface SingleRecord {
  readonly steps: number;
  readonly losses: readonly number[];
  readonly accuracy: number;
  readonly trainAccuracy: number;
}

export const SINGLE_STEPS = 801;
const LEAST_STEPS = 501;
const LOSS_RISE = 0.02;
/** Samples that are computed at a time: the numbers of so many stay in the cache. Their gradients are added up. */
const PART = 1000;

/** Some samples: [n · P, d + 1], the patches with a 1 behind each; and their sums, [n, d + 1]. */
interface Part {
  readonly size: number;
  readonly patches: Tensor;
  readonly sums: Tensor;
  readonly label: Tensor;
}

export const singleTask: Task<SingleParams, SingleRecord> = {
  name: "single",
  version: 1,
  async run({ setting, samples, activation, filters, steps }, { seed, progress }) {
    await useDevice("simd");
    const { train, test }: Dataset = dataset(settings[setting], samples);
    const [trainParts, testParts] = [partsOf(train), partsOf(test)];
    const weights = start(filters, new Generator(seed).split("start"));
    const optimizer = new Adam([weights], { lr: activation === "cubic" ? 0.01 : 0.003, weightDecay: 5e-4 });
    const score = (part: Part): Tensor => scores(part, weights, activation);
    const losses: number[] = [];
    let lowest = Infinity;
    while (losses.length < steps) {
      losses.push(gradients(trainParts, optimizer, score, train.count));
      const now = losses[losses.length - 1];
      if (losses.length > LEAST_STEPS && now > lowest + LOSS_RISE) break;
      lowest = Math.min(lowest, now);
      optimizer.step();
      progress(losses.length / steps);
    }
    return {
      ...{ steps: losses.length, losses },
      ...{ accuracy: accuracyOn(testParts, score), trainAccuracy: accuracyOn(trainParts, score) },
    };
  },
};

/** Filters and their biases, [d + 1, F]. */
function start(filters: number, rng: Generator): Tensor {
  const drawn = Float32Array.from({ length: (DIM + 1) * filters }, () => (2 * rng.uniform() - 1) / Math.sqrt(DIM));
  const weights = tensor(drawn)
    .reshape([DIM + 1, filters])
    .detach();
  weights.requiresGrad = true;
  return weights;
}

function partsOf(samples: Samples): Part[] {
  const width = PATCHES * DIM;
  const starts = Array.from({ length: Math.ceil(samples.count / PART) }, (_, i) => i * PART);
  return starts.map((from) => {
    const to = Math.min(samples.count, from + PART);
    const { x, label } = samples;
    const part = { ...samples, count: to - from, x: x.slice(from * width, to * width), label: label.slice(from, to) };
    const patches = batchOf(part, "official").x.reshape([PATCHES * part.count, DIM + 1]);
    const sums = patches.reshape([part.count, PATCHES, DIM + 1]).sum({ dim: 1 });
    return { size: part.count, patches: patches.detach(), sums: sums.detach(), label: tensor(part.label) };
  });
}

/** [n, 2]: the sums of each class's filters over the patches. A sum of linear ones is that of the sum of patches. */
function scores({ size, patches, sums }: Part, weights: Tensor, activation: SingleActivation): Tensor {
  const filters = weights.shape[1];
  const classes = Float32Array.from({ length: 2 * filters }, (_, i) => Number(i % 2 === Math.floor(i / filters)));
  const head = tensor(classes).reshape([filters, 2]);
  if (activation === "linear") return sums.matmul(weights.matmul(head));
  const z = activations[activation](patches.matmul(weights)).matmul(head);
  return z.reshape([size, PATCHES, 2]).sum({ dim: 1 });
}

/** The loss over all samples; its gradient is left with the weights. */
function gradients(parts: readonly Part[], optimizer: Adam, score: (part: Part) => Tensor, count: number): number {
  optimizer.zeroGrad();
  let total = 0;
  for (const part of parts) {
    total += scope(() => {
      const loss = score(part)
        .crossEntropy(part.label)
        .mul(part.size / count);
      loss.backward();
      return loss.item();
    });
  }
  return total;
}

function accuracyOn(parts: readonly Part[], score: (part: Part) => Tensor): number {
  const right = parts.flatMap((part) =>
    scope(() => [
      ...rightOf(
        noGrad(() => score(part)),
        part.label.data,
      ),
    ]),
  );
  return shareOf(Uint8Array.from(right));
}
