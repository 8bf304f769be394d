/** Learning-rate schedules, and clipping of gradients. */
import { noGrad } from "../autograd.ts";
import {
  checkDtype,
  checkFunction,
  checkInteger,
  checkNumber,
  checkOptions,
  checkTensor,
  show,
  typeError,
} from "../errors.ts";
import { stack } from "../kernels/concat.ts";
import type { Tensor } from "../tensor.ts";
import type { Optimizer } from "./optimizer.ts";

/** Step number, from 0, to a factor on the base learning rate. */
export type Schedule = (step: number) => number;

/** The factor 1 at every step. */
export const constant = (): Schedule => () => 1;

/**
 * Up a line, then down a cosine.
 *
 *   factor = (step + 1) / warmup                                          step < warmup
 *          = floor + (1 − floor) · ½ (1 + cos(π · (step − warmup) / (total − warmup)))   until total, then floor
 *
 * Throws   RangeError unless 0 ≤ warmup ≤ total and 0 ≤ floor ≤ 1, TypeError for unknown options; the schedule itself for a
 *          step that is no integer of at least 0
 * Source   Loshchilov & Hutter 2017, "SGDR", one cycle
 */
export function warmupCosine(options: {
  warmup?: number | undefined;
  total: number;
  floor?: number | undefined;
}): Schedule {
  checkOptions("warmupCosine", options, ["warmup", "total", "floor"]);
  const { warmup = 0, total, floor = 0 } = options;
  checkInteger("warmupCosine", "total", total, 1, Infinity, "steps");
  checkInteger("warmupCosine", "warmup", warmup, 0, total, "steps");
  checkNumber("warmupCosine", "floor", floor, "a number from 0 to 1", (x) => x >= 0 && x <= 1);
  return (step) => {
    checkStep("warmupCosine", step);
    if (step < warmup) return (step + 1) / warmup;
    const share = total === warmup ? 1 : Math.min(1, (step - warmup) / (total - warmup));
    return floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * share));
  };
}

/** Up a line over `warmup` steps, then 1. Throws a RangeError unless warmup, and each step, is an integer of at least 0. */
export function linearWarmup(warmup: number): Schedule {
  checkInteger("linearWarmup", "warmup", warmup, 0, Infinity, "steps");
  return (step) => {
    checkStep("linearWarmup", step);
    return step < warmup ? (step + 1) / warmup : 1;
  };
}

const checkStep = (op: string, step: unknown): void => checkInteger(op, "step", step, 0, Infinity, "counted from 0");

/**
 * Applies a schedule to an optimiser: every group's rate is its rate at the start times the factor.
 *
 * Call step() once after every optimiser step. The factor of step 0 is applied at once.
 *
 * Throws   TypeError when there is no optimiser, or the schedule is no function of a step to a number; RangeError for a
 *          factor below 0
 */
export class LRScheduler {
  readonly #groups: { group: { lr: number }; base: number }[];
  readonly #schedule: Schedule;
  /** How often step() was called; a checkpoint that is read sets it. */
  numSteps = 0;

  constructor(optimizer: Optimizer<{ lr: number }>, schedule: Schedule) {
    if (!Array.isArray(optimizer?.groups)) throw typeError("LRScheduler", "optimizer", show(optimizer), "an optimiser");
    checkFunction("LRScheduler", "schedule", schedule, "a function of the step");
    this.#groups = optimizer.groups.map((group) => ({ group, base: group.lr }));
    this.#schedule = schedule;
    this.#apply();
  }

  /** The rate of each group at this step. */
  get rates(): number[] {
    return this.#groups.map(({ group }) => group.lr);
  }

  step(): void {
    this.numSteps++;
    this.#apply();
  }

  #apply(): void {
    const factor = this.#schedule(this.numSteps);
    checkNumber(
      "LRScheduler",
      "the schedule",
      factor,
      "a factor of at least 0",
      (x) => x >= 0,
      `at step ${this.numSteps}`,
    );
    for (const { group, base } of this.#groups) group.lr = base * factor;
  }
}

/**
 * Scales all gradients together so that their joint norm is at most maxNorm, and gives the norm before that.
 *
 *   norm = √(Σ_p Σ g²);   g ← g · min(1, maxNorm / (norm + 1e-6))
 *
 * Parameters without a gradient are passed over; with none at all the norm is that of nothing, an empty sum.
 *
 * Throws   RangeError unless maxNorm is above 0, TypeError unless params are tensors of one dtype, or for a normType: the
 *          norm is always the 2-norm
 * Source   torch.nn.utils.clip_grad_norm_
 */
export const clipGradNorm: (params: readonly Tensor[], maxNorm: number) => Tensor = (
  params,
  maxNorm,
  normType?: unknown,
) => {
  const op = "clipGradNorm";
  if (normType !== undefined) throw typeError(op, "the third argument", show(normType), "none", "there is no normType");
  checkNumber(op, "maxNorm", maxNorm, "a number above 0", (x) => x > 0);
  if (!Array.isArray(params) || params.length === 0) {
    throw typeError(op, "params", show(params), "a list of parameters");
  }
  for (const [i, p] of params.entries()) {
    checkTensor(op, `parameter ${i}`, p);
    checkDtype(op, `parameter ${i}`, p.dtype, [params[0].dtype], "the dtype of parameter 0");
  }
  return noGrad(() => {
    const grads = params.flatMap((p) => p.peekGrad() ?? []);
    if (grads.length === 0) return params[0].make(params[0].zerosLike().sum(), null);
    const norm = stack(grads.map((g) => g.square().sum()))
      .sum()
      .sqrt();
    const scale = norm.add(1e-6).pow(-1).mul(maxNorm).clamp(undefined, 1);
    for (const p of params) p.grad = p.peekGrad()?.mul(scale) ?? null;
    return norm;
  });
};
