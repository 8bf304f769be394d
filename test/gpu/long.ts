/** Long trainings: 2,000 steps whose memory is looked at, and 200 whose losses are compared with the loops'. */
import {
  AdamW,
  auxLoss,
  Generator,
  MoE,
  mseLoss,
  randn,
  SGD,
  scope,
  type Tensor,
  topKRouter,
  useDevice,
} from "../../src/index.ts";
import { driver } from "./driver.ts";
import { counted } from "./parts.ts";

interface Sizes {
  readonly tokens: number;
  readonly dim: number;
  readonly hidden: number;
  readonly numExperts: number;
  readonly k: number;
}

/** A layer that learns what another one does: a training step in a scope, which gives the loss. */
function learner({ tokens, dim, hidden, numExperts, k }: Sizes): () => Tensor {
  const rng = new Generator(7);
  const make = (name: string): MoE =>
    new MoE({ dim, hidden, numExperts, router: topKRouter({ k }), rng: rng.split(name) });
  const [student, teacher] = [make("student"), make("teacher")];
  const x = randn([tokens, dim], { rng });
  const target = teacher.forward(x).output.detach();
  const optimizer = new AdamW(student.parameters(), { lr: 1e-2 });
  return () =>
    scope(() => {
      optimizer.zeroGrad();
      const { output, routing } = student.forward(x);
      const loss = mseLoss(output, target).add(auxLoss([routing], { balance: 0.01 }));
      loss.backward();
      optimizer.step();
      return loss;
    });
}

/** A step as cheap as a step of a MoE layer gets: its launches take the time, whatever the sizes. */
function cheapStep(): () => Tensor {
  const rng = new Generator(7);
  const router = topKRouter({ k: 1 });
  const moe = new MoE({ dim: 2, hidden: 2, numExperts: 2, activation: "relu", router, rng });
  const x = randn([3, 2], { rng });
  const optimizer = new SGD(moe.parameters(), { lr: 0.01 });
  return () =>
    scope(() => {
      optimizer.zeroGrad();
      const loss = moe.forward(x).output.square().mean();
      loss.backward();
      optimizer.step();
      return loss;
    });
}

const platform = globalThis as unknown as {
  gc?: () => void;
  performance: { memory?: { usedJSHeapSize: number } };
  process?: { memoryUsage(): { heapUsed: number } };
};

/** Bytes of live objects, where the platform says so; the browser is started with what makes it exact. */
function heap(): number | null {
  platform.gc?.();
  const bytes = platform.performance.memory?.usedJSHeapSize ?? platform.process?.memoryUsage().heapUsed;
  return platform.gc === undefined || bytes === undefined ? null : bytes;
}

export const longPrograms = {
  /**
   * Live textures or buffers, and bytes of objects, after 100, 1,000 and 2,000 steps, and how often 20 of the later steps
   * have added to the former: the collector alone could hide that, since it comes now and then.
   */
  "memory of 2,000 steps": async () => {
    const step = cheapStep();
    const found: { live: number; bytes: number | null }[] = [];
    const before = driver.launches;
    let [live, rises] = [0, 0];
    for (let i = 1; i <= 2000; i++) {
      const loss = step();
      if (i % 20 === 0) {
        await loss.read();
        if (i > 100 && driver.live > live) rises++;
        live = driver.live;
      }
      loss.dispose();
      if ([100, 1000, 2000].includes(i)) found.push({ live, bytes: heap() });
    }
    return { found, rises, launches: driver.launches - before };
  },
  /** A sum over all elements is reshaped at its end, and can be given back all the same. */
  "memory of sums": async () => {
    const x = randn([2, 3], { rng: new Generator(1) });
    const live: number[] = [];
    for (let i = 0; i < 10; i++) {
      const y = scope(() => x.square().sum());
      await y.read();
      live.push(driver.live);
      y.dispose();
    }
    return live;
  },
  /** The losses of 200 steps on the GPU and on the loops. */
  "curve of 200 steps": async () => {
    const sizes = { tokens: 12, dim: 6, hidden: 8, numExperts: 4, k: 2 };
    const train = async (): Promise<number[]> => {
      const step = learner(sizes);
      const losses: number[] = [];
      for (let i = 0; i < 200; i++) {
        const loss = step();
        losses.push((await loss.read())[0]);
        loss.dispose();
      }
      return losses;
    };
    const gpu = await counted(train);
    await useDevice("loops");
    return { ...gpu, loops: await train() };
  },
};
