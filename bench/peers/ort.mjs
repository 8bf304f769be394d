/**
 * ONNX Runtime Web on its WebAssembly backend, one thread: graphs without gradients, so forward passes only.
 *
 * The layer is written in basic ops. The runtime has a MoE op of its own, which was slower here with eight experts and not
 * faster with 64.
 */
import * as ort from "onnxruntime-web/wasm";
import { onnxModel } from "../onnx.ts";
import { matricesOf } from "./slots.mjs";

export async function open() {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  return { how: "wasm, one thread", prepare };
}

/** Indices are of 64 bits here. */
const numbersOf = (data) => (data instanceof Int32Array ? BigInt64Array.from(data, BigInt) : data);
const tensorOf = ({ data, shape }) =>
  new ort.Tensor(data instanceof Int32Array ? "int64" : "float32", numbersOf(data), shape);
const integers = (...list) => ({ shape: [list.length], data: BigInt64Array.from(list, BigInt) });
const node = (op, inputs, outputs, attributes = {}) => ({
  ...{ op, attributes },
  inputs: inputs.split(" "),
  outputs: outputs.split(" "),
});

/** A job that runs a graph. What its nodes read of the inputs and is not a constant is fed to it. */
async function session({ nodes, outputs = ["y"], constants = {} }, inputs) {
  const isFed = (name) => !(name in constants) && nodes.some((node) => node.inputs.includes(name));
  const fed = Object.entries(inputs).filter(([name]) => isFed(name));
  const model = onnxModel({
    ...{ nodes, outputs, constants },
    inputs: Object.fromEntries(fed.map(([name, { shape }]) => [name, shape])),
    integers: fed.filter(([, { data }]) => data instanceof Int32Array).map(([name]) => name),
  });
  const running = await ort.InferenceSession.create(model, { graphOptimizationLevel: "all" });
  const feeds = Object.fromEntries(fed.map(([name, array]) => [name, tensorOf(array)]));
  return {
    call: () => running.run(feeds),
    read: (results) => Object.fromEntries(outputs.map((name) => [name, Array.from(results[name].data, Number)])),
  };
}

const prepare = (task, inputs) => session(graphs[task.kind](task, inputs), inputs);

const ADD = { reduction: { text: "add" } };
const TANH = { approximate: { text: "tanh" } };

const unary = {
  exp: node("Exp", "x", "y"),
  tanh: node("Tanh", "x", "y"),
  "gelu tanh": node("Gelu", "x", "y", TANH),
  "gelu exact": node("Gelu", "x", "y"),
};

const graphs = {
  matmul: () => ({ nodes: [node("MatMul", "a b", "c")], outputs: ["c"] }),
  unary: ({ fn }) => ({ nodes: [unary[fn]] }),
  softmax: () => ({ nodes: [node("Softmax", "x", "y")] }),
  topk: () => ({
    nodes: [node("TopK", "x two", "values indices")],
    outputs: ["values", "indices"],
    constants: { two: integers(2) },
  }),
  gather: () => ({ nodes: [node("Gather", "x index", "y")] }),
  scatterAdd: ({ rows, width }) => ({
    nodes: [node("Unsqueeze", "index last", "at"), node("ScatterND", "zeros at x", "y", ADD)],
    constants: { last: integers(-1), zeros: zeros(rows, width) },
  }),
  grouped: ({ sizes }, { w }) => {
    const names = (letter) => sizes.map((_, e) => `${letter}${e}`).join(" ");
    return {
      nodes: [
        node("Split", "x sizes", names("x"), { axis: { int: 0 } }),
        ...sizes.map((_, e) => node("MatMul", `x${e} w${e}`, `y${e}`)),
        node("Concat", names("y"), "y", { axis: { int: 0 } }),
      ],
      constants: { sizes: integers(...sizes), ...matrices("w", w) },
    };
  },
  moe: (task, inputs) => (task.router === "top2" ? top2 : expertChoice)(task, inputs),
};

const zeros = (...shape) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)) });
const matrices = (letter, array) => Object.fromEntries(matricesOf(array).map((w, e) => [`${letter}${e}`, w]));

/** From gates, tokens and expert outputs to y. */
const combine = [
  node("Unsqueeze", "gates last", "factors"),
  node("Mul", "out factors", "scaled"),
  node("Unsqueeze", "tokens last", "at"),
  node("ScatterND", "zeros at scaled", "y", ADD),
];

/** Weights belong to the model, as in inference, so that they are packed before the first call. */
function expertChoice({ T, D, E, gelu }, { wr, w1, w2 }) {
  return {
    nodes: [
      node("MatMul", "x wr", "logits"),
      node("Softmax", "logits", "probs"),
      node("Transpose", "probs", "scores"),
      node("TopK", "scores C", "gates tokens"),
      node("Gather", "x tokens", "rows"),
      node("MatMul", "rows w1", "u"),
      node("Gelu", "u", "h", gelu === "tanh" ? TANH : {}),
      node("MatMul", "h w2", "out"),
      ...combine,
    ],
    constants: { wr, w1, w2, zeros: zeros(T, D), C: integers((2 * T) / E), last: integers(-1) },
  };
}

/** One expert after the other: the rows that chose it, found with NonZero. */
function top2({ T, D, E, gelu }, { wr, w1, w2 }) {
  const experts = Array.from({ length: E }, (_, e) => e);
  const ids = experts.map((e) => [`id${e}`, { shape: [], data: BigInt64Array.of(BigInt(e)) }]);
  const joined = (letter, name) => node("Concat", experts.map((e) => letter + e).join(" "), name, { axis: { int: 0 } });
  return {
    nodes: [
      node("MatMul", "x wr", "logits"),
      node("TopK", "logits two", "best chosen"),
      node("Softmax", "best", "probs"),
      ...experts.flatMap((e) => [
        node("Equal", `chosen id${e}`, `is${e}`),
        node("NonZero", `is${e}`, `at${e}`),
        node("Transpose", `at${e}`, `pairs${e}`),
        node("GatherND", `probs pairs${e}`, `gates${e}`),
        node("Gather", `at${e} id0`, `tokens${e}`),
        node("Gather", `x tokens${e}`, `rows${e}`),
        node("MatMul", `rows${e} up${e}`, `u${e}`),
        node("Gelu", `u${e}`, `h${e}`, gelu === "tanh" ? TANH : {}),
        node("MatMul", `h${e} down${e}`, `out${e}`),
      ]),
      ...[joined("out", "out"), joined("gates", "gates"), joined("tokens", "tokens")],
      ...combine,
    ],
    constants: {
      ...{ wr, ...matrices("up", w1), ...matrices("down", w2), ...Object.fromEntries(ids) },
      ...{ zeros: zeros(T, D), two: integers(2), last: integers(-1) },
    },
  };
}
