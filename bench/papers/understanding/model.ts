/**
 * The model of Chen et al., in two forms: as their code has it and as the paper writes it.
 *
 *   s = Σ_p x^(p);  h = s · Θ;  m = argmax_m (h_m + r_m),  r ~ U[0, 1)      the router is linear, on the sum of the patches
 *   f_m = Σ_p Σ_j σ(⟨w_mj, x^(p)⟩),  σ(z) = z or z³                         an expert is a sum over patches and filters
 *
 *               "official"                                       "paper"
 *   gate        g = h_m + r_m, the score that won                π = softmax(h)_m, without the noise
 *   expert      8 filters for each of two classes, with biases   16 filters, one number, no biases
 *   loss        −ln softmax(softmax(g · f))_label, not below     ln(1 + exp(−y · π · f)), which goes to 0
 *               ln(1 + e⁻¹) = 0.3133
 *   norm        ‖∇W_m‖ + ‖∇b_m‖                                  ‖∇W_m‖
 *
 * With odd σ and start values that are as often negative, 16 filters for one number are the class difference of 8 and 8.
 *
 * Only the rows that an expert was given are computed: dispatch gathers the samples in order of their experts, and
 * groupedMatmul multiplies each group of patches with the filters of its own.
 */
import {
  combine,
  concat,
  customOp,
  dispatch,
  type Generator,
  groupedMatmul,
  type Routing,
  rand,
  type Tensor,
  tensor,
  topKRouter,
  withLogits,
  zeros,
} from "../../../src/index.ts";
import { softplus } from "../../../src/kernels/unary.ts";
import { DIM, PATCHES, patchSums, type Samples } from "./data.ts";

export type ModelForm = "official" | "paper";
export type ExpertActivation = "linear" | "cubic";

/** What decides a model. */
export interface ModelParams {
  readonly form: ModelForm;
  readonly activation: ExpertActivation;
  readonly experts: number;
  /** Filters of an expert, of both classes together. */
  readonly filters: number;
  /**
   * r: "uniform" is the paper's, drawn anew at each step; "fixed" breaks ties only, 1e-5 · U[0, 1) drawn once; "none" leaves
   * ties to the expert of the lowest number.
   */
  readonly noise: "uniform" | "fixed" | "none";
  /** "relu", "tanh": h = act(s · A) · B with 32 hidden numbers, instead of s · Θ. */
  readonly router: "linear" | "relu" | "tanh";
  /** Whether each expert draws weights of its own, or all start from the same. */
  readonly start: "independent" | "identical";
}

/** Samples as the model takes them. */
export interface Batch {
  readonly size: number;
  /** [n, P · d], or [n, P · (d + 1)] with a 1 behind every patch, by which biases are multiplied */
  readonly x: Tensor;
  /** [n, d]: the sums of the patches */
  readonly sums: Tensor;
  /** int32 [n], and the same as −1 and 1, [n, 1] */
  readonly label: Tensor;
  readonly sign: Tensor;
  readonly cluster: Int32Array;
}

export interface Weights {
  /** [E, d, F] */
  readonly filters: Tensor;
  /** [E, 1, F], or null in the paper's form */
  readonly biases: Tensor | null;
  /** Θ [d, E], or A [d, 32] and B [32, E] */
  readonly router: readonly Tensor[];
}

const HIDDEN = 32;
/** The default start of PyTorch's layers, U(±1/√d), is multiplied by this one: all begins next to the origin. */
const START = 1e-3;

const constant = (data: Float32Array, shape: readonly number[]): Tensor => tensor(data).reshape(shape).detach();

export function batchOf(samples: Samples, form: ModelForm): Batch {
  const n = samples.count;
  const width = form === "official" ? DIM + 1 : DIM;
  const x = new Float32Array(n * PATCHES * width).fill(1);
  for (let row = 0; row < n * PATCHES; row++) x.set(samples.x.subarray(row * DIM, (row + 1) * DIM), row * width);
  const sign = Float32Array.from(samples.label, (label) => 2 * label - 1);
  return {
    size: n,
    x: constant(x, [n, PATCHES * width]),
    sums: constant(patchSums(samples), [n, DIM]),
    label: tensor(samples.label),
    sign: constant(sign, [n, 1]),
    cluster: samples.cluster,
  };
}

export class Model {
  readonly weights: Weights;
  readonly #params: ModelParams;
  readonly #route = topKRouter({ k: 1, normalize: false });
  /** [P · F, classes]: which filters count for which class */
  readonly #head: Tensor;

  constructor(params: ModelParams, rng: Generator) {
    const { experts: E, filters: F, form, router } = params;
    this.#params = params;
    const filters = this.#draw([E, DIM, F], START, rng.split("filters"));
    const biases = form === "official" ? this.#draw([E, 1, F], START, rng.split("biases")) : null;
    const hidden = router === "linear" ? [] : [this.#draw([DIM, HIDDEN], 1, rng.split("router"))];
    this.weights = { filters, biases, router: [...hidden, zeros([hidden.length > 0 ? HIDDEN : DIM, E])] };
    for (const p of this.parameters()) p.requiresGrad = true;
    this.#head = headOf(params);
  }

  parameters(): Tensor[] {
    const { filters, biases, router } = this.weights;
    return [filters, ...(biases === null ? [] : [biases]), ...router];
  }

  /** U(±scale/√d); the same for every expert when they are to start alike. */
  #draw(shape: readonly number[], scale: number, rng: Generator): Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    const period = shape.length === 3 && this.#params.start === "identical" ? size / shape[0] : size;
    const drawn = Float32Array.from({ length: period }, () => ((2 * rng.uniform() - 1) * scale) / Math.sqrt(DIM));
    const data = new Float32Array(size).map((_, i) => drawn[i % period]);
    return constant(data, shape);
  }

  /** h: what the router thinks of each expert, without noise. */
  logits({ sums }: Batch): Tensor {
    const { router } = this.weights;
    const z = sums.matmul(router[0]);
    if (router.length === 1) return z;
    return (this.#params.router === "relu" ? z.relu() : z.tanh()).matmul(router[1]);
  }

  /** r, or null without noise. */
  drawNoise(size: number, rng: Generator): Tensor | null {
    const { noise, experts } = this.#params;
    if (noise === "none") return null;
    return rand([size, experts], { rng }).mul(noise === "fixed" ? 1e-5 : 1);
  }

  /** Sends each sample to the expert whose score is the highest, and adds up what that one says. */
  forward(batch: Batch, noise: Tensor | null): Forward {
    const logits = this.logits(batch);
    const scores = noise === null ? logits : logits.add(noise);
    const routing = this.#route(scores.detach());
    const gate = this.#params.form === "official" ? entries(scores, routing) : withLogits(routing, logits).gate;
    const rows = dispatch(batch.x, routing);
    const output = combine(this.#expert(rows, routing), gate, routing);
    return { output, scores, routing };
  }

  /** f of each slot: [S, P · width] → [S, classes]. */
  #expert(rows: Tensor, { offsets, numExperts, numSlots }: Routing): Tensor {
    const { filters } = this.#params;
    const ends = offsets.data;
    const patchesOf = Array.from({ length: numExperts }, (_, e) => PATCHES * (ends[e + 1] - ends[e]));
    const patches = rows.reshape([numSlots * PATCHES, rows.shape[1] / PATCHES]);
    const z = groupedMatmul(patches, this.#filters(), patchesOf);
    return this.#activate(z)
      .reshape([numSlots, PATCHES * filters])
      .matmul(this.#head);
  }

  /** What every expert would say of every sample, whoever was chosen: [n, E, classes]. */
  everyExpert({ x, size }: Batch): Tensor {
    const { experts: E, filters: F } = this.#params;
    const patches = x.reshape([size * PATCHES, x.shape[1] / PATCHES]);
    const all = this.#filters()
      .permute([1, 0, 2])
      .reshape([patches.shape[1], E * F]);
    const z = this.#activate(patches.matmul(all)).reshape([size, PATCHES, E, F]);
    const byExpert = z.permute([0, 2, 1, 3]).reshape([size * E, PATCHES * F]);
    return byExpert.matmul(this.#head).reshape([size, E, this.#head.shape[1]]);
  }

  /** [E, width, F]: the biases stand where the patches have a 1. */
  #filters(): Tensor {
    const { filters, biases } = this.weights;
    return biases === null ? filters : concat([filters, biases], { dim: 1 });
  }

  #activate(z: Tensor): Tensor {
    return this.#params.activation === "cubic" ? cube(z) : z;
  }

  /** The mean loss over the batch. */
  loss({ output }: Forward, { label, sign }: Batch): Tensor {
    // The authors' code takes the softmax twice. The types refuse probs where logits are wanted; times 1 they are plain numbers.
    if (this.#params.form === "official") return output.softmax().mul(1).crossEntropy(label);
    return softplus(output.mul(sign).neg()).mean();
  }
}

export interface Forward {
  /** [n, 2], or [n, 1] in the paper's form */
  readonly output: Tensor;
  /** h + r [n, E], on the graph */
  readonly scores: Tensor;
  readonly routing: Routing;
}

/** z³. Its derivative in three products: those of z · z · z would be six. */
export const cube = customOp({
  name: "cube",
  forward: (z: Tensor) => z.mul(z).mul(z),
  vjp: (g, { inputs: [z] }) => [g.mul(z.mul(z)).mul(3)],
});

/** The entry of a table [n, E] that belongs to each slot. */
const entries = (table: Tensor, { tokenOfSlot, expertOfSlot, numExperts }: Routing): Tensor =>
  table.reshape([table.size]).indexSelect(0, tokenOfSlot.mul(numExperts).add(expertOfSlot));

/** The first half of the filters speaks for class 0, the second for class 1; in the paper's form all speak for y. */
function headOf({ form, filters: F }: ModelParams): Tensor {
  const classes = form === "official" ? 2 : 1;
  const data = Float32Array.from({ length: PATCHES * F * classes }, (_, i) => {
    const filter = Math.floor(i / classes) % F;
    return classes === 1 || i % 2 === Math.floor((2 * filter) / F) ? 1 : 0;
  });
  return constant(data, [PATCHES * F, classes]);
}

/** Whether each of the outputs [n, classes] is right. */
export function rightOf(output: Tensor, label: ArrayLike<number>): Uint8Array {
  const [n, classes] = output.shape;
  const y = output.data;
  const classOf = (i: number): number => (classes === 1 ? Number(y[i] > 0) : Number(y[2 * i + 1] > y[2 * i]));
  return Uint8Array.from({ length: n }, (_, i) => Number(classOf(i) === label[i]));
}
