/** Safetensors: the bytes are those of the format, and every file that breaks it is refused by what is wrong with it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DType, type Tensor, tensor } from "../../src/index.ts";
import { decodeSafetensors, encodeSafetensors, type NumbersInShape } from "../../src/io/index.ts";
import { anyFloat, anyInt, count, shapes } from "../arbitraries.ts";
import { fileOf, readRaw } from "./reader.ts";

const bytesOf = ({ data }: NumbersInShape): Uint8Array =>
  new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));

const elements: Record<DType, fc.Arbitrary<number>> = { float32: anyFloat, float64: fc.double(), int32: anyInt };
const arrays = { float32: Float32Array, float64: Float64Array, int32: Int32Array };

const anyTensor: fc.Arbitrary<Tensor> = fc
  .tuple(shapes(), fc.constantFrom<DType>("float32", "float64", "int32"))
  .chain(([shape, dtype]) =>
    fc
      .array(elements[dtype], { minLength: count(shape), maxLength: count(shape) })
      .map((list) => tensor(arrays[dtype].from(list)).reshape(shape)),
  );

const name = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("", "a.b", "__proto__", "constructor", "7", "\u0000", "ﬀ", '"\\'),
);
const dictionary = fc
  .array(fc.tuple(name, anyTensor), { maxLength: 5 })
  .map((list) => Object.fromEntries(list) as Record<string, Tensor>);
const texts = fc.array(fc.tuple(name, fc.string({ unit: "binary" }))).map((list) => Object.fromEntries(list));

describe("what is written", () => {
  test("is what the format says, to the byte", () => {
    const bytes = encodeSafetensors({
      b: tensor([1, -2]),
      a: tensor(Int32Array.of(3)),
      "0": tensor(Float64Array.of(0.5)),
    });
    const header =
      '{"0":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},' +
      '"a":{"dtype":"I32","shape":[1],"data_offsets":[8,12]},' +
      '"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    const data = [0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 3, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0];
    expect([...bytes]).toEqual([...fileOf(padded, data)]);
  });

  test("comes back bit by bit, with every name, shape, dtype and text, and does not depend on the order of names", () => {
    fc.assert(
      fc.property(dictionary, texts, (tensors, metadata) => {
        const bytes = encodeSafetensors(tensors, metadata);
        const again = decodeSafetensors(bytes);
        expect(again.metadata).toEqual(metadata);
        expect(Object.keys(again.tensors).sort()).toEqual(Object.keys(tensors).sort());
        for (const [key, x] of Object.entries(tensors)) {
          const y = again.tensors[key];
          expect([y.dtype, ...y.shape]).toEqual([x.dtype, ...x.shape]);
          expect(bytesOf(y)).toEqual(bytesOf(x));
        }
        const reversed = Object.fromEntries(Object.entries(tensors).reverse());
        expect(encodeSafetensors(reversed, metadata)).toEqual(bytes);
      }),
    );
  });

  test("is what another reader finds, each tensor at a multiple of its element's size", () => {
    const names = { float32: "F32", float64: "F64", int32: "I32" };
    fc.assert(
      fc.property(dictionary, (tensors) => {
        const raw = readRaw(encodeSafetensors(tensors));
        for (const [key, x] of Object.entries(tensors)) {
          const found = raw.tensors[key];
          expect(found).toEqual({ dtype: names[x.dtype], shape: [...x.shape], bytes: bytesOf(x) });
          expect(found.bytes.byteOffset % (x.dtype === "float64" ? 8 : 4)).toBe(0);
        }
      }),
    );
  });
});

describe("what is read", () => {
  test("may lie anywhere in its buffer, and stays what it was when the buffer changes", () => {
    const file = encodeSafetensors({ x: tensor([1.5, 2.5]) });
    for (let offset = 0; offset < 8; offset++) {
      const buffer = new Uint8Array(file.length + offset);
      buffer.set(file, offset);
      const { x } = decodeSafetensors(buffer.subarray(offset)).tensors;
      buffer.fill(0);
      expect([...x.data]).toEqual([1.5, 2.5]);
    }
  });

  test("may be a Buffer of Node's, which shares its memory with others", () => {
    const shared = Buffer.concat([Buffer.from("before"), encodeSafetensors({ x: tensor([1.5, 2.5]) })]);
    const { x } = decodeSafetensors(shared.subarray(6)).tensors;
    shared.fill(0);
    expect([...x.data]).toEqual([1.5, 2.5]);
  });

  test("of F16 is every number that 16 bits stand for", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const header = { x: { dtype: "F16", shape: [65536], data_offsets: [0, 131072] } };
    const { x } = decodeSafetensors(fileOf(header, new Uint8Array(all.buffer))).tensors;
    // Read off IEEE 754, binary16: 1 is 0x3c00, the largest 65504, the smallest 2⁻²⁴, −∞ 0xfc00.
    const known: [number, number][] = [
      [0, 0],
      [0x8000, -0],
      [0x3c00, 1],
      [0xc000, -2],
      [0x3555, 0.333251953125],
      [0x7bff, 65504],
      [0x0400, 2 ** -14],
      [0x03ff, 2 ** -14 - 2 ** -24],
      [0x0001, 2 ** -24],
      [0x7c00, Infinity],
      [0xfc00, -Infinity],
      [0x7c01, Number.NaN],
    ];
    for (const [bits, value] of known) expect(x.data[bits]).toBe(value);
    // Between two neighbours the step is the same within a power of two, and each power of two doubles it.
    for (let bits = 1; bits < 0x7c00; bits++) {
      const step = 2 ** (Math.max(1, (bits - 1) >> 10) - 25);
      expect(x.data[bits] - x.data[bits - 1]).toBe(step);
      expect(x.data[bits | 0x8000]).toBe(-x.data[bits]);
    }
  });

  test("of BF16 is the upper half of a float32, NaN payloads too", () => {
    const halves = Uint16Array.of(0x3f80, 0xc000, 0x0001, 0x8000, 0x7f80, 0xff81, 0x4049);
    const header = { x: { dtype: "BF16", shape: [7], data_offsets: [0, 14] } };
    const { x } = decodeSafetensors(fileOf(header, new Uint8Array(halves.buffer))).tensors;
    expect(x.dtype).toBe("float32");
    const bits = new Uint32Array(bytesOf(x).buffer);
    expect([...bits]).toEqual([...halves].map((half) => half * 65536));
  });

  test.each([
    ["I8", [0xff, 0x7f], [-1, 127]],
    ["U8", [0xff, 0x7f], [255, 127]],
    ["BOOL", [0, 1], [0, 1]],
    ["I16", [0xff, 0xff, 0x00, 0x80], [-1, -32768]],
    ["U16", [0xff, 0xff, 0x00, 0x80], [65535, 32768]],
  ])("of %s is int32", (dtype, data, expected) => {
    const header = { x: { dtype, shape: [2], data_offsets: [0, data.length] } };
    const { x } = decodeSafetensors(fileOf(header, data)).tensors;
    expect([x.dtype, ...x.data]).toEqual(["int32", ...expected]);
  });

  test.each(["I64", "U64", "U32", "F8_E4M3", "F8_E5M2", "F8_E8M0"])("of %s is refused by name", (dtype) => {
    const bytes = { I64: 8, U64: 8, U32: 4 }[dtype] ?? 1;
    const header = { "a.b": { dtype, shape: [1], data_offsets: [0, bytes] } };
    expect(() => decodeSafetensors(fileOf(header, new Uint8Array(bytes)))).toThrow(
      `decodeSafetensors: bytes: "a.b" has dtype ${dtype}, expected one that can be read exactly`,
    );
  });

  test("of a file of no tensors is nothing", () => {
    expect(decodeSafetensors(fileOf("{}"))).toEqual({ tensors: {}, metadata: {} });
    expect(decodeSafetensors(fileOf('{"__metadata__":{"a":"b"}}  ')).metadata).toEqual({ a: "b" });
  });
});

const good = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
const header = (change: object): object => ({ x: { ...good, ...change } });
const length = (n: bigint): Uint8Array => {
  const file = fileOf({ x: good }, new Uint8Array(8));
  new DataView(file.buffer).setBigUint64(0, n, true);
  return file;
};

const broken: [what: string, file: Uint8Array, message: string][] = [
  ["nothing", new Uint8Array(0), "bytes has 0 bytes, expected at least 8"],
  ["half a length", new Uint8Array(5), "bytes has 5 bytes, expected at least 8"],
  ["a header that is cut off", length(1000n), "expected at least 1008 (the header that it announces; it was cut off)"],
  ["a header above 100 MB", length(100_000_001n), "a header of 100000001 bytes, expected at most 100000000"],
  ["a header of 2⁶³", length(2n ** 63n), "expected at most 100000000"],
  ["an empty header", fileOf(""), "a header of another kind, expected a JSON object"],
  ["a list", fileOf("[]"), "a header of another kind"],
  ["a space before {", fileOf(" {}"), "a header of another kind"],
  ["no JSON", fileOf("{oh}"), "a header that does not parse"],
  ["JSON that ends early", fileOf('{"x":'), "a header that does not parse"],
  ["bytes that are no UTF-8", fileOf('{"x": 1}').fill(0xff, 10, 11), "a header that does not parse"],
  ["a name twice", fileOf('{"x":{},"x":{}}'), 'the name "x" twice in its header'],
  ["a name twice, written two ways", fileOf('{"x":{},"\\u0078":{}}'), 'the name "x" twice'],
  ["a field twice", fileOf('{"x":{"dtype":"F32","dtype":"F64"}}'), 'the name "dtype" twice'],
  ["metadata that is a list", fileOf({ __metadata__: [] }), "__metadata__ has [], expected an object of texts"],
  ["metadata of a number", fileOf({ __metadata__: { a: 1 } }), '__metadata__["a"] has 1, expected a text'],
  ["a tensor that is null", fileOf({ x: null }), '"x" has null, expected an object with dtype'],
  ["a tensor that is a list", fileOf({ x: [] }), '"x" has [], expected an object with dtype'],
  ["an unknown dtype", fileOf(header({ dtype: "F31" }), new Uint8Array(8)), '"x": dtype has "F31", expected F64'],
  ["no dtype", fileOf({ x: { shape: [], data_offsets: [0, 0] } }), '"x": dtype has undefined'],
  ["a dtype of an object", fileOf(header({ dtype: "toString" })), '"x": dtype has "toString"'],
  [
    "a negative size",
    fileOf(header({ shape: [-2] })),
    '"x": shape has [-2], expected a list of integers of at least 0',
  ],
  ["a fractional size", fileOf(header({ shape: [1.5] })), '"x": shape has [1.5]'],
  ["a shape that is no list", fileOf(header({ shape: 2 })), '"x": shape has 2'],
  ["more elements than there can be", fileOf(header({ shape: [2 ** 40, 2 ** 40] })), '"x": shape has'],
  [
    "offsets backwards",
    fileOf(header({ data_offsets: [8, 0] })),
    '"x": data_offsets has [8, 0], expected a begin and an',
  ],
  ["one offset", fileOf(header({ data_offsets: [8] })), '"x": data_offsets has [8]'],
  ["a negative offset", fileOf(header({ data_offsets: [-8, 0] })), '"x": data_offsets has [-8, 0]'],
  ["too few bytes for the shape", fileOf(header({ shape: [3] })), '"x": data_offsets has 8 bytes, expected 12'],
  ["too many bytes for the shape", fileOf(header({ shape: [] })), '"x": data_offsets has 8 bytes, expected 4 (F32 of'],
  [
    "a hole",
    fileOf({ x: good, y: { ...good, data_offsets: [12, 20] } }, new Uint8Array(20)),
    '"y" has its begin at 12, expected 8 (there is a hole before it)',
  ],
  ["a hole at the start", fileOf(header({ data_offsets: [4, 12] }), new Uint8Array(12)), "its begin at 4, expected 0"],
  [
    "an overlap",
    fileOf({ x: good, y: { ...good, data_offsets: [4, 12] } }, new Uint8Array(12)),
    '"y" has its begin at 4, expected 8 (it overlaps another tensor)',
  ],
  [
    "numbers that are cut off",
    fileOf(header({}), new Uint8Array(7)),
    "7 bytes after the header, expected 8 (it was cut off)",
  ],
  ["bytes left over", fileOf(header({}), new Uint8Array(9)), "expected 8 (bytes that belong to no tensor)"],
];

describe("a file is refused that has", () => {
  test.each(broken)("%s", (_, file, message) => {
    expect(() => decodeSafetensors(file)).toThrow(message);
    expect(() => decodeSafetensors(file)).toThrow(/^decodeSafetensors: bytes/);
  });

  test("been changed or cut anywhere: either it is refused with a message of ours, or it is a whole file", () => {
    const file = encodeSafetensors({ a: tensor([1, 2, 3]), b: tensor(Int32Array.of(4)) }, { note: "text" });
    const change = fc.record({
      at: fc.nat(file.length - 1),
      to: fc.nat(255),
      end: fc.integer({ min: 0, max: file.length }),
    });
    fc.assert(
      fc.property(change, fc.boolean(), ({ at, to, end }, cut) => {
        const other = cut ? file.slice(0, end) : file.slice();
        if (!cut) other[at] = to;
        try {
          const { tensors } = decodeSafetensors(other);
          expect(end === file.length || !cut).toBe(true);
          const bytes = Object.values(tensors).reduce((sum, x) => sum + x.size * 4, 0);
          expect(bytes).toBeLessThanOrEqual(16);
        } catch (error) {
          if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
          expect(error.message).toMatch(/^decodeSafetensors: bytes/);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("what cannot be written", () => {
  const x = tensor([1]);
  const refused: [what: string, tensors: unknown, metadata: unknown, message: string][] = [
    ["no object", null, {}, "encodeSafetensors: tensors has null, expected tensors by name"],
    ["the name of the metadata", { __metadata__: x }, {}, 'a name has "__metadata__", expected another one'],
    ["half a character", { "a\ud800": x }, {}, "expected whole characters"],
    ["null", { a: null }, {}, 'tensors["a"] has null, expected a tensor'],
    ["a list", { a: { shape: [1], data: [1] } }, {}, 'tensors["a"] has [1] as its data, expected a Float32Array'],
    ["a Uint8Array", { a: { shape: [1], data: new Uint8Array(1) } }, {}, "as its data, expected a Float32Array"],
    ["a wrong shape", { a: { shape: [2], data: new Float32Array(1) } }, {}, 'tensors["a"] has 1 numbers, expected 2'],
    ["a negative size", { a: { shape: [-1], data: new Float32Array(1) } }, {}, "shape has [-1]"],
    ["metadata of numbers", {}, { a: 1 }, 'metadata["a"] has 1, expected a text'],
    ["metadata that is a list", {}, ["a"], 'metadata has ["a"], expected an object of texts'],
  ];
  test.each(refused)("%s", (_, tensors, metadata, message) => {
    const call = () => encodeSafetensors(tensors as Record<string, Tensor>, metadata as Record<string, string>);
    expect(call).toThrow(message);
  });

  test("a header above 100 MB", () => {
    expect(() => encodeSafetensors({}, { a: "x".repeat(100_000_000) })).toThrow("the header has 100000");
  });

  test("bytes that are none", () => {
    expect(() => decodeSafetensors([1, 2] as unknown as Uint8Array)).toThrow(
      "decodeSafetensors: bytes has [1, 2], expected a Uint8Array",
    );
  });
});
