/**
 * The parts of a training run: what of each is written down, and how it is put back.
 *
 *   Module        parameters and buffers, and the generators in its fields (of dropout, of a router's noise)
 *   Optimizer     running means, numbers of steps, and the settings of every group, learning rates among them
 *   LRScheduler   how many steps it has made
 *   Generator     where it stands in its stream
 *   plain data    itself: the step, losses so far, settings
 *
 * A part becomes tensors under its name and a record of plain data. Putting it back comes in two halves: everything is
 * checked first, then nothing can fail any more.
 */
import { checkDtype, checkShape, isTensor, rangeError, show, typeError } from "../errors.ts";
import type { Module } from "../nn/module.ts";
import type { Optimizer, ParameterState } from "../optim/optimizer.ts";
import type { LRScheduler } from "../optim/schedule.ts";
import type { Generator } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { checkPlain, isPlainObject, type PlainData, samePlainKind } from "./plain.ts";

/** A part that has state, and is put back in place. */
export type StatefulPart = Module | Optimizer<{ lr: number }> | LRScheduler | Generator;

/** What is written down of a part. */
export interface Written {
  readonly tensors: readonly (readonly [name: string, x: Tensor | Float64Array | Int32Array])[];
  readonly record: PlainData;
}

/** What was read: the tensors of a part by the rest of their name, and its record. */
export interface Read {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly record: unknown;
}

// Two copies of the library can meet in one program, so parts are known by what they can do, not by their class.
const isModule = (x: unknown): x is Module => typeof (x as Module | null)?.namedTensors === "function";
const canStep = (x: unknown): boolean => typeof (x as LRScheduler | null)?.step === "function";
const isOptimizer = (x: unknown): x is Optimizer<{ lr: number }> =>
  canStep(x) && Array.isArray((x as Optimizer<{ lr: number }>).groups);
const isScheduler = (x: unknown): x is LRScheduler => canStep(x) && Array.isArray((x as LRScheduler).rates);
const isGenerator = (x: unknown): x is Generator => typeof (x as Generator | null)?.exchange === "function";

export const isStateful = (x: unknown): x is StatefulPart =>
  isModule(x) || isOptimizer(x) || isScheduler(x) || isGenerator(x);

/** Everything of a part, as it is now. */
export function writePart(op: string, name: string, part: unknown): Written {
  if (isModule(part)) return writeModule(part);
  if (isOptimizer(part)) return writeOptimizer(part);
  if (isScheduler(part)) return { tensors: [], record: { kind: "scheduler", numSteps: part.numSteps } };
  if (isGenerator(part)) return { tensors: placeOf("", part), record: { kind: "generator" } };
  checkPlain(op, name, part);
  return { tensors: [], record: { kind: "data", data: part } };
}

/** Throws unless what was read fits the part; gives what puts it in place. */
export function readPart(op: string, name: string, part: StatefulPart, read: Read): () => void {
  const kind = isModule(part)
    ? "module"
    : isOptimizer(part)
      ? "optimizer"
      : isScheduler(part)
        ? "scheduler"
        : "generator";
  const found = isPlainObject(read.record) ? read.record.kind : undefined;
  if (found !== kind) throw typeError(op, name, show(found), show(kind), "the kind of the part");
  const record = read.record as Record<string, unknown>;
  if (isModule(part)) return readModule(op, name, part, read.tensors);
  if (isOptimizer(part)) return readOptimizer(op, name, part, record, read.tensors);
  if (isScheduler(part)) return readScheduler(op, name, part, record);
  checkNames(op, name, read.tensors, PLACE);
  return readPlace(op, name, part, read.tensors, "");
}

/** Those of some named tensors that stand below a name, by the rest of theirs. */
export function below(name: string | number, tensors: Iterable<readonly [string, Tensor]>): Map<string, Tensor> {
  const prefix = `${name}.`;
  const own = [...tensors].filter(([key]) => key.startsWith(prefix));
  return new Map(own.map(([key, x]) => [key.slice(prefix.length), x]));
}

// ---- generators

const PLACE = ["words", "spare"];

/** Where a generator stands: four words of 32 bits, and the second of two normal numbers if one is left. */
function placeOf(prefix: string, rng: Generator): Written["tensors"] {
  const state = rng.exchange({ words: new Uint32Array(4), spareNormal: null });
  rng.exchange(state);
  const spare = state.spareNormal === null ? [] : [state.spareNormal];
  return [
    [`${prefix}words`, new Int32Array(state.words.buffer)],
    [`${prefix}spare`, Float64Array.from(spare)],
  ];
}

function readPlace(
  op: string,
  name: string,
  rng: Generator,
  tensors: ReadonlyMap<string, Tensor>,
  prefix: string,
): () => void {
  const [words, spare] = PLACE.map((part) => tensors.get(prefix + part) as Tensor);
  checkDtype(op, `${name}.${prefix}words`, words.dtype, ["int32"]);
  checkShape(op, `${name}.${prefix}words`, words.shape, [4]);
  checkDtype(op, `${name}.${prefix}spare`, spare.dtype, ["float64"]);
  checkShape(op, `${name}.${prefix}spare`, spare.shape, [Math.min(1, spare.size)]);
  const state = { words: Uint32Array.from(words.data), spareNormal: spare.size === 0 ? null : spare.data[0] };
  if (state.words.every((word) => word === 0)) {
    throw rangeError(op, `${name}.${prefix}words`, "zeros", "a place in the stream", "the generator has none there");
  }
  return () => void rng.exchange(state);
}

// ---- modules

/** The generators in the fields of a module, by name. */
function* generatorsIn(owner: object, prefix: string, inside: readonly object[]): Iterable<[string, Generator]> {
  for (const [field, value] of Object.entries(owner)) {
    if (isTensor(value)) continue;
    if (isGenerator(value)) yield [`${prefix}${field}.`, value];
    else if ((isModule(value) || Array.isArray(value)) && !inside.includes(value)) {
      yield* generatorsIn(value, `${prefix}${field}.`, [...inside, value]);
    }
  }
}

const generatorsOf = (module: Module): [string, Generator][] => [...generatorsIn(module, "", [module])];

function writeModule(module: Module): Written {
  const places = generatorsOf(module).flatMap(([prefix, rng]) => placeOf(prefix, rng));
  return { tensors: [...Object.entries(module.stateDict()), ...places], record: { kind: "module" } };
}

function readModule(op: string, name: string, module: Module, tensors: ReadonlyMap<string, Tensor>): () => void {
  const own = new Map(module.namedTensors());
  const generators = generatorsOf(module);
  checkNames(op, name, tensors, [...own.keys(), ...generators.flatMap(([prefix]) => PLACE.map((p) => prefix + p))]);
  for (const [key, x] of own) checkLike(op, `${name}.${key}`, tensors.get(key) as Tensor, x);
  const places = generators.map(([prefix, rng]) => readPlace(op, name, rng, tensors, prefix));
  const dict = Object.fromEntries([...own.keys()].map((key) => [key, tensors.get(key) as Tensor]));
  return () => {
    module.loadStateDict(dict);
    for (const put of places) put();
  };
}

/** Throws unless the tensors of a part are those that it has. */
function checkNames(op: string, name: string, tensors: ReadonlyMap<string, Tensor>, own: readonly string[]): void {
  const missing = own.find((key) => !tensors.has(key));
  if (missing !== undefined) throw rangeError(op, name, `no tensor ${show(missing)}`, "every one that the part has");
  const unknown = [...tensors.keys()].find((key) => !own.includes(key));
  if (unknown !== undefined) throw rangeError(op, name, `a tensor ${show(unknown)}`, "those alone that the part has");
}

function checkLike(op: string, argument: string, x: Tensor, like: Tensor): void {
  checkDtype(op, argument, x.dtype, [like.dtype]);
  checkShape(op, argument, x.shape, like.shape);
}

// ---- optimisers and schedulers

/** What an optimiser remembers of a parameter: numbers, and null for each tensor; or nothing before its first step. */
type StateRecord = Record<string, number | null> | null;

function writeOptimizer(optimizer: Optimizer<{ lr: number }>): Written {
  const tensors: [string, Tensor][] = [];
  const params = optimizer.groups.flatMap((group) => group.params);
  const states = params.map((p, i): StateRecord => {
    const state = optimizer.state.get(p);
    if (state === undefined) return null;
    const entries = Object.entries(state).map(([key, value]): [string, number | null] => {
      if (typeof value === "number") return [key, value];
      tensors.push([`${i}.${key}`, value]);
      return [key, null];
    });
    return Object.fromEntries(entries);
  });
  const groups = optimizer.groups.map(({ params: own, ...settings }) => ({ numParams: own.length, settings }));
  return { tensors, record: { kind: "optimizer", groups: groups as unknown as PlainData, states } };
}

function readOptimizer(
  op: string,
  name: string,
  optimizer: Optimizer<{ lr: number }>,
  record: Record<string, unknown>,
  tensors: ReadonlyMap<string, Tensor>,
): () => void {
  const settings = readGroups(op, name, optimizer, record.groups);
  const params = optimizer.groups.flatMap((group) => group.params);
  const { states } = record;
  if (!Array.isArray(states) || states.length !== params.length) {
    throw rangeError(op, name, "states of other parameters", `one for each of its ${params.length}`);
  }
  const entries = params.map((p, i) => readState(op, `${name}.${i}`, p, states[i], below(i, tensors)));
  const known = params.flatMap((_, i) => [...below(i, tensors).keys()].map((key) => `${i}.${key}`));
  checkNames(op, name, tensors, known);
  return () => {
    for (const [g, group] of optimizer.groups.entries()) Object.assign(group, settings[g]);
    for (const [i, p] of params.entries()) {
      const state = entries[i];
      if (state === null) optimizer.state.delete(p);
      else optimizer.state.set(p, state);
    }
  };
}

/** The settings of every group; those in the file have the names and kinds of those that are there. */
function readGroups(op: string, name: string, { groups }: Optimizer<{ lr: number }>, read: unknown): object[] {
  if (!Array.isArray(read) || read.length !== groups.length) {
    throw rangeError(op, name, "other groups", `${groups.length}`, "those of the optimiser");
  }
  return groups.map(({ params, ...own }, g) => {
    const { numParams, settings } = (isPlainObject(read[g]) ? read[g] : {}) as {
      numParams?: unknown;
      settings?: unknown;
    };
    const argument = `${name}.groups[${g}]`;
    if (numParams !== params.length) {
      throw rangeError(op, argument, `${show(numParams)} parameters`, `${params.length}`, "those of the optimiser");
    }
    if (!isPlainObject(settings) || !samePlainKind(settings, own)) {
      throw typeError(op, argument, JSON.stringify(settings), `settings such as ${JSON.stringify(own)}`);
    }
    return settings;
  });
}

function readState(
  op: string,
  argument: string,
  p: Tensor,
  record: unknown,
  tensors: ReadonlyMap<string, Tensor>,
): ParameterState | null {
  if (record !== null && !isPlainObject(record)) throw typeError(op, argument, show(record), "numbers by name");
  const entries = Object.entries(record ?? {}).map(([key, value]): [string, number | Tensor | undefined] => {
    if (value !== null && typeof value !== "number") throw typeError(op, `${argument}.${key}`, show(value), "a number");
    return [key, value ?? tensors.get(key)];
  });
  checkNames(
    op,
    argument,
    tensors,
    entries.flatMap(([key, value]) => (typeof value === "number" ? [] : [key])),
  );
  for (const [key, x] of tensors) checkLike(op, `${argument}.${key}`, x, p);
  return record === null ? null : Object.fromEntries(entries as [string, number | Tensor][]);
}

function readScheduler(op: string, name: string, scheduler: LRScheduler, { numSteps }: Record<string, unknown>) {
  if (!Number.isSafeInteger(numSteps) || (numSteps as number) < 0) {
    throw rangeError(op, `${name}.numSteps`, show(numSteps), "an integer of at least 0");
  }
  return () => {
    scheduler.numSteps = numSteps as number;
  };
}
