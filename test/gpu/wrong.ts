/** Wrong use, and the edges of use: each program gives results of the CPU or the message of one clear error. */
import { gpuCounts } from "../../src/gpu/index.ts";
import {
  concat,
  device,
  Generator,
  groupedMatmul,
  MoE,
  randn,
  SGD,
  scope,
  type Tensor,
  tensor,
  topKRouter,
  useDevice,
  zeros,
} from "../../src/index.ts";
import { driver, losers } from "./driver.ts";
import { counted, list, messageOf, sleep, thrown } from "./parts.ts";

/** The most elements that the device counts. */
const MOST = 2 ** 24;

const onDevice = (...numbers: number[]): Tensor => tensor(numbers).add(0);

/** Steps of SGD on Σ (p·x)², in scopes. */
function descent(start: readonly number[]): { p: Tensor; step: () => Tensor } {
  const p = tensor([...start], { requiresGrad: true });
  const x = tensor([1, -2, 0.5]);
  const optimizer = new SGD([p], { lr: 0.05 });
  const step = (): Tensor =>
    scope(() => {
      optimizer.zeroGrad();
      const loss = p.mul(x).square().sum();
      loss.backward();
      optimizer.step();
      return loss;
    });
  return { p, step };
}

export const wrongPrograms = {
  /** More elements than the device counts, all on the host: the loops run at the call. */
  "wrong: too large for an upload": () =>
    counted(async () => {
      const y = await tensor(new Float32Array(MOST + 1).fill(2))
        .add(1)
        .read();
      return [y.length, y[0], y[MOST]];
    }),
  /** More elements than the device counts, made of what is there: the loops run in the queue. */
  "wrong: too large for the device": () =>
    counted(async () => {
      const half = zeros([MOST / 2 + 8]).add(1);
      const y = await concat([half, half]).read();
      return [y.length, y[0], y[y.length - 1]];
    }),
  /** Steps until the device is lost: an error at the read; on a new one it goes on from what was read to the host. */
  "wrong: lost between steps": async () => {
    const route = device().gpu?.route;
    const [losses, start] = [[] as number[], [1, 2, 3]];
    let { p, step } = descent(start);
    const take = async (): Promise<void> => {
      losses.push(...(await list(step())));
    };
    await take();
    await take();
    const kept = await list(p);
    losers[losers.length - 1]();
    await sleep(50);
    const messages = [await messageOf(take()), await messageOf(p.read())];
    const { name } = await useDevice("gpu", { route });
    messages.push(await messageOf(take()));
    ({ p, step } = descent(kept));
    await take();
    await take();
    await useDevice("loops");
    const plain = descent(start);
    const loops = Array.from({ length: 4 }, () => plain.step().item());
    return { messages, name, losses, loops };
  },
  "wrong: read after dispose": async () => {
    const x = onDevice(1, 2);
    const early = x.read();
    x.dispose();
    x.dispose();
    const refused = thrown(() => x.mul(2));
    return [Array.from(await early), refused, await messageOf(x.read()), await list(onDevice(3))];
  },
  /** Two calls at once, and the CPU in between: each time there is one device, and it computes. */
  "wrong: useDevice twice": async () => {
    const route = device().gpu?.route;
    const x = onDevice(1, 2);
    const infos = await Promise.all([useDevice("gpu", { route }), useDevice("gpu", { route })]);
    const y = x.add(1);
    await useDevice("loops");
    const z = tensor([5]).add(1).item();
    const again = await useDevice("gpu", { route });
    return [infos.map(({ name }) => name), await list(y), z, again.gpu?.route === route, await list(x.add(2))];
  },
  "wrong: int32": () =>
    counted(async () => {
      const places = onDevice(3, 1, 2).topk(3).indices;
      const integers = tensor(Int32Array.of(7, -8, 9));
      const results = [places.add(1), places.add(integers), integers.sum(), places.to("float32").div(2)];
      const read = await Promise.all(results.map((x) => x.read()));
      return [read.map((x) => [x.constructor.name, ...x]), thrown(() => places.add(onDevice(1, 2, 3)))];
    }),
  "wrong: float64": () =>
    counted(async () => {
      const wide = tensor(Float64Array.of(1 / 3, 1e300)).mul(3);
      const narrow = onDevice(1, 2);
      const read = await Promise.all([wide, narrow.to("float64").div(3)].map((x) => x.read()));
      return [read.map((x) => [x.constructor.name, ...x]), thrown(() => narrow.add(wide))];
    }),
  /** Nothing to launch, forward or backward; what follows it runs. */
  "wrong: empty tensors": async () => {
    const w = onDevice(1, 2, 3, 4, 5, 6).reshape([3, 2]).detach();
    w.requiresGrad = true;
    const nobody = zeros([0, 3]).add(1);
    const product = nobody.matmul(w);
    product.sum().backward();
    const moe = new MoE({ dim: 3, hidden: 4, numExperts: 2, router: topKRouter({ k: 1 }), rng: new Generator(1) });
    const { output, routing } = moe.forward(nobody);
    const stacked = w.detach().reshape([1, 3, 2]);
    const found = [product, w.grad as Tensor, output, routing.losses.balance, zeros([0, 4]).add(1).softmax()];
    found.push(groupedMatmul(nobody, stacked, [0]), zeros([3, 0]).add(1).sum({ dim: 1 }), onDevice(1).add(1));
    const lists: number[][] = [];
    for (const x of found) lists.push(await list(x));
    return [found.map(({ shape }) => shape), lists];
  },
  /** A read that starts in a scope is answered, though what it reads is freed before it is awaited. */
  "wrong: reading in a scope": async () => {
    const x = onDevice(1, 2);
    let inside: Promise<unknown> = Promise.resolve();
    const kept = scope(() => {
      const y = x.mul(3);
      inside = list(y);
      return y.add(1);
    });
    const promised = thrown(() => scope(() => list(x)));
    return [await inside, await list(kept), promised];
  },
  /** An error in a scope comes out of it, what was made there is freed, and the next one works. */
  "wrong: an error in a scope": async () => {
    const x = onDevice(1, 2);
    const fail = (): string =>
      thrown(() =>
        scope(() => {
          x.mul(3)
            .add(1)
            .add(tensor([1, 2, 3]));
        }),
      );
    const message = fail();
    await list(x);
    const before = driver.live;
    for (let i = 0; i < 20; i++) fail();
    await list(x);
    const left = driver.live - before;
    return [message, await list(scope(() => x.mul(3))), left];
  },
  /** What fails and is never read disturbs nobody; several readers get the same error. */
  "wrong: errors that nobody reads": async () => {
    const index = onDevice(4, 3, 2, 1).argsort();
    const bad = (): Tensor => onDevice(1, 2).indexSelect(0, index);
    bad().mul(2).sum();
    const read = bad();
    const errors = await Promise.all([1, 2].map(() => read.read().catch((error: unknown) => error)));
    await sleep(20);
    return [errors[0] === errors[1], (errors[0] as Error).message, await list(onDevice(5))];
  },
  /** Errors of shape and dtype are thrown at the call, before anything is launched. */
  "wrong: errors at the call": () =>
    counted(async () => {
      const x = tensor([1, 2]);
      return [
        thrown(() => x.add(tensor([1, 2, 3]))),
        thrown(() => x.reshape([3])),
        thrown(() => x.indexSelect(0, tensor([0.5]))),
      ];
    }),
  /** Each read is an array of its own. */
  "wrong: writing into what was read": async () => {
    const x = onDevice(1, 2);
    const first = await x.read();
    first[0] = 99;
    return [await list(x), await list(x.add(1))];
  },
  /**
   * Outside of a scope, in a loop that waits for nothing but reads: the collector gives back what nobody holds, so the
   * number of textures or buffers has a bound. How many tensors each read leaves behind: 20.
   */
  "memory without a scope": async () => {
    const { gc } = globalThis as { gc?: () => void };
    const x = randn([8], { rng: new Generator(1) });
    const live: number[] = [];
    for (let i = 1; i <= 60; i++) {
      let y = x;
      for (let j = 0; j < 20; j++) y = y.add(1);
      await y.read();
      gc?.();
      live.push(driver.live);
    }
    return { most: Math.max(...live), made: gpuCounts()?.launches };
  },
};
