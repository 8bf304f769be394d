/** moegrad itself, by its public names. */
import {
  AdamW,
  expertChoiceRouter,
  Generator,
  groupedMatmul,
  MoE,
  noGrad,
  type Tensor,
  tensor,
  topKRouter,
  useDevice,
  zeros,
} from "../../src/index.ts";
import type { GroupedTask, MatmulTask, MoETask, RowsTask, StepTask, Task, Unary } from "../cases.ts";
import type { Array32, Inputs } from "../data.ts";
import { batchOf, drawWindows, loadCorpus, windowsOf } from "../start/data.ts";
import { CharModel } from "../start/model.ts";
import { BATCH, LEARNING_RATE, WEIGHT_DECAY } from "../start/train.ts";
import type { Job, Outputs, Settings, Side } from "./side.ts";

export async function open({ device, threads }: Settings): Promise<Side> {
  const { name, threads: running, why } = await useDevice(device, { threads });
  if (device !== "auto" && (name !== device || running !== threads)) {
    throw new Error(`device is ${name} with ${running} threads, expected ${device} with ${threads} (${why})`);
  }
  return { how: `${name}, ${running} ${running === 1 ? "thread" : "threads"}`, prepare };
}

type Results = Readonly<Record<string, Tensor>>;

function prepare(task: Task, inputs: Inputs): Job<Results> {
  switch (task.kind) {
    case "matmul":
      return matmul(task, inputs);
    case "grouped":
      return grouped(task, inputs);
    case "moe":
      return layer(task, inputs);
    case "step":
      return step(task);
    case "tiny":
      return tiny();
    case "unary": {
      const x = tensorOf(inputs.x);
      return job(() => ({ y: unary[task.fn](x) }));
    }
    default:
      return rows(task, inputs);
  }
}

/** `gradients`: what is read beside the results of a call, and stays where it is while calls are timed. */
const job = (call: () => Results, { repeat = 1, gradients = (): Results => ({}) } = {}): Job<Results> => ({
  call,
  read: (results): Outputs =>
    Object.fromEntries(Object.entries({ ...results, ...gradients() }).map(([name, x]) => [name, x.data])),
  free: (results) => {
    for (const x of Object.values(results)) x.dispose();
  },
  repeat,
});
const tensorOf = ({ data, shape }: Array32, requiresGrad = false): Tensor => {
  const x = tensor(data).reshape([...shape]);
  x.requiresGrad = requiresGrad;
  return x;
};

/** A pass forward, or there and back: outputs, and gradients under their names with a d. */
function pass(
  backward: boolean,
  inputs: Inputs,
  names: readonly string[],
  forward: (leaves: Record<string, Tensor>) => Results,
): Job<Results> {
  const leaves = Object.fromEntries(names.map((name) => [name, tensorOf(inputs[name], backward)]));
  if (!backward) return job(() => forward(leaves));
  const g = tensorOf(inputs.g);
  const call = (): Results => {
    for (const name of names) leaves[name].grad = null;
    const outputs = forward(leaves);
    Object.values(outputs)[0].backward(g);
    return outputs;
  };
  const gradients = (): Results => Object.fromEntries(names.map((name) => [`d${name}`, leaves[name].grad as Tensor]));
  return job(call, { gradients });
}

const matmul = ({ backward }: MatmulTask, inputs: Inputs): Job<Results> =>
  pass(backward, inputs, ["a", "b"], ({ a, b }) => ({ c: a.matmul(b) }));

const grouped = ({ sizes, backward }: GroupedTask, inputs: Inputs): Job<Results> =>
  pass(backward, inputs, ["x", "w"], ({ x, w }) => ({ y: groupedMatmul(x, w, sizes) }));

const unary: Readonly<Record<Unary, (x: Tensor) => Tensor>> = {
  exp: (x) => x.exp(),
  tanh: (x) => x.tanh(),
  "gelu tanh": (x) => x.gelu({ approximate: "tanh" }),
  "gelu exact": (x) => x.gelu(),
};

function rows({ kind }: RowsTask, inputs: Inputs): Job<Results> {
  const x = tensorOf(inputs.x);
  if (kind === "softmax") return job(() => ({ y: x.softmax() }));
  if (kind === "topk") return job(() => ({ ...x.topk(2) }));
  const index = tensorOf(inputs.index);
  if (kind === "gather") return job(() => ({ y: x.indexSelect(0, index) }));
  const nothing = zeros(inputs.x.shape);
  return job(() => ({ y: nothing.indexAdd(0, index, x) }));
}

/** nn.MoE with given weights. */
function layer({ D, F, E, router, gelu, backward }: MoETask, inputs: Inputs): Job<Results> {
  const route = router === "top2" ? topKRouter({ k: 2 }) : expertChoiceRouter({ capacityFactor: 2 });
  const activation = gelu === "tanh" ? "geluTanh" : "gelu";
  const moe = new MoE({ dim: D, hidden: F, numExperts: E, router: route, activation, rng: new Generator(1) });
  const { x, wr, w1, w2, g } = Object.fromEntries(Object.keys(inputs).map((name) => [name, tensorOf(inputs[name])]));
  moe.loadStateDict({ "router.weight": wr, "experts.w1": w1, "experts.w2": w2 });
  if (!backward) return job(() => noGrad(() => ({ y: moe.forward(x).output })));
  x.requiresGrad = true;
  const call = (): Results => {
    x.grad = null;
    moe.zeroGrad();
    const { output: y } = moe.forward(x);
    y.backward(g);
    return { y };
  };
  const leaves = { dx: x, dwr: moe.router.weight, dw1: moe.experts.w1, dw2: moe.experts.w2 };
  const gradients = (): Results =>
    Object.fromEntries(Object.entries(leaves).map(([name, { grad }]) => [name, grad as Tensor]));
  return job(call, { gradients });
}

/** A step of the main job. The first call's loss is what is checked: training goes on from call to call. */
function step({ variant }: StepTask): Job<Results> {
  const corpus = loadCorpus(["eng", "fra", "deu_1996"]);
  const seen = windowsOf(corpus, "train");
  const rng = new Generator(1);
  const numCharacters = corpus.characters.length;
  const model = new CharModel({ variant, numCharacters, numExperts: 8, rng: rng.split("init") });
  const optimizer = new AdamW(model.parameters(), { lr: LEARNING_RATE, weightDecay: WEIGHT_DECAY });
  const { contexts, targets } = batchOf(seen, drawWindows(seen, BATCH, rng.split("batches")));
  return job(() => {
    const loss = model.forward(contexts).output.crossEntropy(targets);
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
    return { loss };
  });
}

function tiny(): Job<Results> {
  const a = tensor([0.5]);
  const b = tensor([0.25]);
  a.requiresGrad = true;
  const repeat = 1000;
  return job(
    () => {
      let y = a;
      for (let i = 0; i < repeat; i++) y = a.add(b);
      return { y };
    },
    { repeat },
  );
}
