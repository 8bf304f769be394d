/** Module: a tree of parameters with names. */
import { checkBoolean, checkTensor, isTensor, rangeError, show, typeError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";

/**
 * The base of layers and models: subclasses hold tensors, modules, and lists of them in fields.
 *
 * A tensor with requiresGrad is a parameter, one without is a buffer. Their names are the field names in order of
 * declaration, joined by dots, with lists by index: `layers.0.weight`.
 */
export abstract class Module {
  /** Whether the module is being trained: noise and random choices happen only then. See train() and eval(). */
  training = true;

  /** Every tensor with its name: parameters and buffers. */
  namedTensors(prefix = ""): Generator<[name: string, tensor: Tensor]> {
    return named(prefix, this, [this]);
  }

  /** Every parameter with its name. */
  namedParameters(): [name: string, parameter: Tensor][] {
    return [...this.namedTensors()].filter(([, x]) => x.requiresGrad);
  }

  /** Every parameter, in order of declaration. A tensor that stands in two places comes once. */
  parameters(): Tensor[] {
    return [...new Set(this.namedParameters().map(([, x]) => x))];
  }

  /** All modules of the tree, this one first, each once. */
  modules(): Generator<Module> {
    return modulesIn(this, new Set());
  }

  /** Parameters and buffers by name, as they are now: later steps do not change them. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries([...this.namedTensors()].map(([name, x]) => [name, x.detach()]));
  }

  /**
   * Copies numbers from a state dict into parameters and buffers. Strict: the names, shapes and dtypes must be the same.
   *
   * Throws   RangeError for missing or unknown names or other shapes, TypeError for other dtypes or no object; then nothing
   *          is changed
   */
  loadStateDict(dict: Readonly<Record<string, Tensor>>): void {
    const op = "loadStateDict";
    if (dict === null || typeof dict !== "object" || Array.isArray(dict) || isTensor(dict)) {
      throw typeError(op, "the dict", show(dict), "tensors by name", "as stateDict() gives");
    }
    const own = new Map(this.namedTensors());
    const missing = [...own.keys()].filter((name) => !Object.hasOwn(dict, name));
    if (missing.length > 0) throw rangeError(op, "the dict", `no ${missing.join(", ")}`, "every name of the module");
    const unknown = Object.keys(dict).filter((name) => !own.has(name));
    if (unknown.length > 0)
      throw rangeError(op, "the dict", `unknown ${unknown.join(", ")}`, "names of the module only");
    for (const [name, x] of own) checkEntry(op, name, dict[name], x);
    // An op, since it copies on every device.
    for (const [name, x] of own) x.assign(dict[name].detach().mul(1));
  }

  /** Switches this module and all inside to training, or with false to evaluation. Gives itself back. */
  train(on = true): this {
    checkBoolean("train", "on", on);
    for (const module of this.modules()) module.training = on;
    return this;
  }

  /** Switches to evaluation: no noise, no random choices. */
  eval(): this {
    return this.train(false);
  }

  /** Sets the gradient of every parameter to null. */
  zeroGrad(): void {
    for (const p of this.parameters()) p.grad = null;
  }
}

function checkEntry(op: string, name: string, given: Tensor, own: Tensor): void {
  checkTensor(op, name, given);
  const describe = (x: Tensor): string => `${x.dtype} ${show(x.shape)}`;
  if (given.dtype !== own.dtype) throw typeError(op, name, describe(given), describe(own));
  if (describe(given) !== describe(own)) throw rangeError(op, name, describe(given), describe(own));
}

/**
 * The tensors in the fields of a module or a list, in order. `inside`: what that stands in, itself included; a module that
 * contains itself is not walked again.
 */
function* named(prefix: string, owner: object, inside: readonly unknown[]): Generator<[string, Tensor]> {
  for (const [field, value] of Object.entries(owner)) {
    if (isTensor(value)) yield [prefix + field, value];
    else if (isBranch(value) && !inside.includes(value)) yield* named(`${prefix}${field}.`, value, [...inside, value]);
  }
}

const isBranch = (value: unknown): value is object => value instanceof Module || Array.isArray(value);

function* modulesIn(value: unknown, seen: Set<unknown>): Generator<Module> {
  if (!isBranch(value) || seen.has(value)) return;
  seen.add(value);
  if (value instanceof Module) yield value;
  for (const entry of Object.values(value)) yield* modulesIn(entry, seen);
}
