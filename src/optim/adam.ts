/** Adam and AdamW: steps scaled by running means of the gradient and of its square. */
import { checkNumber, checkOptions, show, typeError } from "../errors.ts";
import { adamStepKernel, blendKernel, secondMomentKernel } from "../kernels/update.ts";
import type { Tensor } from "../tensor.ts";
import { checkRates, Optimizer, type ParameterList, runUpdate } from "./optimizer.ts";

export interface AdamOptions {
  /** Learning rate. Default 1e-3. */
  lr?: number | undefined;
  /** β₁, β₂: how much of the running means is kept at each step. Default [0.9, 0.999]. */
  betas?: readonly [number, number] | undefined;
  /** Default 1e-8. */
  eps?: number | undefined;
  /** λ. Default 0.01 for AdamW, 0 for Adam. */
  weightDecay?: number | undefined;
}

type Settings = { lr: number; betas: readonly [number, number]; eps: number; weightDecay: number };

/** Running means and the number of steps, of one parameter. */
type State = { readonly m: Tensor; readonly v: Tensor; readonly t: number };

function check(op: string, settings: Settings): void {
  checkRates(op, settings);
  checkNumber(op, "eps", settings.eps, "a number of at least 0", (x) => x >= 0);
  if (!Array.isArray(settings.betas) || settings.betas.length !== 2) {
    throw typeError(op, "betas", show(settings.betas), "two numbers from 0 to below 1");
  }
  for (const beta of settings.betas)
    checkNumber(op, "betas", beta, "numbers from 0 to below 1", (x) => x >= 0 && x < 1);
}

abstract class AdamBase extends Optimizer<Settings> {
  constructor(op: string, decay: number, params: ParameterList<Settings>, options: AdamOptions) {
    checkOptions(op, options, ["lr", "betas", "eps", "weightDecay"]);
    const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = decay } = options;
    super(op, params, { lr, betas, eps, weightDecay }, check);
  }

  /** One step of p along g; p is first multiplied by `keep`. */
  protected move(p: Tensor, g: Tensor, keep: number, { lr, betas: [beta1, beta2], eps }: Settings): void {
    const before = (this.state.get(p) as State | undefined) ?? { m: p.zerosLike(), v: p.zerosLike(), t: 0 };
    const t = before.t + 1;
    const m = runUpdate(blendKernel, [before.m, g], { p: beta1, q: 1 - beta1 });
    const v = runUpdate(secondMomentKernel, [before.v, g], { beta: beta2 });
    this.state.set(p, { m, v, t });
    // Nobody else has seen the old means.
    before.m.storage.free?.();
    before.v.storage.free?.();
    const attrs = { keep, rate: lr / (1 - beta1 ** t), root: Math.sqrt(1 - beta2 ** t), eps };
    p.assign(runUpdate(adamStepKernel, [p, m, v], attrs));
  }
}

/**
 * AdamW: Adam with weight decay apart from the gradient.
 *
 *   m ← β₁·m + (1 − β₁)·g;   v ← β₂·v + (1 − β₂)·g²
 *   p ← (1 − lr·λ)·p − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + eps)
 *
 * Source   Loshchilov & Hutter 2019; torch.optim.AdamW: names, defaults and trajectory
 */
export class AdamW extends AdamBase {
  constructor(params: ParameterList<Settings>, options: AdamOptions = {}) {
    super("AdamW", 0.01, params, options);
  }

  protected update(p: Tensor, g: Tensor, settings: Settings): void {
    this.move(p, g, 1 - settings.lr * settings.weightDecay, settings);
  }
}

/**
 * Adam: as AdamW, but the decay is added to the gradient: g ← g + λ·p.
 *
 * Source   Kingma & Ba 2015; torch.optim.Adam: names, defaults and trajectory
 */
export class Adam extends AdamBase {
  constructor(params: ParameterList<Settings>, options: AdamOptions = {}) {
    super("Adam", 0, params, options);
  }

  protected update(p: Tensor, g: Tensor, settings: Settings): void {
    const { weightDecay } = settings;
    const d = weightDecay === 0 ? g : runUpdate(blendKernel, [g, p], { p: 1, q: weightDecay });
    this.move(p, d, 1, settings);
  }
}
