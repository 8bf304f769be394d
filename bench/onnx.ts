/**
 * A writer of ONNX models: as much of Protocol Buffers, and of the fields of onnx.proto, as the graphs of the bench need.
 *
 * A message is a sequence of fields; a field is a key (number · 8 + wire type) and its value: a varint (wire type 0), four
 * bytes (5), or a length and as many bytes (2), which hold text, packed numbers or another message.
 *
 * Source   https://protobuf.dev/programming-guides/encoding, and onnx/onnx.proto for the numbers of the fields
 */

/** Integers in base 128, lowest digits first; the top bit says that more follow. */
export function varint(x: number): number[] {
  const bytes: number[] = [];
  let rest = x;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

type Bytes = Uint8Array;
/** What a field holds: an integer, text or bytes, or a message that is made already. */
type FieldValue = number | string | Bytes;

const text = new TextEncoder();

/** One field. */
export function field(number: number, value: FieldValue): Bytes {
  if (typeof value === "number") return Uint8Array.from([...varint(number * 8), ...varint(value)]);
  const bytes = typeof value === "string" ? text.encode(value) : value;
  return message(Uint8Array.from([...varint(number * 8 + 2), ...varint(bytes.length)]), bytes);
}

/** Fields, one after the other. */
export function message(...fields: readonly Bytes[]): Bytes {
  const all = new Uint8Array(fields.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const bytes of fields) {
    all.set(bytes, at);
    at += bytes.length;
  }
  return all;
}

function float(number: number, x: number): Bytes {
  const bytes = new Uint8Array(5);
  bytes[0] = number * 8 + 5;
  new DataView(bytes.buffer).setFloat32(1, x, true);
  return bytes;
}

export type Attribute = { int: number } | { float: number } | { text: string } | { ints: readonly number[] };

/** An operation: what it is called, names of what it reads and writes, its attributes. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Where the op is defined, when it is not ONNX itself: "com.microsoft". */
  readonly domain?: string;
}

export interface Numbers {
  readonly shape: readonly number[];
  /** BigInt64Array for indices, as ONNX wants them. */
  readonly data: Float32Array | BigInt64Array;
}

export interface Graph {
  readonly nodes: readonly Node[];
  /** Shapes of float32 inputs; of int64 ones when they are named in `integers`. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly integers?: readonly string[];
  /** Names; their types and shapes are inferred. */
  readonly outputs: readonly string[];
  /** Numbers that belong to the model. */
  readonly constants?: Readonly<Record<string, Numbers>>;
}

const FLOAT = 1;
const INT64 = 7;
const OPSET = 20;
const IR_VERSION = 9;

/** A model of one graph, as the bytes of a .onnx file. */
export function onnxModel({ nodes, inputs, integers = [], outputs, constants = {} }: Graph): Bytes {
  const graph = message(
    ...nodes.map((node) => field(1, nodeBytes(node))),
    field(2, "bench"),
    ...Object.entries(constants).map(([name, numbers]) => field(5, tensorBytes(name, numbers))),
    ...Object.entries(inputs).map(([name, shape]) =>
      field(11, valueBytes(name, integers.includes(name) ? INT64 : FLOAT, shape)),
    ),
    ...outputs.map((name) => field(12, field(1, name))),
  );
  const domains = [...new Set(nodes.flatMap(({ domain }) => domain ?? []))];
  return message(
    field(1, IR_VERSION),
    field(8, message(field(1, ""), field(2, OPSET))),
    ...domains.map((domain) => field(8, message(field(1, domain), field(2, 1)))),
    field(7, graph),
  );
}

function nodeBytes({ op, inputs, outputs, attributes = {}, domain }: Node): Bytes {
  return message(
    ...inputs.map((name) => field(1, name)),
    ...outputs.map((name) => field(2, name)),
    field(4, op),
    ...Object.entries(attributes).map(([name, value]) => field(5, attributeBytes(name, value))),
    ...(domain === undefined ? [] : [field(7, domain)]),
  );
}

/** The last field says which of the others holds the value. */
function attributeBytes(name: string, value: Attribute): Bytes {
  const named = field(1, name);
  if ("float" in value) return message(named, float(2, value.float), field(20, 1));
  if ("int" in value) return message(named, field(3, value.int), field(20, 2));
  if ("text" in value) return message(named, field(4, value.text), field(20, 3));
  return message(named, ...value.ints.map((x) => field(8, x)), field(20, 7));
}

function tensorBytes(name: string, { shape, data }: Numbers): Bytes {
  return message(
    ...shape.map((n) => field(1, n)),
    field(2, data instanceof Float32Array ? FLOAT : INT64),
    field(8, name),
    field(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  );
}

function valueBytes(name: string, type: number, shape: readonly number[]): Bytes {
  const dims = message(...shape.map((n) => field(1, field(1, n))));
  return message(field(1, name), field(2, field(1, message(field(1, type), field(2, dims)))));
}
