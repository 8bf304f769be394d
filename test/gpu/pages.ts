/** Programs for pages of their own, which open the device themselves: what pages.gpu.ts runs where something is missing. */
import { gpuCounts } from "../../src/gpu/index.ts";
import { device, Generator, MoE, randn, tensor, useDevice } from "../../src/index.ts";
import { driver, losers } from "./driver.ts";
import { list, messageOf, thrown } from "./parts.ts";

/** A gradient of a layer, which is the same on every device. */
async function gradient(): Promise<number[]> {
  const rng = new Generator(4);
  const moe = new MoE({ dim: 3, hidden: 4, numExperts: 3, rng: rng.split("moe") });
  const x = randn([5, 3], { rng }).detach();
  x.requiresGrad = true;
  moe.forward(x).output.square().sum().backward();
  return x.grad === null ? [] : list(x.grad);
}

export const pagePrograms: Readonly<Record<string, () => Promise<unknown>>> = {
  /** Asks for a GPU and computes on what it gets. */
  "any device": async () => {
    const { name, why, gpu } = await useDevice("gpu");
    const found = await gradient();
    const { launches, counts } = { launches: driver.launches, counts: gpuCounts() };
    await useDevice("loops");
    return { name, why, route: gpu?.route, found, loops: await gradient(), launches, counts };
  },
  /** Arrays that fit into small textures, and such that do not. */
  "small textures": async () => {
    await useDevice("gpu", { route: "webgl2" });
    const [small, large] = [2, 5000].map((n) => tensor(new Float32Array(n).fill(2)).add(1));
    return [await list(small), await messageOf(large.read()), await list(small.add(1))];
  },
  /** One route after another: what the first has made is lost with it, and says so. */
  "two routes": async () => {
    await useDevice("gpu", { route: "webgl2" });
    const y = tensor([1, 2]).add(1);
    const early = await list(y);
    const unread = tensor([1, 2]).add(2);
    const { why } = await useDevice("gpu", { route: "webgl" });
    const messages = [thrown(() => unread.add(1)), await messageOf(unread.read()), thrown(() => y.add(1))];
    return { why, early, messages, now: await list(tensor([1, 2]).add(3)) };
  },
  /** What a first call opens … */
  "one call": async () => {
    const { gpu } = await useDevice("gpu", { route: "webgl2" });
    return { route: gpu?.route, contexts: losers.length, found: await list(tensor([1]).add(1)) };
  },
  /** … and two at once. */
  "two calls at once": async () => {
    const [{ gpu }] = await Promise.all([1, 2].map(() => useDevice("gpu", { route: "webgl2" })));
    return { route: gpu?.route, contexts: losers.length, found: await list(tensor([1]).add(1)) };
  },
  "two devices at once": async () => {
    await Promise.all([useDevice("gpu"), useDevice("loops")]);
    return { name: device().name, found: await list(tensor([1]).add(1)) };
  },
};
