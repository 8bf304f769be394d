/** What PyTorch computed (vectors.py), replayed on the device that is in use. */
import {
  Adam,
  AdamW,
  type CrossEntropyOptions,
  crossEntropy,
  Embedding,
  gelu,
  groupedMatmul,
  layerNorm,
  MoE,
  rmsNorm,
  SGD,
  type Tensor,
  tensor,
  topKRouter,
} from "../../src/index.ts";
import vectors from "./vectors.json" with { type: "json" };

type Tensors = Readonly<Record<string, Tensor>>;
type Replay = (x: Tensors) => Tensors;

/** "float32 5x7: 0.25 1 …", as vectors.py writes it. */
function parse(line: string): { numbers: Float32Array | Int32Array; shape: number[] } {
  const [head, list] = line.split(":");
  const [dtype, sizes] = head.split(" ");
  const numbers = list.trim().split(" ").map(Number);
  const shape = sizes === "" ? [] : sizes.split("x").map(Number);
  return { shape, numbers: dtype === "int32" ? Int32Array.from(numbers) : Float32Array.from(numbers) };
}

/** An op, and for the cotangent g the gradient of each float input as d<name>. */
const differentiated =
  (op: (x: Tensors) => Tensor): Replay =>
  (given) => {
    const { g, ...inputs } = given;
    const floats = Object.entries(inputs).filter(([, x]) => x.dtype === "float32");
    for (const [, x] of floats) x.requiresGrad = true;
    const y = op(inputs);
    y.backward(g);
    return { y, ...Object.fromEntries(floats.map(([name, x]) => [`d${name}`, x.grad as Tensor])) };
  };

const unary = (op: (x: Tensor) => Tensor): Replay => differentiated(({ x }) => op(x));

const crossEntropyBy = (reduction: CrossEntropyOptions["reduction"]): Replay =>
  differentiated(({ logits, target }) => crossEntropy(logits, target, { reduction }));

/** A whole layer: its output, its losses and, of their weighted sum, all gradients. */
function moe(activation: "gelu" | "silu", capacityFactor: number): Replay {
  return ({ x, router, w1, w2, g }) => {
    const [numExperts, dim, hidden] = w1.shape;
    const layer = new MoE({ dim, hidden, numExperts, activation, router: topKRouter({ k: 2, capacityFactor }) });
    layer.loadStateDict({ "router.weight": router, "experts.w1": w1, "experts.w2": w2 });
    x.requiresGrad = true;
    const { output: y, routing } = layer.forward(x);
    const { balance, z } = routing.losses;
    y.mul(g).sum().add(balance.mul(0.5)).add(z.mul(0.1)).backward();
    const [load, asked] = [routing.offsets.slice({ start: 1 }).sub(routing.offsets.slice({ end: -1 })), routing];
    return {
      ...{ y, balance, z, load, asked: asked.expertOfSlot.bincount({ numBins: numExperts }) },
      ...{ dx: x.grad as Tensor, drouter: layer.router.weight.grad as Tensor },
      ...{ dw1: layer.experts.w1.grad as Tensor, dw2: layer.experts.w2.grad as Tensor },
    };
  };
}

/** The parameter after each of three steps on ½ Σ (p·x)². */
const steps =
  (make: (params: Tensor[]) => SGD | Adam | AdamW): Replay =>
  ({ p, x }) => {
    p.requiresGrad = true;
    const optimizer = make([p]);
    const found: Record<string, Tensor> = {};
    for (let step = 1; step <= 3; step++) {
      optimizer.zeroGrad();
      p.mul(x).square().sum().mul(0.5).backward();
      optimizer.step();
      found[`p${step}`] = p.detach();
    }
    return found;
  };

const matmul: Replay = differentiated(({ a, b }) => a.matmul(b));
const grouped: Replay = differentiated(({ x, w, sizes }) => groupedMatmul(x, w, sizes));

const replays: Readonly<Record<keyof typeof vectors, Replay>> = {
  ...{ matmul, "matmul wide": matmul, "matmul batched": matmul, "matmul shared": matmul },
  "matmul transposed": differentiated(({ a, b }) => a.transpose().matmul(b.transpose())),
  ...{ groupedMatmul: grouped, "groupedMatmul one group": grouped },
  "softmax -1": unary((x) => x.softmax()),
  "softmax 0": unary((x) => x.softmax({ dim: 0 })),
  "logSoftmax -1": unary((x) => x.logSoftmax()),
  "logSoftmax 0": unary((x) => x.logSoftmax({ dim: 0 })),
  "logsumexp -1": unary((x) => x.logsumexp()),
  "logsumexp 0": unary((x) => x.logsumexp({ dim: 0 })),
  layerNorm: differentiated(({ x, weight, bias }) => layerNorm(x, weight, bias, { eps: 1e-5 })),
  rmsNorm: differentiated(({ x, weight }) => rmsNorm(x, weight, { eps: 1e-5 })),
  "crossEntropy mean": crossEntropyBy("mean"),
  "crossEntropy sum": crossEntropyBy("sum"),
  "crossEntropy none": crossEntropyBy("none"),
  gelu: unary((x) => gelu(x)),
  "gelu tanh": unary((x) => gelu(x, { approximate: "tanh" })),
  silu: unary((x) => x.silu()),
  sigmoid: unary((x) => x.sigmoid()),
  tanh: unary((x) => x.tanh()),
  relu: unary((x) => x.relu()),
  exp: unary((x) => x.exp()),
  square: unary((x) => x.square()),
  "div broadcast": differentiated(({ a, b }) => a.div(b.square().add(2))),
  mean: unary((x) => x.mean({ dim: 1 })),
  topk: ({ x }) => ({ ...x.topk(4) }),
  sort: ({ x }) => ({ ...x.sort() }),
  "topk gradient": unary((x) => x.topk(3).values),
  bincount: ({ ids }) => ({ y: ids.bincount({ numBins: 7 }) }),
  oneHot: ({ ids }) => ({ y: ids.oneHot(6, { dtype: "int32" }) }),
  cumsum: unary((x) => x.cumsum(1)),
  indexSelect: differentiated(({ x, index }) => x.indexSelect(0, index)),
  indexAdd: differentiated(({ x, index, src }) => x.indexAdd(0, index, src)),
  gather: differentiated(({ x, index }) => x.gather(0, index)),
  scatterAdd: differentiated(({ x, index, src }) => x.scatterAdd(0, index, src)),
  embedding: differentiated(({ weight, ids }) => {
    const layer = new Embedding(weight.shape[0], weight.shape[1]);
    return Object.assign(layer, { weight }).forward(ids);
  }),
  "moe dropless": moe("gelu", Number.POSITIVE_INFINITY),
  // ⌈1.1 · 9 · 2 / 4⌉ = 5 slots an expert.
  "moe capacity": moe("silu", 1.1),
  SGD: steps((params) => new SGD(params, { lr: 0.1, momentum: 0.9, weightDecay: 0.05 })),
  "SGD nesterov": steps((params) => new SGD(params, { lr: 0.1, momentum: 0.9, nesterov: true })),
  Adam: steps((params) => new Adam(params, { lr: 0.05, weightDecay: 0.1 })),
  AdamW: steps((params) => new AdamW(params, { lr: 0.05, weightDecay: 0.1 })),
};

export const vectorNames = Object.keys(vectors) as (keyof typeof vectors)[];

/** How far apart results may be, as a share of the largest entry that PyTorch gives. */
const TOLERANCE = 2e-5;

/** What one output has wrong: its shape, an integer, or a number that is too far off; or null. */
function faultOf(actual: Float32Array | Int32Array, shape: readonly number[], line: string): string | null {
  const wanted = parse(line);
  if (`${shape}` !== `${wanted.shape}`) return `shape ${shape} for ${wanted.shape}`;
  if (actual.constructor !== wanted.numbers.constructor) return `${actual.constructor.name} for ${line.split(" ")[0]}`;
  const most = Math.max(0, ...Array.from(wanted.numbers, Math.abs));
  const allowed = actual instanceof Int32Array ? 0 : TOLERANCE * most;
  const bad = actual.findIndex((x, i) => !(Math.abs(x - wanted.numbers[i]) <= allowed));
  return bad < 0 ? null : `${actual[bad]} for ${wanted.numbers[bad]} at flat index ${bad}`;
}

/** Runs one vector and reads its outputs. */
async function replay(
  name: keyof typeof vectors,
): Promise<Map<string, { data: Float32Array | Int32Array; x: Tensor }>> {
  const inputs = Object.entries(vectors[name].inputs).map(([key, line]) => {
    const { numbers, shape } = parse(line);
    return [key, tensor(numbers).reshape(shape)];
  });
  const outputs = replays[name](Object.fromEntries(inputs));
  const read = new Map<string, { data: Float32Array | Int32Array; x: Tensor }>();
  for (const [key, x] of Object.entries(outputs)) {
    read.set(key, { data: (await x.read()) as Float32Array | Int32Array, x });
  }
  return read;
}

/** What a vector gives that it should not: far from PyTorch's, or other bits in a second run. */
export async function vectorFaults(name: keyof typeof vectors): Promise<string[]> {
  const [first, second] = [await replay(name), await replay(name)];
  return Object.entries<string>(vectors[name].outputs).flatMap(([key, line]) => {
    const found = first.get(key);
    if (found === undefined) return [`${name}: no ${key}`];
    const fault = faultOf(found.data, found.x.shape, line);
    const again = second.get(key)?.data;
    const same = found.data.every((x, i) => Object.is(x, again?.[i]));
    return [...(fault === null ? [] : [`${name}: ${key} has ${fault}`]), ...(same ? [] : [`${name}: ${key} varies`])];
  });
}
