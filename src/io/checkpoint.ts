/**
 * Checkpoints: a training run in one safetensors file, so that it can go on as if it had never stopped.
 *
 *   const parts = { model, optimizer, scheduler, data };
 *   await saveCheckpoint("run.safetensors", { ...parts, step });
 *   const { step } = await loadCheckpoint("run.safetensors", parts);
 *
 * The tensors of part `model` are `model.layers.0.weight` and so on; what is no tensor stands in the metadata, as JSON.
 * The generator of manualSeed, from which everything is drawn that was given no other, comes along by itself.
 */
import { shared } from "../device/state.ts";
import { rangeError, show, typeError } from "../errors.ts";
import { Generator } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { below, isStateful, type Read, readPart, type StatefulPart, writePart } from "./parts.ts";
import { isPlainObject, type PlainData } from "./plain.ts";
import { decode, encodeSafetensors, type NumbersInShape } from "./safetensors.ts";

/** The parts of a training run by name: those with state, and plain data. */
export type CheckpointParts = Readonly<Record<string, StatefulPart | PlainData>>;

/** Parts that are put back in place. */
export type StatefulParts = Readonly<Record<string, StatefulPart>>;

const VERSION = 1;
/** The part that the default generator is written as. */
const DEFAULT_GENERATOR = "defaultGenerator";

/**
 * A training run as the bytes of a checkpoint: all parts as they are at the call, on every device. What is done with them
 * while the promise waits for a device does not show.
 *
 * Throws   TypeError for a part that has no state that is known and is no plain data (NaN and undefined among it), RangeError
 *          for a name that is empty, has a dot, or is `defaultGenerator`
 */
export async function encodeCheckpoint(parts: CheckpointParts): Promise<Uint8Array> {
  return encode("encodeCheckpoint", parts);
}

export async function encode(op: string, parts: CheckpointParts): Promise<Uint8Array> {
  if (!isPlainObject(parts)) throw typeError(op, "parts", show(parts), "parts by name");
  const { generator } = shared();
  const all: Record<string, unknown> = generator === null ? parts : { ...parts, [DEFAULT_GENERATOR]: generator };
  const records: [string, PlainData][] = [];
  const reads: Promise<[string, NumbersInShape]>[] = [];
  for (const [name, part] of Object.entries(all)) {
    checkPartName(op, name, parts);
    const { tensors, record } = writePart(op, name, part);
    records.push([name, record]);
    // Asked for at once: a device reads in the order of the calls, so no later step can come in between.
    for (const [key, x] of tensors) reads.push(readNumbers(`${name}.${key}`, x));
  }
  const moegrad = JSON.stringify({ version: VERSION, parts: Object.fromEntries(records) });
  return encodeSafetensors(Object.fromEntries(await Promise.all(reads)), { moegrad });
}

async function readNumbers(key: string, x: Tensor | Float64Array | Int32Array): Promise<[string, NumbersInShape]> {
  if (ArrayBuffer.isView(x)) return [key, { shape: [x.length], data: x }];
  const { shape } = x;
  return [key, { shape, data: await x.read() }];
}

function checkPartName(op: string, name: string, parts: object): void {
  const why = "the tensors of a part are named after it, with a dot";
  if (name === "" || name.includes("."))
    throw rangeError(op, "a part", `the name ${show(name)}`, "one without dots", why);
  if (name === DEFAULT_GENERATOR && Object.hasOwn(parts, name)) {
    throw rangeError(op, "a part", `the name ${show(name)}`, "another one", "it is that of manualSeed's generator");
  }
}

/**
 * Puts the parts of a run back as a checkpoint has them, and gives its plain data. Strict: the parts, and the names, dtypes and
 * shapes inside, are those that were written.
 *
 * Make everything as the run did that was stopped (the model, then its optimiser, then the scheduler), then call this.
 *
 * Throws   RangeError or TypeError for a file that is broken, is no checkpoint, or does not fit the parts; then nothing is
 *          changed
 */
export function decodeCheckpoint(bytes: Uint8Array, parts: StatefulParts): Record<string, PlainData> {
  return restore("decodeCheckpoint", "bytes", bytes, parts);
}

export function restore(
  op: string,
  source: string,
  bytes: Uint8Array,
  parts: StatefulParts,
): Record<string, PlainData> {
  if (!isPlainObject(parts)) throw typeError(op, "parts", show(parts), "parts by name");
  for (const [name, part] of Object.entries(parts)) {
    checkPartName(op, name, parts);
    if (!isStateful(part)) throw typeError(op, name, show(part), "a module, optimiser, scheduler or generator");
  }
  const { tensors, metadata } = decode(op, source, bytes);
  const records = readRecords(op, source, metadata.moegrad);
  const read = (name: string): Read => ({ tensors: below(name, Object.entries(tensors)), record: records[name] });
  checkParts(op, source, records, parts, tensors);
  const puts = Object.entries(parts).map(([name, part]) => readPart(op, `${source}: ${name}`, part, read(name)));
  if (Object.hasOwn(records, DEFAULT_GENERATOR)) {
    const rng = shared().generator ?? new Generator(0);
    puts.push(readPart(op, `${source}: ${DEFAULT_GENERATOR}`, rng, read(DEFAULT_GENERATOR)));
    puts.push(() => {
      shared().generator = rng;
    });
  }
  for (const put of puts) put();
  const data = Object.entries(records).flatMap(([name, record]): [string, PlainData][] =>
    isData(record) ? [[name, record.data]] : [],
  );
  return Object.fromEntries(data);
}

const isData = (record: unknown): record is { data: PlainData } =>
  isPlainObject(record) && record.kind === "data" && Object.hasOwn(record, "data");

function readRecords(op: string, source: string, text: string | undefined): Record<string, unknown> {
  const expected = "that of a checkpoint";
  if (text === undefined) throw rangeError(op, source, "no metadata of moegrad", expected, "it holds tensors alone");
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw rangeError(op, `${source}: metadata`, "text that does not parse", expected, (error as Error).message);
  }
  const { version, parts } = (isPlainObject(parsed) ? parsed : {}) as { version?: unknown; parts?: unknown };
  if (version !== VERSION) throw rangeError(op, `${source}: metadata`, `version ${show(version)}`, `${VERSION}`);
  if (!isPlainObject(parts)) throw typeError(op, `${source}: metadata`, show(parts), "parts by name");
  return parts;
}

/** Throws unless the file has the parts that were asked for, and nothing else that has state. */
function checkParts(
  op: string,
  source: string,
  records: Record<string, unknown>,
  parts: StatefulParts,
  tensors: Readonly<Record<string, Tensor>>,
): void {
  const missing = Object.keys(parts).find((name) => !Object.hasOwn(records, name));
  if (missing !== undefined) throw rangeError(op, source, `no part ${show(missing)}`, "every part that was given");
  const known = [...Object.keys(parts), DEFAULT_GENERATOR];
  const unknown = Object.keys(records).find((name) => !known.includes(name) && !isData(records[name]));
  if (unknown !== undefined) {
    throw rangeError(op, source, `a part ${show(unknown)}`, "those alone that were given", "it would be lost");
  }
  const stray = Object.keys(tensors).find((name) => !known.includes(name.slice(0, name.indexOf("."))));
  if (stray !== undefined) throw rangeError(op, source, `a tensor ${show(stray)}`, "tensors of its parts alone");
}
