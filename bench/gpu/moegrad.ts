/** moegrad on its GPU device, in the page: each task by public names, in a scope. */

import type { RouteName } from "../../src/gpu/index.ts";
import {
  AdamW,
  concat,
  expertChoiceRouter,
  Generator,
  groupedMatmul,
  MoE,
  noGrad,
  scope,
  type Tensor,
  tensor,
  topKRouter,
  useDevice,
} from "../../src/index.ts";
import type { GroupedTask, MatmulTask, MoETask } from "../cases.ts";
import type { Array32, Inputs } from "../data.ts";
import type { AdamTask, GpuTask } from "./cases.ts";
import type { GpuJob, GpuSide } from "./side.ts";

/** Takes a route. Throws, with the reason, where it is not there. */
export async function open(route: RouteName): Promise<GpuSide> {
  const use = async (): Promise<void> => {
    const { gpu, why } = await useDevice("gpu", { route });
    if (gpu?.route !== route) throw new Error(why);
  };
  await use();
  return { use, jobs: (task, inputs) => ({ plain: jobOf(task, inputs) }) };
}

type Results = Readonly<Record<string, Tensor>>;

function jobOf(task: GpuTask, inputs: Inputs): GpuJob {
  switch (task.kind) {
    case "matmul":
      return matmul(task, inputs);
    case "grouped":
      return grouped(task, inputs);
    case "moe":
      return layer(task, inputs);
    case "adamw":
      return adamw(task, inputs);
    case "launches":
      return launches(task.count, inputs);
    case "readback":
      return readback(inputs);
  }
}

const tensorOf = ({ data, shape }: Array32): Tensor => tensor(data).reshape([...shape]);

/** The first number of each result: when these are read all of the results are there, since a GPU works in order. */
const firsts = (results: Results): Tensor =>
  noGrad(() => concat(Object.values(results).map((x) => x.reshape([x.size]).slice({ dim: 0, start: 0, end: 1 }))));

/** `release`: frees what a scope leaves alone. */
const job = (make: () => Results, release = (): void => {}): GpuJob => ({
  async once() {
    const few = scope(() => firsts(make()));
    await few.read();
    few.dispose();
    release();
  },
  async all() {
    const results = scope(make);
    const read: Record<string, ArrayLike<number>> = {};
    for (const [name, x] of Object.entries(results)) read[name] = await x.read();
    for (const x of Object.values(results)) x.dispose();
    release();
    return read;
  },
});

/** A pass forward, or there and back: the output, and gradients of the leaves by their names. */
function pass(backward: boolean, output: string, leaves: Results, forward: () => Tensor, g: Array32): GpuJob {
  if (!backward) return job(() => noGrad(() => ({ [output]: forward() })));
  const cotangent = tensorOf(g);
  for (const x of Object.values(leaves)) x.requiresGrad = true;
  const make = (): Results => {
    const y = forward();
    y.backward(cotangent);
    const gradients = Object.entries(leaves).map(([name, x]) => [`d${name}`, x.grad as Tensor]);
    return { [output]: y, ...Object.fromEntries(gradients) };
  };
  return job(make, () => {
    for (const x of Object.values(leaves)) {
      x.grad?.dispose();
      x.grad = null;
    }
  });
}

function matmul({ backward }: MatmulTask, inputs: Inputs): GpuJob {
  const [a, b] = [tensorOf(inputs.a), tensorOf(inputs.b)];
  return pass(backward, "c", { a, b }, () => a.matmul(b), inputs.g);
}

function grouped({ sizes, backward }: GroupedTask, inputs: Inputs): GpuJob {
  const [x, w] = [tensorOf(inputs.x), tensorOf(inputs.w)];
  return pass(backward, "y", { x, w }, () => groupedMatmul(x, w, sizes), inputs.g);
}

function layer({ D, F, E, router, gelu, backward }: MoETask, inputs: Inputs): GpuJob {
  const route = router === "top2" ? topKRouter({ k: 2 }) : expertChoiceRouter({ capacityFactor: 2 });
  const activation = gelu === "tanh" ? "geluTanh" : "gelu";
  const moe = new MoE({ dim: D, hidden: F, numExperts: E, router: route, activation, rng: new Generator(1) });
  const [x, wr, w1, w2] = ["x", "wr", "w1", "w2"].map((name) => tensorOf(inputs[name]));
  moe.loadStateDict({ "router.weight": wr, "experts.w1": w1, "experts.w2": w2 });
  const leaves = { x, wr: moe.router.weight, w1: moe.experts.w1, w2: moe.experts.w2 };
  return pass(backward, "y", leaves, () => moe.forward(x).output, inputs.g);
}

function adamw({ lr, decay }: AdamTask, inputs: Inputs): GpuJob {
  const [p, g] = [tensorOf(inputs.p), tensorOf(inputs.g)];
  p.requiresGrad = true;
  const optimizer = new AdamW([p], { lr, weightDecay: decay });
  return job(() => {
    p.grad = g;
    optimizer.step();
    return { p: p.detach() };
  });
}

function launches(count: number, inputs: Inputs): GpuJob {
  const x = tensorOf(inputs.x);
  return job(() => {
    let y = x;
    for (let i = 0; i < count; i++) y = y.add(1);
    return { y };
  });
}

/** What it reads is all there is. */
function readback(inputs: Inputs): GpuJob {
  const x = tensorOf(inputs.x);
  const all = async (): Promise<Record<string, ArrayLike<number>>> => {
    const y = x.add(1);
    const read = await y.read();
    y.dispose();
    return { y: read };
  };
  return { once: async () => void (await all()), all };
}
