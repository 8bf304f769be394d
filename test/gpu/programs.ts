/** Programs on the GPU that look at the queue: each returns what it found, which the runner compares. */

import type { Kernel } from "../../src/device/kernel.ts";
import { run } from "../../src/device/run.ts";
import { gpuCounts } from "../../src/gpu/index.ts";
import {
  AdamW,
  auxLoss,
  crossEntropy,
  device,
  expertChoiceRouter,
  Generator,
  gshardRouter,
  layerNorm,
  MoE,
  randn,
  scope,
  switchRouter,
  Tensor,
  Transformer,
  tensor,
  topKRouter,
  useDevice,
} from "../../src/index.ts";
import { driver, losers } from "./driver.ts";
import { longPrograms } from "./long.ts";
import { counted, list, messageOf, sleep, thrown } from "./parts.ts";
import { usePrograms } from "./uses.ts";
import { vectorFaults, vectorNames } from "./vectors.ts";
import { wrongPrograms } from "./wrong.ts";

const squares: Kernel["loops"] = (out, [x]) => out.set(x.map((v: number) => v * v));
const formless: Kernel = { name: "formless", reference: squares, loops: squares };

const routers = {
  token: () => topKRouter({ k: 2 }),
  capacity: () => topKRouter({ k: 2, capacityFactor: 1 }),
  switch: () => switchRouter({}),
  gshard: () => gshardRouter({}),
  expert: () => expertChoiceRouter({ capacityFactor: 2 }),
};

/** A model, and a step of its training in a scope that gives the loss. */
function stepper(): () => Tensor {
  const rng = new Generator(3);
  const moe = new MoE({ dim: 6, hidden: 10, numExperts: 4, router: topKRouter({ k: 2 }), rng: rng.split("w") });
  const x = randn([9, 6], { rng });
  const optimizer = new AdamW(moe.parameters(), { lr: 1e-2 });
  return () =>
    scope(() => {
      optimizer.zeroGrad();
      const { output, routing } = moe.forward(x);
      const loss = output
        .square()
        .mean()
        .add(auxLoss([routing], { balance: 0.01 }));
      loss.backward();
      optimizer.step();
      return loss;
    });
}

/** Two steps of a small MoE layer on the current device, and after each the loss and a parameter. */
async function train(name: keyof typeof routers): Promise<number[]> {
  const rng = new Generator(3);
  const moe = new MoE({ dim: 6, hidden: 10, numExperts: 4, bias: true, router: routers[name](), rng: rng.split("w") });
  const head = randn([6, 5], { rng, requiresGrad: true });
  const x = randn([9, 6], { rng });
  const target = tensor(Int32Array.from({ length: 9 }, (_, i) => i % 5));
  const optimizer = new AdamW([...moe.parameters(), head], { lr: 1e-2 });
  const found: number[] = [];
  for (let step = 0; step < 2; step++) {
    optimizer.zeroGrad();
    const { output, routing } = moe.forward(x, { rng: new Generator(step) });
    const loss = crossEntropy(layerNorm(output).matmul(head), target).add(
      auxLoss([routing], { balance: 0.01, z: 1e-3 }),
    );
    loss.backward();
    optimizer.step();
    found.push(...(await list(loss)));
  }
  return found;
}

/** Steps of a small transformer with MoE layers on the current device, and the loss after each. */
async function trainTransformer(steps: number): Promise<number[]> {
  const rng = new Generator(3);
  const [vocab, length] = [11, 8];
  const router = topKRouter({ k: 2, capacityFactor: 1.25 });
  const moe = { numExperts: 4, router, layers: "all" as const };
  const model = new Transformer({ vocab, dim: 16, numHeads: 2, numLayers: 2, maxLength: length, moe, rng });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-2 });
  const found: number[] = [];
  for (let step = 0; step < steps; step++) {
    const text = (start: number): Tensor =>
      tensor(Int32Array.from({ length: 3 * length }, (_, i) => ((i + start) ** 2 + step) % vocab));
    const [batch, target] = [text(0).reshape([3, length]), text(1)];
    const loss = scope(() => {
      optimizer.zeroGrad();
      const { output, routings } = model.forward(batch);
      const loss = crossEntropy(output.reshape([3 * length, vocab]), target).add(auxLoss(routings, { balance: 0.01 }));
      loss.backward();
      optimizer.step();
      return loss;
    });
    found.push(...(await list(loss)));
    loss.dispose();
  }
  return found;
}

/** The entries that have grown, and by how much. */
const grown = (before: Readonly<Record<string, number>> = {}, after: Readonly<Record<string, number>> = {}): string[] =>
  Object.entries(after).flatMap(([name, n]) => (n > (before[name] ?? 0) ? [`${name} ${n - (before[name] ?? 0)}`] : []));

/** The losses of a training on the GPU and on the loops, and what the queue had to read. */
async function compared(training: () => Promise<number[]>): Promise<unknown> {
  const before = gpuCounts();
  const gpu = await counted(training);
  const after = gpuCounts();
  const byLoops = grown(before?.byLoops, after?.byLoops);
  const checked = grown(before?.checked, after?.checked);
  await useDevice("loops");
  return { ...gpu, byLoops, checked, loops: await training() };
}

const trainings = Object.fromEntries(
  (Object.keys(routers) as (keyof typeof routers)[]).map((name) => [
    `train ${name}`,
    () => compared(() => train(name)),
  ]),
);

export const programs: Readonly<Record<string, () => Promise<unknown>>> = {
  ...trainings,
  ...longPrograms,
  ...usePrograms,
  ...wrongPrograms,
  /** What PyTorch gives, within its tolerance, and the same bits in a second run. */
  "PyTorch vectors": () =>
    counted(async () => {
      const faults: string[] = [];
      for (const name of vectorNames) faults.push(...(await vectorFaults(name)));
      return faults;
    }),
  "train transformer": () => compared(() => trainTransformer(4)),
  /** How many textures or buffers live after each of 30 steps, counted at the driver's functions. */
  memory: async () => {
    const step = stepper();
    const live: number[] = [];
    for (let i = 0; i < 30; i++) {
      const loss = step();
      await loss.read();
      loss.dispose();
      live.push(driver.live);
    }
    return live;
  },
  /** Launches as the driver counts them are those that the queue counts. */
  launched: async () => {
    const [before, ours] = [driver.launches, gpuCounts()?.launches ?? 0];
    const y = tensor([
      [1, 2],
      [3, 4],
    ])
      .softmax()
      .add(1);
    await y.read();
    return [driver.launches - before, (gpuCounts()?.launches ?? 0) - ours];
  },
  /** Twenty ops, one read: one readback. */
  chain: () =>
    counted(async () => {
      let x = tensor([1, 2, 3, 4]);
      for (let i = 0; i < 10; i++) x = x.add(1).mul(2);
      return list(x);
    }),
  /** A kernel without a form runs inside the queue, and its result goes back to the device. */
  fallback: () =>
    counted(async () => {
      const squares = run(formless, [tensor([1, 2, 3]).add(1)], {}, [3], "float32");
      return list(new Tensor(squares).mul(2));
    }),
  /** float64 is the host's: exact, and read from the queue when it comes from there. */
  float64: () => counted(async () => list(tensor([1, 2, 4]).div(3).to("float64").mul(3))),
  /** Integers beyond 2²⁴ are not counted by floats. */
  largeIntegers: () => counted(async () => list(tensor(Int32Array.of(2 ** 30, 5)).add(tensor(Int32Array.of(1, 1))))),
  gradients: async () => {
    const x = tensor(
      [
        [1, 2],
        [3, 4],
      ],
      { requiresGrad: true },
    );
    const w = tensor(
      [
        [0.5, -1],
        [2, 0.25],
      ],
      { requiresGrad: true },
    );
    return counted(async () => {
      x.matmul(w).gelu().softmax().square().sum().backward();
      return [await list(x.grad as Tensor), await list(w.grad as Tensor)];
    });
  },
  /** The data of a device's tensor is not there to be had at once. */
  data: async () => thrown(() => tensor([1, 2]).add(1).data),
  /** An index that is out of range is refused at the call when it is on the host … */
  badIndex: async () =>
    thrown(() =>
      tensor([1, 2])
        .add(1)
        .indexSelect(0, tensor(Int32Array.of(7))),
    ),
  /** … and at the read when it was made on the device; what does not depend on it is not touched. */
  badDeviceIndex: async () => {
    const x = tensor([1, 2, 3, 4]).add(0);
    const index = x.topk(4).indices;
    const y = tensor([1, 2]).add(1);
    const bad = y.indexSelect(0, index);
    return [await messageOf(bad.mul(2).read()), await list(y), await list(index)];
  },
  nan: async () =>
    messageOf(
      tensor([1, 2, 3])
        .add(tensor([0, Number.NaN, 0]))
        .topk(3)
        .indices.read(),
    ),
  disposed: async () => {
    const x = tensor([1, 2]).add(1);
    x.dispose();
    return [thrown(() => x.add(1)), await messageOf(x.read())];
  },
  scoped: async () => {
    let inner: Tensor | undefined;
    const kept = scope(() => {
      inner = tensor([1, 2]).add(1);
      return inner.mul(3);
    });
    return [await list(kept), await messageOf((inner as Tensor).read())];
  },
  empty: () => counted(async () => [await list(tensor([]).add(1)), await list(tensor([]).add(1).sum())]),
  /** What was made on the device stays readable when another one runs. */
  switched: async () => {
    const x = tensor([1, 2]).add(1);
    const { name } = await useDevice("loops");
    return [name, await list(x), thrown(() => x.add(1))];
  },
  /** A lost device is one clear error, and useDevice("gpu") starts anew from the host's copies. */
  lost: async () => {
    const info = device();
    const x = tensor([1, 2]);
    const y = x.add(1);
    await y.mul(1).read();
    losers[losers.length - 1]();
    await sleep(50);
    const messages = [await messageOf(y.add(1).read()), await messageOf(y.read())];
    const next = await useDevice("gpu", { route: info.gpu?.route });
    return [messages, next.name, next.gpu?.route === info.gpu?.route, await list(x.add(2)), thrown(() => y.add(1))];
  },
  /** More elements than one row of the device's outputs. */
  folded: async () => {
    const n = 5 * 52_431;
    const x = tensor(Float32Array.from({ length: n }, (_, i) => i % 1000));
    const y = await x
      .add(1)
      .reshape([5, n / 5])
      .transpose()
      .read();
    let wrong = 0;
    for (let i = 0; i < n; i++) if (y[i] !== ((((i % 5) * n) / 5 + Math.floor(i / 5)) % 1000) + 1) wrong++;
    return [y.length, wrong];
  },
};
