/** Module: a tree of parameters with names. */
import { hostValue } from "../device/storage.ts";
import { rangeError, show, typeError } from "../errors.ts";
import { Tensor } from "../tensor.ts";

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
  *namedTensors(prefix = ""): Generator<[name: string, tensor: Tensor]> {
    for (const [field, value] of Object.entries(this)) yield* named(prefix + field, value);
  }

  /** Every parameter with its name. */
  namedParameters(): [name: string, parameter: Tensor][] {
    return [...this.namedTensors()].filter(([, x]) => x.requiresGrad);
  }

  /** Every parameter, in order of declaration. A tensor that stands in two places comes once. */
  parameters(): Tensor[] {
    return [...new Set(this.namedParameters().map(([, x]) => x))];
  }

  /** All modules of the tree, this one first. */
  *modules(): Generator<Module> {
    yield this;
    for (const value of Object.values(this)) yield* modulesIn(value);
  }

  /** Parameters and buffers by name, as they are now: later steps do not change them. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries([...this.namedTensors()].map(([name, x]) => [name, x.detach()]));
  }

  /**
   * Copies numbers from a state dict into parameters and buffers. Strict: the names, shapes and dtypes must be the same.
   *
   * Throws   RangeError for missing or unknown names or other shapes, TypeError for other dtypes; then nothing is changed
   */
  loadStateDict(dict: Readonly<Record<string, Tensor>>): void {
    const op = "loadStateDict";
    const own = new Map(this.namedTensors());
    const missing = [...own.keys()].filter((name) => !Object.hasOwn(dict, name));
    if (missing.length > 0) throw rangeError(op, "the dict", `no ${missing.join(", ")}`, "every name of the module");
    const unknown = Object.keys(dict).filter((name) => !own.has(name));
    if (unknown.length > 0)
      throw rangeError(op, "the dict", `unknown ${unknown.join(", ")}`, "names of the module only");
    for (const [name, x] of own) checkEntry(op, name, dict[name], x);
    for (const [name, x] of own) x.assign(hostValue(dict[name].data.slice(), x.shape));
  }

  /** Switches this module and all inside to training, or with false to evaluation. Gives itself back. */
  train(on = true): this {
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
  if (!(given instanceof Tensor)) throw typeError(op, name, show(given), "a tensor");
  const describe = (x: Tensor): string => `${x.dtype} ${show(x.shape)}`;
  if (given.dtype !== own.dtype) throw typeError(op, name, describe(given), describe(own));
  if (describe(given) !== describe(own)) throw rangeError(op, name, describe(given), describe(own));
}

function* named(name: string, value: unknown): Generator<[string, Tensor]> {
  if (value instanceof Tensor) yield [name, value];
  else if (value instanceof Module) yield* value.namedTensors(`${name}.`);
  else if (Array.isArray(value)) for (const [i, entry] of value.entries()) yield* named(`${name}.${i}`, entry);
}

function* modulesIn(value: unknown): Generator<Module> {
  if (value instanceof Module) yield* value.modules();
  else if (Array.isArray(value)) for (const entry of value) yield* modulesIn(entry);
}
