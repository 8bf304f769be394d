/**
 * The numbers of a safetensors file: which kinds there are, and how each becomes one of ours without rounding.
 *
 *   F32, F64, I32          as they are
 *   F16, BF16              → float32, which holds every one of their numbers
 *   I8, U8, I16, U16, BOOL → int32, likewise
 *
 * I64, U64, U32 and the 8-bit floats have numbers that none of ours holds, or a meaning that stands elsewhere: refused.
 * Bytes are little-endian, in the file by the format and in memory by WebAssembly, which runs nowhere else.
 */
import type { DType, Flat } from "../device/kernel.ts";

/** How many bytes an element takes, and how a tensor of them is read; null: it is refused. */
interface Element {
  readonly bytes: number;
  readonly read: ((bytes: Uint8Array) => Flat) | null;
}

/** A copy that begins at a multiple of its element's size, as typed arrays must. Not slice(): that of Node's Buffer is none. */
const aligned = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;

const refused = (bytes: number): Element => ({ bytes, read: null });

const integers = (bytes: number, view: (buffer: ArrayBuffer) => ArrayLike<number>): Element => ({
  bytes,
  read: (data) => Int32Array.from(view(aligned(data))),
});

/** By the name that the header gives. */
export const elements: ReadonlyMap<string, Element> = new Map(
  Object.entries<Element>({
    F64: { bytes: 8, read: (data) => new Float64Array(aligned(data)) },
    F32: { bytes: 4, read: (data) => new Float32Array(aligned(data)) },
    I32: { bytes: 4, read: (data) => new Int32Array(aligned(data)) },
    F16: { bytes: 2, read: (data) => Float32Array.from(new Uint16Array(aligned(data)), halfToNumber) },
    BF16: { bytes: 2, read: fromBfloat16 },
    I16: integers(2, (buffer) => new Int16Array(buffer)),
    U16: integers(2, (buffer) => new Uint16Array(buffer)),
    I8: integers(1, (buffer) => new Int8Array(buffer)),
    U8: integers(1, (buffer) => new Uint8Array(buffer)),
    BOOL: integers(1, (buffer) => new Uint8Array(buffer)),
    I64: refused(8),
    U64: refused(8),
    U32: refused(4),
    F8_E4M3: refused(1),
    F8_E5M2: refused(1),
    F8_E8M0: refused(1),
  }),
);

/** The header's name of a dtype of ours. */
export const elementOf: Readonly<Record<DType, string>> = { float32: "F32", float64: "F64", int32: "I32" };

/**
 * The number that 16 bits stand for: 1 sign, 5 exponent, 10 fraction.
 *
 *   (−1)^s · 2^(e − 15) · (1 + f / 1024);   e = 0: (−1)^s · 2^−14 · f / 1024;   e = 31: ∞ or NaN
 */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** A bfloat16 is the upper half of a float32. */
function fromBfloat16(bytes: Uint8Array): Float32Array {
  const upper = new Uint16Array(aligned(bytes));
  return new Float32Array(Uint32Array.from(upper, (bits) => bits << 16).buffer);
}
