/** SGD: gradient descent, with momentum. */
import { checkBoolean, checkNumber, checkOptions, rangeError } from "../errors.ts";
import { blendKernel } from "../kernels/update.ts";
import type { Tensor } from "../tensor.ts";
import { checkRates, Optimizer, type ParameterList, runUpdate } from "./optimizer.ts";

export interface SGDOptions {
  /** Learning rate. Default 1e-3. */
  lr?: number | undefined;
  /** μ. Default 0. */
  momentum?: number | undefined;
  /** τ. Default 0. */
  dampening?: number | undefined;
  /** λ, added to the gradient as λ·p. Default 0. */
  weightDecay?: number | undefined;
  /** Default false. */
  nesterov?: boolean | undefined;
}

type Settings = { lr: number; momentum: number; dampening: number; weightDecay: number; nesterov: boolean };

function check(op: string, settings: Settings): void {
  checkRates(op, settings);
  checkNumber(op, "momentum", settings.momentum, "a number of at least 0", (x) => x >= 0);
  checkNumber(op, "dampening", settings.dampening, "a number", () => true);
  checkBoolean(op, "nesterov", settings.nesterov);
  if (settings.nesterov && (settings.momentum === 0 || settings.dampening !== 0)) {
    throw rangeError(op, "nesterov", "true", "false", "it needs a momentum and no dampening");
  }
}

/**
 * Stochastic gradient descent.
 *
 *   d ← g + λ·p
 *   b ← μ·b + (1 − τ)·d        at the first step b ← d
 *   p ← p − lr · b             or with nesterov p − lr · (d + μ·b)
 *
 * Source   torch.optim.SGD: names, defaults and trajectory
 */
export class SGD extends Optimizer<Settings> {
  constructor(params: ParameterList<Settings>, options: SGDOptions = {}) {
    checkOptions("SGD", options, ["lr", "momentum", "dampening", "weightDecay", "nesterov"]);
    const { lr = 1e-3, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false } = options;
    super("SGD", params, { lr, momentum, dampening, weightDecay, nesterov }, check);
  }

  protected update(p: Tensor, g: Tensor, { lr, momentum, dampening, weightDecay, nesterov }: Settings): void {
    let d = weightDecay === 0 ? g : runUpdate(blendKernel, [g, p], { p: 1, q: weightDecay });
    if (momentum !== 0) {
      const before = this.state.get(p)?.b as Tensor | undefined;
      const b = before === undefined ? d : runUpdate(blendKernel, [before, d], { p: momentum, q: 1 - dampening });
      this.state.set(p, { b: b.detach() });
      d = nesterov ? runUpdate(blendKernel, [d, b], { p: 1, q: momentum }) : b;
    }
    p.assign(runUpdate(blendKernel, [p, d], { p: 1, q: -lr }));
  }
}
