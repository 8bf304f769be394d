/** useDevice and device(): what runs, why, and that results do not depend on the number of threads. */
import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, test, vi } from "vitest";
import { platform } from "../../src/device/platform.ts";
import { shared } from "../../src/device/state.ts";
import {
  type DeviceName,
  device,
  expertChoiceRouter,
  Generator,
  MoE,
  randn,
  type Tensor,
  topKRouter,
  useDevice,
} from "../../src/index.ts";

afterEach(async () => {
  vi.unstubAllGlobals();
  await useDevice("loops");
  await useDevice("auto");
});

/** Output, routing and gradients of a MoE layer that is large enough for threads. */
function trained(): number[] {
  const rng = new Generator(7);
  const x = randn([300, 64], { rng, requiresGrad: true });
  return [topKRouter({ k: 2 }), expertChoiceRouter({ capacityFactor: 2 })].flatMap((router) => {
    const moe = new MoE({ dim: 64, hidden: 160, numExperts: 5, bias: true, router, rng: rng.split("w") });
    x.grad = null;
    const { output, routing } = moe.forward(x);
    output.square().sum().backward();
    const gradients = [x, ...moe.parameters()].flatMap((p) => [...(p.grad as Tensor).data]);
    return [...output.data, ...routing.offsets.data, ...gradients];
  });
}

describe("useDevice", () => {
  test("before any call the best device that needs no waiting runs", () => {
    shared().device = null;
    expect(device()).toEqual({ name: "simd", threads: 1, why: "the best device that needs no waiting" });
  });

  test("says what it chose", async () => {
    expect(await useDevice("loops")).toEqual({ name: "loops", threads: 1, why: "chosen by useDevice" });
    expect(device().name).toBe("loops");
    expect(await useDevice("simd")).toEqual({ name: "simd", threads: 1, why: "chosen by useDevice" });
    expect(await useDevice("simd", { threads: 2 })).toEqual({
      name: "simd",
      threads: 2,
      why: "chosen by useDevice",
    });
  });

  test("gives the same bits on one, two and three threads", async () => {
    await useDevice("simd");
    const one = trained();
    for (const threads of [2, 3]) {
      expect((await useDevice("simd", { threads })).threads).toBe(threads);
      expect(trained()).toEqual(one);
      expect(trained()).toEqual(one);
    }
  });

  test("agrees with the loops", async () => {
    await useDevice("loops");
    const loops = trained();
    await useDevice("simd");
    const simd = trained();
    const scale = loops.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    expect(simd.length).toBe(loops.length);
    for (const [i, x] of simd.entries()) expect(Math.abs(x - loops[i])).toBeLessThanOrEqual(2e-6 * scale);
  });

  test("tensors live on when the device changes", async () => {
    await useDevice("simd", { threads: 2 });
    const x = randn([64, 64], { rng: new Generator(1) });
    const y = x.matmul(x);
    await useDevice("loops");
    const z = y.add(1);
    await useDevice("simd");
    expect(z.sub(1).sub(y).abs().max().item()).toBeLessThan(1e-5);
  });

  test.each([
    ["no WebAssembly", { WebAssembly: undefined }, "there is no WebAssembly"],
    [
      "a content security policy that forbids it",
      {
        WebAssembly: {
          Memory: platform.WebAssembly?.Memory,
          Instance: platform.WebAssembly?.Instance,
          Module: class {
            constructor() {
              throw new Error("Refused to compile: 'wasm-unsafe-eval' is not allowed");
            }
          },
        },
      },
      "Refused to compile: 'wasm-unsafe-eval' is not allowed",
    ],
  ])("runs the loops and says why, with %s", async (_, globals, reason) => {
    await useDevice("loops");
    for (const [name, value] of Object.entries(globals)) vi.stubGlobal(name, value);
    const why = `chosen by useDevice; WebAssembly with SIMD does not run here: ${reason}`;
    expect(await useDevice("simd")).toEqual({ name: "loops", threads: 1, why });
    const x = randn([80, 80], { rng: new Generator(1) });
    expect(x.matmul(x).data.every(Number.isFinite)).toBe(true);
  });

  test.each([
    ["no SharedArrayBuffer", { SharedArrayBuffer: undefined }, /no SharedArrayBuffer/],
    ["a page, which must not wait", { document: {} }, /a page must not wait/],
  ])("runs on one thread and says why, with %s", async (_, globals, reason) => {
    for (const [name, value] of Object.entries(globals)) vi.stubGlobal(name, value);
    const chosen = await useDevice("simd", { threads: 2 });
    expect(chosen).toMatchObject({ name: "simd", threads: 1 });
    expect(chosen.why).toMatch(/^asked for 2 threads, runs on one: /);
    expect(chosen.why).toMatch(reason);
  });

  test("goes on with one thread when a worker dies, and says so", async () => {
    await useDevice("simd");
    const one = trained();
    await useDevice("simd", { threads: 2 });
    expect(trained()).toEqual(one);
    shared().device?.engine?.stop();
    // A worker that is gone leaves all calls to this thread, at first without notice.
    expect(trained()).toEqual(one);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(trained()).toEqual(one);
    const why = "ran on 2 threads until one failed: a worker ended with code 1";
    expect(device()).toEqual({ name: "simd", threads: 1, why });
  });

  test("never keeps a program alive", () => {
    const program = `
      import { randn, useDevice } from ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).href)};
      const { threads } = await useDevice("simd", { threads: 2 });
      const x = randn([200, 200]);
      console.log(threads, x.matmul(x).shape.join());
    `;
    const args = ["--import", "tsx", "--input-type=module", "-e", program];
    const { stdout, status } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 30_000 });
    expect([stdout.trim(), status]).toEqual(["2 200,200", 0]);
  });

  test.each<[() => Promise<unknown>, Error]>([
    [
      () => useDevice("cuda" as DeviceName),
      new TypeError('useDevice: name has "cuda", expected "auto", "loops", "simd", "gpu"'),
    ],
    [
      () => useDevice("simd", { threads: 0 }),
      new RangeError("useDevice: threads has 0, expected an integer from 1 to 64"),
    ],
    [
      () => useDevice("loops", { threads: 2 }),
      new RangeError('useDevice: threads has 2, expected 1 (threads are for "simd")'),
    ],
    [
      () => useDevice("simd", { thread: 2 } as object),
      new TypeError('useDevice: options has the name "thread", expected threads, route'),
    ],
  ])("refuses what it cannot do: %s", async (call, error) => {
    const before = device();
    await expect(call()).rejects.toThrow(error);
    expect(device()).toEqual(before);
  });
});
