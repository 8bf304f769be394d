/** What all optimisers share: parameter groups, checks, and the step over parameters that have a gradient. */
import type { Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { checkNumber, checkOptions, rangeError, show, stateError, typeError } from "../errors.ts";
import { Tensor } from "../tensor.ts";

/** Parameters with settings of their own; what is left out is taken from the optimiser's. */
export type ParameterGroup<S> = { params: readonly Tensor[] } & { [K in keyof S]?: S[K] | undefined };

/** A list of parameters, or of groups with settings of their own. */
export type ParameterList<S> = readonly Tensor[] | readonly ParameterGroup<S>[];

/**
 * Base of the optimisers. `groups` may be read and its settings changed between steps, which is how schedules work.
 *
 * A step gives each parameter new storage: tensors that shared the old one keep it, and a graph that read the old numbers
 * refuses to go backward.
 */
export abstract class Optimizer<S extends { lr: number }> {
  readonly groups: ({ params: readonly Tensor[] } & S)[];

  constructor(op: string, params: ParameterList<S>, defaults: S, check: (op: string, settings: S) => void) {
    if (!Array.isArray(params) || params.length === 0) {
      throw typeError(
        op,
        "params",
        Array.isArray(params) ? "no entry" : show(params),
        "a list of parameters or groups",
      );
    }
    const plain = params.every((p) => p instanceof Tensor);
    const groups = plain ? [{ params }] : (params as readonly ParameterGroup<S>[]);
    this.groups = groups.map((group) => {
      checkOptions(op, group, ["params", ...Object.keys(defaults)]);
      if (!Array.isArray(group.params)) throw typeError(op, "params of a group", show(group.params), "a list");
      const settings = Object.fromEntries(Object.entries(group).filter(([, value]) => value !== undefined));
      const full = { ...defaults, ...settings } as { params: readonly Tensor[] } & S;
      check(op, full);
      return full;
    });
    checkParameters(
      op,
      this.groups.flatMap((group) => group.params),
    );
  }

  /** Changes every parameter that has a gradient; those without keep their numbers and their state. */
  step(): void {
    for (const group of this.groups) {
      for (const p of group.params) if (p.grad !== null) this.update(p, p.grad, group);
    }
  }

  protected abstract update(p: Tensor, g: Tensor, settings: S): void;

  /** Sets the gradient of every parameter to null. */
  zeroGrad(): void {
    for (const group of this.groups) for (const p of group.params) p.grad = null;
  }
}

function checkParameters(op: string, params: readonly Tensor[]): void {
  params.forEach((p, i) => {
    if (!(p instanceof Tensor)) throw typeError(op, `parameter ${i}`, show(p), "a tensor");
    if (p.record !== null || !p.requiresGrad) {
      throw stateError(
        op,
        `parameter ${i}`,
        `shape ${show(p.shape)} and no gradient of its own`,
        "a leaf with requiresGrad",
      );
    }
  });
  if (new Set(params).size !== params.length) throw rangeError(op, "params", "a tensor twice", "each parameter once");
}

/** Throws unless lr and weightDecay are numbers of at least 0. */
export function checkRates(op: string, { lr, weightDecay }: { lr: number; weightDecay: number }): void {
  checkNumber(op, "lr", lr, "a number of at least 0", (x) => x >= 0);
  checkNumber(op, "weightDecay", weightDecay, "a number of at least 0", (x) => x >= 0);
}

/** Runs an update kernel on tensors of one shape and dtype. */
export const runUpdate = <A>(kernel: Kernel<A>, inputs: readonly Tensor[], attrs: A): Tensor =>
  inputs[0].make(run(kernel, inputs, attrs, inputs[0].shape, inputs[0].dtype), null);
