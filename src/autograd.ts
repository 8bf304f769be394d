/**
 * Reverse-mode automatic differentiation.
 *
 * The graph is data. Each call of an op leaves one record: op, inputs, attributes, output, and a depth one above the
 * highest of its inputs'. An output is deeper than everything it was made from, so descending depth is a topological
 * order and backward is a loop over a sorted list, not a recursion: a chain of 100,000 ops needs no stack.
 *
 * An op's derivative is its vjp (vector-Jacobian product), written with ops: given the cotangent g of the output, one
 * thunk per input returns that input's cotangent, and backward calls those that are needed. Because vjps are ops, they
 * run wherever ops run, and recording them gives gradients of gradients.
 */
import { shared } from "./device/state.ts";
import type { Value } from "./device/storage.ts";
import {
  checkBoolean,
  checkDtype,
  checkFunction,
  checkOptions,
  checkShape,
  checkSynchronous,
  checkTensor,
  rangeError,
  show,
  stateError,
  typeError,
} from "./errors.ts";
import { region } from "./region.ts";
import { stridesOf } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

export type Inputs = readonly Tensor[];

/** What a vjp may read: the inputs, attributes and output of the call. */
export interface Saved<I extends Inputs, A extends readonly unknown[]> {
  readonly inputs: I;
  readonly attrs: A;
  readonly output: Tensor;
}

/** One thunk per input; null where there is nothing to differentiate (integers). */
export type Cotangents<I extends Inputs> = { readonly [K in keyof I]: (() => Tensor) | null };

export interface Op<I extends Inputs, A extends readonly unknown[]> {
  readonly name: string;
  readonly inputs: { readonly [K in keyof I]: string };
  forward(inputs: I, ...attrs: A): Value;
  vjp(g: Tensor, saved: Saved<I, A>): Cotangents<I>;
  /** True when vjp runs the user's code, which may keep what it sees. */
  readonly foreign?: boolean;
}

/** An op as it is called: tensors first, plain data after them. */
export interface OpFn<I extends Inputs, A extends readonly unknown[] = []> {
  (...args: [...I, ...A]): Tensor;
  readonly op: Op<I, A>;
}

// biome-ignore lint/suspicious/noExplicitAny: a record holds ops of every signature; each was checked where it was defined.
export type AnyOp = Op<any, any>;

/** One call of an op in the graph. */
export interface OpRecord {
  readonly op: AnyOp;
  readonly attrs: readonly unknown[];
  readonly depth: number;
  /** The inputs and their versions at the call; null once backward has released them. */
  inputs: Inputs | null;
  readonly versions: readonly number[];
  output: Tensor | null;
}

/** Makes an op callable: with tensors first and its attributes after them. */
export function defineOp<I extends Inputs, A extends readonly unknown[] = []>(op: NoInfer<Op<I, A>>): OpFn<I, A> {
  const count = op.inputs.length;
  const call = (...args: unknown[]): Tensor => callOp(op, args.slice(0, count) as unknown as I, args.slice(count));
  return Object.assign(call, { op }) as unknown as OpFn<I, A>;
}

/** Inside detectAnomaly: throws at the first number that is not finite. */
function checkAnomaly({ storage, shape }: Value, where: string): void {
  const data = storage.host;
  if (data === null || data instanceof Int32Array) return;
  const bad = data.findIndex((x) => !Number.isFinite(x));
  if (bad < 0) return;
  const strides = stridesOf(shape);
  const at = shape.map((n, d) => Math.floor(bad / strides[d]) % n);
  throw rangeError("detectAnomaly", where, `${data[bad]} at ${show(at)}`, "finite numbers", `shape ${show(shape)}`);
}

/** Calls an op on a list of inputs of any length, and leaves its record. The list may be changed afterwards. */
export const applyOp = (op: AnyOp, inputs: Inputs, attrs: readonly unknown[]): Tensor => callOp(op, [...inputs], attrs);

/** Calls an op and leaves its record, which keeps the lists. */
function callOp(op: AnyOp, inputs: Inputs, attrs: readonly unknown[]): Tensor {
  const value: Value = op.forward(inputs, ...attrs);
  if (shared().anomalies) checkAnomaly(value, `the output of ${op.name}`);
  const first = inputs[0];
  const records = shared().recording && value.storage.dtype !== "int32" && inputs.some((x) => x.requiresGrad);
  if (!records) return first.make(value, null);
  let depth = 0;
  for (const x of inputs) if (x.record !== null && x.record.depth > depth) depth = x.record.depth;
  const record: OpRecord = {
    op,
    attrs,
    depth: depth + 1,
    inputs,
    versions: inputs.map((x) => x.version),
    output: null,
  };
  const output = first.make(value, record);
  record.output = output;
  for (const { storage } of [output, ...inputs]) storage.uses = (storage.uses ?? 0) + 1;
  shared().made?.add(output);
  return output;
}

/** Runs fn without recording. What it returns is not connected to a graph. Throws a TypeError unless fn is synchronous. */
export function noGrad<T>(fn: () => T): T {
  return withRecording(false, "noGrad", fn);
}

export function withRecording<T>(recording: boolean, op: string, fn: () => T): T {
  checkFunction(op, "fn", fn);
  const state = shared();
  const before = state.recording;
  state.recording = recording;
  try {
    return checkSynchronous(op, fn());
  } finally {
    state.recording = before;
  }
}

/** Lets go of a record, which nobody can walk any more, and frees what belongs to the graph and stands in no other record. */
function release(record: OpRecord): void {
  for (const { storage } of [record.output as Tensor, ...(record.inputs as Inputs)]) {
    storage.uses = (storage.uses ?? 1) - 1;
    if (storage.uses === 0 && storage.owned && (storage.holders ?? 0) === 0) storage.free?.();
  }
  record.inputs = null;
  record.output = null;
}

export interface BackwardOptions {
  /** Keep the graph, so that it can be walked again. Default: createGraph. */
  retainGraph?: boolean | undefined;
  /** Record the backward pass itself, so that gradients can be differentiated. Default: false. */
  createGraph?: boolean | undefined;
}

/** Records reachable from y, deepest first, without going past the tensors in `stops`. */
function recordsBehind(y: Tensor, stops: ReadonlySet<Tensor>): OpRecord[] {
  const found = new Set<OpRecord>();
  const stack: Tensor[] = [y];
  for (let x = stack.pop(); x !== undefined; x = stack.pop()) {
    const { record } = x;
    if (record === null || found.has(record) || stops.has(x)) continue;
    if (record.inputs === null) {
      throw stateError(
        "backward",
        `the graph behind ${record.op.name}`,
        "been freed by an earlier backward",
        "a graph that is still there",
        "pass retainGraph: true to the earlier one, or run the forward again",
      );
    }
    found.add(record);
    for (const input of record.inputs) if (input.requiresGrad) stack.push(input);
  }
  return [...found].sort((a, b) => b.depth - a.depth);
}

/** Which records lie between y and a wanted tensor: the others need no cotangent. */
function recordsTowards(records: readonly OpRecord[], wanted: ReadonlySet<Tensor>): Set<OpRecord> {
  const needed = new Set<OpRecord>();
  for (let i = records.length - 1; i >= 0; i--) {
    const record = records[i];
    const leads = (record.inputs as Inputs).some((x) => wanted.has(x) || (x.record !== null && needed.has(x.record)));
    if (leads) needed.add(record);
  }
  return needed;
}

function checkVersions(record: OpRecord): void {
  const inputs = record.inputs as Inputs;
  const changed = inputs.findIndex((x, i) => x.version !== record.versions[i]);
  if (changed < 0) return;
  throw stateError(
    "backward",
    `${record.op.inputs[changed] ?? `input ${changed}`} ${show(inputs[changed].shape)} of ${record.op.name}`,
    "been changed by step() or loadStateDict() since it was read",
    "the values of the forward pass",
    "run the forward again",
  );
}

/** A cotangent. Inside detectAnomaly it is checked as a whole, so that an error names the op and not a step of its vjp. */
function runThunk(thunk: () => Tensor, where: () => string): Tensor {
  const state = shared();
  if (!state.anomalies) return thunk();
  state.anomalies = false;
  try {
    const dx = thunk();
    checkAnomaly(dx, where());
    return dx;
  } finally {
    state.anomalies = true;
  }
}

/** The walk: cotangents of all tensors behind y, as far as `wants` says they are needed. */
function walk(
  y: Tensor,
  g: Tensor,
  records: readonly OpRecord[],
  wants: (x: Tensor) => boolean,
  releases: boolean,
): Map<Tensor, Tensor> {
  const cotangents = new Map<Tensor, Tensor>([[y, g]]);
  // Checked before anything is computed, so that an error changes nothing.
  for (const record of records) checkVersions(record);
  for (const record of records) {
    const inputs = record.inputs as Inputs;
    const output = record.output as Tensor;
    const gOut = cotangents.get(output);
    if (gOut !== undefined) {
      const thunks = record.op.vjp(gOut, { inputs, attrs: record.attrs, output });
      inputs.forEach((x, i) => {
        const thunk = thunks[i];
        if (!thunk || !x.requiresGrad || !wants(x)) return;
        const dx = runThunk(thunk, () => `the cotangent of ${record.op.inputs[i] ?? i} of ${record.op.name}`);
        checkShape(`vjp of ${record.op.name}`, `cotangent of ${record.op.inputs[i] ?? i}`, dx.shape, x.shape);
        const sum = cotangents.get(x);
        cotangents.set(x, sum === undefined ? dx : sum.add(dx));
      });
      // Nobody behind it asks for it any more: what an op made is never a leaf, and the walk ends at wanted tensors.
      cotangents.delete(output);
    }
    if (releases) release(record);
  }
  return cotangents;
}

/** The cotangent that a backward starts from: given and checked, or 1 for a scalar. */
export function seed(op: string, y: Tensor, g: Tensor | undefined): Tensor {
  if (g !== undefined) {
    checkTensor(op, "g", g);
    checkShape(op, "g", g.shape, y.shape, "the cotangent has the shape of the output");
    checkDtype(op, "g", g.dtype, [y.dtype], "the cotangent has the dtype of the output");
    return g;
  }
  if (y.size !== 1) {
    throw typeError(op, "the output", `shape ${show(y.shape)} and no cotangent`, "one element, or a cotangent g");
  }
  return y.onesLike();
}

/** `y.backward()`: adds dy/dx into `x.grad` of every leaf x behind y that requires a gradient. See Tensor.backward. */
export function backward(y: Tensor, g?: Tensor, options: BackwardOptions = {}): void {
  checkOptions("backward", options, ["retainGraph", "createGraph"]);
  const { createGraph = false, retainGraph = createGraph } = options;
  checkBoolean("backward", "createGraph", createGraph);
  checkBoolean("backward", "retainGraph", retainGraph);
  if (!y.requiresGrad) {
    throw stateError("backward", "the output", "no graph behind it", "a result of ops on a tensor with requiresGrad");
  }
  const given = seed("backward", y, g);
  // A cotangent may come with a graph of its own, which has no place in x.grad unless asked for.
  const start = createGraph ? given : given.detach();
  const records = recordsBehind(y, new Set());
  const accumulate = (): Tensor[] => {
    const cotangents = walk(y, start, records, () => true, !retainGraph);
    const leaves = [...cotangents.keys()].filter((x) => x.record === null && x.requiresGrad);
    for (const x of leaves) {
      const dx = cotangents.get(x) as Tensor;
      x.grad = x.peekGrad()?.add(dx) ?? dx;
    }
    return leaves.map((x) => x.peekGrad() as Tensor);
  };
  const apart = !createGraph && records.every(({ op }) => !op.foreign);
  withRecording(createGraph, "backward", () => (apart ? region(accumulate, (grads) => grads, true) : accumulate()));
}

/** Cotangents of `wanted`, zeros where y does not depend on them; leaves every `x.grad` alone. */
export function pullback(y: Tensor, g: Tensor, wanted: readonly Tensor[], record: boolean): Tensor[] {
  const stops = new Set(wanted);
  const records = recordsBehind(y, stops);
  const needed = recordsTowards(records, stops);
  const wants = (x: Tensor): boolean => stops.has(x) || (x.record !== null && needed.has(x.record));
  return withRecording(record, "vjp", () => {
    const path = records.filter((r) => needed.has(r));
    const cotangents = walk(y, g, path, wants, false);
    return wanted.map((x) => cotangents.get(x) ?? x.zerosLike());
  });
}
