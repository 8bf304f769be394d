/**
 * Safetensors: named tensors in one file, which other libraries read and write too.
 *
 * Pure functions on bytes, for Node and the browser; files.ts puts the bytes into files.
 */
import { dtypeOf, type Flat } from "../device/kernel.ts";
import { hostValue } from "../device/storage.ts";
import { rangeError, show, typeError } from "../errors.ts";
import { checkSizes, type Shape, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { elementOf, elements } from "./elements.ts";
import { checkMetadata, Encoder, MAX_HEADER, readHeader } from "./header.ts";

/** What is written of a tensor. A Tensor on the host is one. */
export interface NumbersInShape {
  readonly shape: Shape;
  readonly data: Flat;
}

/** What a safetensors file holds. */
export interface Safetensors {
  readonly tensors: Record<string, Tensor>;
  readonly metadata: Record<string, string>;
}

/**
 * Tensors and texts as the bytes of a safetensors file: float32 as F32, float64 as F64, int32 as I32, every bit as it is.
 *
 * The wider elements come first, then by name, and the header is filled up with spaces to a multiple of 8 bytes: every tensor
 * lies at a multiple of its element's size. The same input gives the same bytes.
 *
 * Throws   TypeError for names, numbers or metadata of another kind; RangeError for numbers that do not fill their shape, a
 *          name with half a surrogate pair, `__metadata__`, or a header above 100 MB
 * Source   github.com/huggingface/safetensors, README, "Format"
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, NumbersInShape>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const op = "encodeSafetensors";
  if (tensors === null || typeof tensors !== "object") throw typeError(op, "tensors", show(tensors), "tensors by name");
  checkMetadata(op, "metadata", metadata);
  const list = Object.entries(tensors).map(([name, x]) => plainTensor(op, name, x));
  list.sort((a, b) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT || (a.name < b.name ? -1 : 1));
  let end = 0;
  const entries = list.map(({ name, shape, data }): [string, object] => {
    const begin = end;
    end += data.byteLength;
    return [name, { dtype: elementOf[dtypeOf(data)], shape: [...shape], data_offsets: [begin, end] }];
  });
  const texts: [string, object][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const header = encodeHeader(op, Object.fromEntries([...texts, ...entries]));
  const bytes = new Uint8Array(8 + header.length + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  let at = 8 + header.length;
  for (const { data } of list) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

function encodeHeader(op: string, header: object): Uint8Array {
  const text = JSON.stringify(header);
  const short = new Encoder().encode(text);
  const filled = new Uint8Array(Math.ceil(short.length / 8) * 8).fill(0x20);
  filled.set(short);
  if (filled.length <= MAX_HEADER) return filled;
  throw rangeError(op, "the header", `${filled.length} bytes`, `at most ${MAX_HEADER}`, "names, shapes and metadata");
}

function plainTensor(op: string, name: string, x: NumbersInShape): NumbersInShape & { readonly name: string } {
  const argument = `tensors[${show(name)}]`;
  if (name === "__metadata__")
    throw rangeError(op, "a name", show(name), "another one", "the format has it for itself");
  if (/\p{Surrogate}/u.test(name)) throw rangeError(op, "a name", show(name), "whole characters", "it has half of one");
  if (x === null || typeof x !== "object") throw typeError(op, argument, show(x), "a tensor");
  const { shape, data } = x;
  if (!(data instanceof Float32Array || data instanceof Float64Array || data instanceof Int32Array)) {
    throw typeError(op, argument, `${show(data)} as its data`, "a Float32Array, Float64Array or Int32Array");
  }
  checkSizes(op, shape);
  if (sizeOf(shape) === data.length) return { name, shape, data };
  throw rangeError(op, argument, `${data.length} numbers`, `${sizeOf(shape)}`, `its shape is ${show(shape)}`);
}

/**
 * The tensors and texts in the bytes of a safetensors file. F32, F64 and I32 become what they are, every bit as it is; F16 and
 * BF16 become float32, I8, U8, I16, U16 and BOOL int32, which hold all of their numbers.
 *
 * The whole header is checked before a tensor is made: its length (at most 100 MB, and there), that it is a JSON object without
 * a name twice, that each tensor has the bytes of its dtype and shape, and that they cover the file without hole or overlap.
 *
 * Throws   RangeError or TypeError for a file that breaks the format, TypeError for a tensor of I64, U64, U32 or F8, by its name
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  return decode("decodeSafetensors", "bytes", bytes);
}

/** As decodeSafetensors. `source` names the file in errors. */
export function decode(op: string, source: string, bytes: Uint8Array): Safetensors {
  if (!(bytes instanceof Uint8Array)) throw typeError(op, source, show(bytes), "a Uint8Array");
  const { entries, metadata, start } = readHeader(op, source, bytes);
  const tensors = entries.map(({ name, dtype, shape, begin, end }): [string, Tensor] => {
    const { read = null } = elements.get(dtype) ?? {};
    if (read === null) {
      const why = "no dtype of ours holds all of its numbers";
      throw typeError(op, `${source}: ${show(name)}`, `dtype ${dtype}`, "one that can be read exactly", why);
    }
    return [name, new Tensor(hostValue(read(bytes.subarray(start + begin, start + end)), shape))];
  });
  return { tensors: Object.fromEntries(tensors), metadata };
}
