import { describe, expect, test } from "vitest";
import { field, message, onnxModel, varint } from "../../bench/onnx.ts";

/** A message as its fields: number → what came under it, in order. Reads what the writer wrote, from the same source. */
type Fields = Map<number, (number | Uint8Array)[]>;

function read(bytes: Uint8Array): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const integer = (): number => {
    let [x, factor] = [0, 1];
    for (; bytes[at] > 127; at++, factor *= 128) x += (bytes[at] - 128) * factor;
    return x + bytes[at++] * factor;
  };
  const value = (type: number): number | Uint8Array => {
    if (type === 0) return integer();
    const length = type === 5 ? 4 : integer();
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = integer();
    const [number, type] = [Math.floor(key / 8), key % 8];
    fields.set(number, [...(fields.get(number) ?? []), value(type)]);
  }
  return fields;
}

const inside = (fields: Fields, number: number): Fields[] =>
  (fields.get(number) ?? []).map((bytes) => read(bytes as Uint8Array));
const bytesOf = (fields: Fields, number: number): Uint8Array => (fields.get(number) ?? [])[0] as Uint8Array;
const texts = (fields: Fields, number: number): string[] =>
  (fields.get(number) ?? []).map((bytes) => new TextDecoder().decode(bytes as Uint8Array));

describe("Protocol Buffers", () => {
  test("the examples of the specification", () => {
    expect(varint(1)).toEqual([1]);
    expect(varint(150)).toEqual([0x96, 0x01]);
    expect(varint(2 ** 35)).toEqual([0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
    expect([...field(1, 150)]).toEqual([0x08, 0x96, 0x01]);
    expect([...field(2, "testing")]).toEqual([0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
    expect([...field(3, message(field(1, 150)))]).toEqual([0x1a, 0x03, 0x08, 0x96, 0x01]);
  });
});

describe("ONNX models", () => {
  const model = read(
    onnxModel({
      nodes: [
        { op: "Gather", inputs: ["x", "index"], outputs: ["rows"] },
        {
          ...{ op: "Odd", inputs: ["rows", "w"], outputs: ["y"], domain: "org.example" },
          attributes: { n: { int: 300 }, rate: { float: 0.5 }, form: { text: "tanh" }, axes: { ints: [1, 2] } },
        },
      ],
      inputs: { x: [4, 300], index: [2] },
      integers: ["index"],
      outputs: ["y"],
      constants: {
        w: { shape: [2], data: new Float32Array([1, -2]) },
        k: { shape: [], data: BigInt64Array.of(7n) },
      },
    }),
  );
  const [graph] = inside(model, 7);
  const nodes = inside(graph, 1);

  test("name their opsets, ONNX's and others", () => {
    expect(inside(model, 8).map((opset) => texts(opset, 1)[0])).toEqual(["", "org.example"]);
  });

  test("have nodes with inputs, outputs and attributes of each type", () => {
    expect(nodes.map((node) => texts(node, 4)[0])).toEqual(["Gather", "Odd"]);
    expect(texts(nodes[0], 1)).toEqual(["x", "index"]);
    expect(texts(nodes[1], 2)).toEqual(["y"]);
    expect(texts(nodes[1], 7)).toEqual(["org.example"]);
    const [n, rate, form, axes] = inside(nodes[1], 5);
    expect([n, rate, form, axes].map((a) => [texts(a, 1)[0], a.get(20)?.[0]])).toEqual([
      ["n", 2],
      ["rate", 1],
      ["form", 3],
      ["axes", 7],
    ]);
    expect(n.get(3)).toEqual([300]);
    expect([...bytesOf(rate, 2)]).toEqual([0, 0, 0, 0x3f]);
    expect(texts(form, 4)).toEqual(["tanh"]);
    expect(axes.get(8)).toEqual([1, 2]);
  });

  test("declare inputs with type and shape, and outputs by name", () => {
    const inputs = inside(graph, 11).map((input) => {
      const [tensor] = inside(inside(input, 2)[0], 1);
      const dims = inside(inside(tensor, 2)[0], 1).map((dim) => dim.get(1)?.[0]);
      return [texts(input, 1)[0], tensor.get(1)?.[0], dims];
    });
    expect(inputs).toEqual([
      ["x", 1, [4, 300]],
      ["index", 7, [2]],
    ]);
    expect(inside(graph, 12).map((output) => texts(output, 1)[0])).toEqual(["y"]);
  });

  test("hold constants as raw numbers", () => {
    const [w, k] = inside(graph, 5);
    expect([w.get(1), w.get(2), texts(w, 8)]).toEqual([[2], [1], ["w"]]);
    expect(new Float32Array(bytesOf(w, 9).slice().buffer)).toEqual(new Float32Array([1, -2]));
    expect([k.get(1), k.get(2)]).toEqual([undefined, [7]]);
    expect(new BigInt64Array(bytesOf(k, 9).slice().buffer)).toEqual(BigInt64Array.of(7n));
  });
});
