/** Training: one model from first step to last, and everything that the report says of it, as plain data. */
import { setImmediate } from "node:timers/promises";
import {
  AdamW,
  auxLoss,
  type DeviceName,
  Generator,
  LRScheduler,
  scope,
  useDevice,
  warmupCosine,
} from "../../src/index.ts";
import { loadOf, type RoutingReport } from "../../src/report/index.ts";
import { batchOf, dealBatches, drawWindows, loadCorpus, type Windows, windowsOf } from "./data.ts";
import { type ColouredPiece, evaluate, evaluateAll } from "./evaluate.ts";
import { CharModel, flopsPerCharacter, type Variant, variants } from "./model.ts";
import { type GpuWork, taken, workMeter } from "./read.ts";
import { type WrittenText, writeTexts } from "./write.ts";

/** Windows in a step. At the same number of windows, 512 at a time learnt 0.2 bits less, and 64 took 1.3 times as long. */
export const BATCH = 128;
export const LEARNING_RATE = 3e-3;
export const WEIGHT_DECAY = 0.01;
const WARMUP = 50;
/** How often the held-out loss is looked at on the way, and on how many batches; at the end it is on all of them. */
const LOOKS = 10;
const LOOK_BATCHES = 12;
/** Characters that a model writes in each language. */
const WRITTEN = 100;

export interface Job {
  variant: Variant;
  languages: readonly string[];
  numExperts: number;
  steps: number;
  seed: number;
  device: DeviceName;
}

/** What a model has reached after a step. */
export interface Progress {
  variant: Variant;
  /** steps done */
  step: number;
  bits: number;
}

/** A trained model, as data that can be sent between threads and written as JSON. */
export interface ModelRun {
  variant: Variant;
  flopsPerCharacter: number;
  numParameters: number;
  /** of every step: training loss in bits per character, without the balance loss */
  losses: number[];
  /** of every step: granted slots of each expert; empty for the dense model */
  loads: number[][];
  /** on a sample of the held-out windows, on the way */
  looks: { step: number; bits: number }[];
  /** on all held-out windows, at the end */
  heldOutBits: number;
  report: RoutingReport | null;
  pieces: ColouredPiece[];
  written: WrittenText[];
  /** spent in steps, without evaluation */
  trainingSeconds: number;
  /** what a GPU did in these steps; null where none was in use */
  gpu: GpuWork | null;
}

/**
 * Trains one model. Stops after the step during which `stopped` becomes true, and evaluates what there is.
 *
 * The seed gives the same batches to every variant, and the same start to the parts that they have in common.
 */
export async function train(
  job: Job,
  onStep: (progress: Progress) => void = () => {},
  stopped: () => boolean = () => false,
): Promise<ModelRun> {
  const { variant, numExperts, steps, seed } = job;
  await useDevice(job.device);
  const corpus = loadCorpus(job.languages);
  const [seen, heldOut] = [windowsOf(corpus, "train"), windowsOf(corpus, "heldOut")];
  const sample = everyNth(dealBatches(heldOut, BATCH), LOOK_BATCHES);
  const rng = new Generator(seed);
  const batches = rng.split("batches");
  const model = new CharModel({ variant, numCharacters: corpus.characters.length, numExperts, rng: rng.split("init") });
  const takeStep = stepper(model, variant, seen, steps);

  const [losses, loads, looks]: [number[], number[][], ModelRun["looks"]] = [[], [], []];
  let milliseconds = 0;
  const work = workMeter();
  while (losses.length < steps) {
    // Timers, signals and messages are heard only when the loop lets go.
    await setImmediate();
    if (stopped()) break;
    const start = performance.now();
    const step = await work.during(() => takeStep(drawWindows(seen, BATCH, batches)));
    milliseconds += performance.now() - start;
    losses.push(step.bits);
    loads.push(...step.loads);
    onStep({ variant, step: losses.length, bits: step.bits });
    if (losses.length % Math.ceil(steps / LOOKS) === 0) {
      looks.push({ step: losses.length, bits: (await evaluate(model, heldOut, sample)).bits });
    }
  }
  const { bits, report, pieces } = await evaluateAll(model, corpus, heldOut, BATCH);
  const written = await writeTexts(model, corpus, heldOut, {
    batchSize: BATCH,
    length: WRITTEN,
    rng: rng.split("write"),
  });
  return {
    variant,
    flopsPerCharacter: flopsPerCharacter(model),
    numParameters: model.parameters().reduce((n, p) => n + p.size, 0),
    losses,
    loads,
    looks,
    heldOutBits: bits,
    report,
    pieces,
    written,
    trainingSeconds: milliseconds / 1000,
    gpu: work.total,
  };
}

/** One step of AdamW, its rate up a line and down a cosine. It reads its loss, and the load of each expert. */
function stepper(model: CharModel, variant: Variant, windows: Windows, steps: number) {
  const { balance } = variants[variant];
  const optimizer = new AdamW(model.parameters(), { lr: LEARNING_RATE, weightDecay: WEIGHT_DECAY });
  const schedule = new LRScheduler(optimizer, warmupCosine({ warmup: Math.min(WARMUP, steps), total: steps }));
  return async (chosen: Int32Array): Promise<{ bits: number; loads: number[][] }> => {
    // What a step makes on a device goes with its scope.
    const { loss, offsets } = scope(() => {
      const { contexts, targets } = batchOf(windows, chosen);
      const { output, routings } = model.forward(contexts);
      const loss = output.crossEntropy(targets);
      optimizer.zeroGrad();
      loss.add(auxLoss(routings, { balance })).backward();
      optimizer.step();
      return { loss, offsets: routings.map((routing) => routing.offsets) };
    });
    schedule.step();
    const [nats] = await taken(loss);
    const loads: number[][] = [];
    for (const x of offsets) loads.push(loadOf({ numExperts: x.size - 1, offsets: { data: await taken(x) } }));
    return { bits: nats / Math.LN2, loads };
  };
}

/** `count` entries, or all when there are not as many, evenly spread. */
function everyNth<T>(list: readonly T[], count: number): T[] {
  const step = Math.max(1, Math.floor(list.length / count));
  return list.filter((_, i) => i % step === 0);
}
