/** What all optimisers share: parameter groups, checks, and the step over parameters that have a gradient. */
import { noGrad } from "../autograd.ts";
import type { Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import {
  checkNumber,
  checkOptions,
  checkTensor,
  isTensor,
  rangeError,
  show,
  stateError,
  typeError,
} from "../errors.ts";
import { unscoped } from "../region.ts";
import type { Tensor } from "../tensor.ts";

/** Parameters with settings of their own; what is left out is taken from the optimiser's. */
export type ParameterGroup<S> = { params: readonly Tensor[] } & { [K in keyof S]?: S[K] | undefined };

/** A list of parameters, or of groups with settings of their own. */
export type ParameterList<S> = readonly Tensor[] | readonly ParameterGroup<S>[];

/** What an optimiser remembers of a parameter from one step to the next, by name: running means, the number of steps. */
export type ParameterState = Readonly<Record<string, Tensor | number>>;

/** A group as an optimiser keeps it: a list of its own, with every setting filled in. */
export type Group<S> = { params: readonly Tensor[] } & S;

/**
 * Base of the optimisers. `groups` may be read and its settings changed between steps, which is how schedules work; every
 * step checks them again before it changes anything.
 *
 * A step gives each parameter new storage: tensors that shared the old one keep it, and a graph that read the old numbers
 * refuses to go backward.
 */
export abstract class Optimizer<S extends { lr: number }> {
  readonly groups: Group<S>[];
  /** By parameter; without an entry until its first step. What a checkpoint writes down; the next step may free its tensors. */
  readonly state = new WeakMap<Tensor, ParameterState>();
  readonly #checkGroups: () => void;

  constructor(op: string, params: ParameterList<S>, defaults: S, check: (op: string, group: Group<S>) => void) {
    this.groups = groupsOf(op, params, defaults);
    checkParameters(
      op,
      this.groups.flatMap((group) => group.params),
    );
    this.#checkGroups = () => {
      for (const group of this.groups) check(op, group);
    };
    this.#checkGroups();
  }

  /**
   * Changes every parameter that has a gradient; those without keep their numbers and their state.
   *
   * Throws   what the constructor would for a setting that has been changed since; then nothing is changed
   */
  step(): void {
    this.#checkGroups();
    // New parameters and running means outlive the step.
    unscoped(() =>
      noGrad(() => {
        for (const group of this.groups) this.stepGroup(group);
      }),
    );
  }

  protected stepGroup(group: Group<S>): void {
    for (const p of group.params) {
      const g = p.peekGrad();
      if (g !== null) this.update(p, g, group);
    }
  }

  protected abstract update(p: Tensor, g: Tensor, settings: S): void;

  /** Sets the gradient of every parameter to null. */
  zeroGrad(): void {
    for (const group of this.groups) for (const p of group.params) p.grad = null;
  }
}

/** Groups with their settings filled in. Lists are copied: what the caller does with them later is no affair of ours. */
function groupsOf<S>(op: string, params: ParameterList<S>, defaults: S): Group<S>[] {
  if (!Array.isArray(params) || params.length === 0) {
    const shown = Array.isArray(params) ? "no entry" : show(params);
    throw typeError(op, "params", shown, "a list of parameters or groups");
  }
  const plain = params.some(isTensor);
  const groups = plain ? [{ params }] : (params as readonly ParameterGroup<S>[]);
  return groups.map((group) => {
    checkOptions(op, group, ["params", ...Object.keys(defaults as object)], "a group");
    if (!Array.isArray(group.params)) throw typeError(op, "params of a group", show(group.params), "a list");
    const given = Object.entries(group).filter(([, value]) => value !== undefined);
    const full = [...Object.entries(defaults as object), ...given];
    return Object.fromEntries(
      full.map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]),
    ) as Group<S>;
  });
}

function checkParameters(op: string, params: readonly Tensor[]): void {
  params.forEach((p, i) => {
    checkTensor(op, `parameter ${i}`, p);
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
export const runUpdate = <A>(kernel: Kernel<A>, inputs: readonly Tensor[], attrs: A): Tensor => {
  const value = run(kernel, inputs, attrs, inputs[0].shape, inputs[0].dtype);
  // It becomes a parameter or a running mean: when that is replaced, nobody else has it.
  value.storage.sole = true;
  return inputs[0].make(value, null);
};
