/** One sample call for every op that the library exports, in the order of src/index.ts: what docs/ops.md is computed from. */
import * as m from "../src/index.ts";

/** An op and the arguments of its sample call. Float tensors among them, also in lists, are what it is differentiated by. */
export interface Sample {
  readonly name: string;
  readonly call: (...args: unknown[]) => unknown;
  readonly args: readonly unknown[];
}

/** Checks that the types of an op and its arguments fit, and forgets them. */
const sample = <A extends readonly unknown[]>(name: string, op: (...args: A) => unknown, ...args: A): Sample => ({
  name,
  call: op as unknown as Sample["call"],
  args,
});

/** Different numbers from −3 to 3, none at a kink or a tie; as integers, a few alike. */
function floats(...shape: number[]): m.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) => (((i * 5 + 3) % 13) - 6) / 2 + 0.125 + i / 64);
  return m.tensor(data, { dtype: "float64" }).reshape(shape);
}

/** Different numbers above 1. */
const positive = (...shape: number[]): m.Tensor => floats(...shape).add(4.25);

/** Different numbers, none of them in floats(). */
const others = (...shape: number[]): m.Tensor =>
  floats(...shape)
    .mul(-0.75)
    .add(0.5);

const integers = (...list: number[]): m.Tensor => m.tensor(Int32Array.from(list));

const routing = m.topKRouter({ k: 2, capacityFactor: 1 })(floats(4, 3));
const S = routing.numSlots;

const elementwise: readonly Sample[] = [
  sample("add", m.add, floats(2, 3), others(3)),
  sample("sub", m.sub, floats(2, 3), others(3)),
  sample("mul", m.mul, floats(2, 3), others(3)),
  sample("div", m.div, floats(2, 3), positive(3)),
  sample("pow", m.pow, positive(2, 3), others(3)),
  sample("maximum", m.maximum, floats(2, 3), others(3)),
  sample("minimum", m.minimum, floats(2, 3), others(3)),
  sample("eq", m.eq, floats(2, 3), others(3)),
  sample("ne", m.ne, floats(2, 3), others(3)),
  sample("lt", m.lt, floats(2, 3), others(3)),
  sample("le", m.le, floats(2, 3), others(3)),
  sample("gt", m.gt, floats(2, 3), others(3)),
  sample("ge", m.ge, floats(2, 3), others(3)),
  sample("where", m.where, integers(1, 0, 1), floats(3), others(3)),
  sample("clamp", m.clamp, floats(2, 3), -1, 1),
  sample("abs", m.abs, floats(2, 3)),
  sample("neg", m.neg, floats(2, 3)),
  sample("sign", m.sign, floats(2, 3)),
  sample("square", m.square, floats(2, 3)),
  sample("exp", m.exp, floats(2, 3)),
  sample("sin", m.sin, floats(2, 3)),
  sample("cos", m.cos, floats(2, 3)),
  sample("tanh", m.tanh, floats(2, 3)),
  sample("sigmoid", m.sigmoid, floats(2, 3)),
  sample("softplus", m.softplus, floats(2, 3)),
  sample("sqrt", m.sqrt, positive(2, 3)),
  sample("log", m.log, positive(2, 3)),
  sample("relu", m.relu, floats(2, 3)),
  sample("gelu", m.gelu, floats(2, 3)),
  sample("silu", m.silu, floats(2, 3)),
  sample("normalCdf", m.normalCdf, floats(2, 3)),
  sample("to", m.to, floats(2, 3), "float64"),
];

const alongDims: readonly Sample[] = [
  sample("sum", m.sum, floats(2, 3), { dim: 0 }),
  sample("mean", m.mean, floats(2, 3), { dim: 0 }),
  sample("max", m.max, floats(2, 3), { dim: 1 }),
  sample("min", m.min, floats(2, 3), { dim: 1 }),
  sample("argmax", m.argmax, floats(2, 3), { dim: 1 }),
  sample("cumsum", m.cumsum, floats(2, 3), 1),
  sample("softmax", m.softmax, floats(2, 3)),
  sample("logSoftmax", m.logSoftmax, floats(2, 3)),
  sample("logsumexp", m.logsumexp, floats(2, 3)),
  sample("layerNorm", m.layerNorm, floats(2, 3), positive(3), others(3)),
  sample("rmsNorm", m.rmsNorm, floats(2, 3), positive(3)),
  sample("topk", m.topk, floats(2, 3), 2),
  sample("sort", m.sort, floats(2, 3)),
  sample("argsort", m.argsort, floats(2, 3)),
];

const movement: readonly Sample[] = [
  sample("reshape", m.reshape, floats(2, 3), [6]),
  sample("transpose", m.transpose, floats(2, 3)),
  sample("permute", m.permute, floats(2, 1, 3), [2, 0, 1]),
  sample("expand", m.expand, floats(1, 3), [2, 3]),
  sample("slice", m.slice, floats(4, 2), { start: 1, end: 3 }),
  sample("concat", m.concat, [floats(1, 3), others(2, 3)]),
  sample("stack", m.stack, [floats(3), others(3)]),
  sample("indexSelect", m.indexSelect, floats(3, 2), 0, integers(2, 0, 2)),
  sample("gather", m.gather, floats(2, 3), 1, integers(2, 0, 0, 1).reshape([2, 2])),
  sample("indexAdd", m.indexAdd, floats(3, 2), 0, integers(2, 0, 2), others(3, 2)),
  sample("scatterAdd", m.scatterAdd, floats(2, 3), 1, integers(2, 0, 0, 1).reshape([2, 2]), others(2, 2)),
  sample("segmentSum", m.segmentSum, floats(4, 2), integers(1, 0, 1, 2), 3),
  sample("bincount", m.bincount, integers(2, 0, 2), { numBins: 3 }),
  sample("oneHot", m.oneHot, integers(2, 0, 2), 3),
];

const products: readonly Sample[] = [
  sample("matmul", m.matmul, floats(2, 3), others(3, 2)),
  sample("einsum", m.einsum, "ij,jk->ik", floats(2, 3), others(3, 2)),
  sample("groupedMatmul", m.groupedMatmul, floats(4, 2), others(3, 2, 2), [1, 0, 2]),
  sample("dispatch", m.dispatch, floats(4, 2), routing),
  sample("combine", m.combine, floats(S, 2), positive(S), routing),
];

const losses: readonly Sample[] = [
  sample("crossEntropy", m.crossEntropy, floats(2, 3), integers(2, 0)),
  sample("nllLoss", m.nllLoss, floats(2, 3), integers(2, 0)),
  sample("mseLoss", m.mseLoss, floats(2, 3), others(2, 3)),
  sample("squaredVariation", m.squaredVariation, positive(4)),
  sample("rotate", m.rotate, floats(3, 4)),
];

export const groups: readonly (readonly [title: string, samples: readonly Sample[]])[] = [
  ["Element by element", elementwise],
  ["Along a dim", alongDims],
  ["Moving elements", movement],
  ["Products and experts", products],
  ["Losses and positions", losses],
];
