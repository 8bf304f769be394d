/**
 * Memory: does a long training hold more at its end than at its beginning, and what does one step of a large layer need?
 *
 *   npm run bench:memory -- [--steps N] [--device simd|loops]
 *
 * Prints heap, array buffers and WebAssembly memory after a collection, at ten points of the training of the main job's
 * top-2 model; then the most that a step of the reference layer (T = 1024, D = 128, F = 512, E = 8, top-2) has in use,
 * beside the tensors that it has to keep. Exit code 1 when memory grew by more than 5 % after the first tenth.
 */
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { shared } from "../src/device/state.ts";
import { AdamW, auxLoss, type DeviceName, Generator, MoE, randn, scope, topKRouter, useDevice } from "../src/index.ts";
import { batchOf, drawWindows, loadCorpus, windowsOf } from "./start/data.ts";
import { CharModel } from "./start/model.ts";

const { values } = parseArgs({
  options: { steps: { type: "string", default: "10000" }, device: { type: "string", default: "simd" } },
});
const steps = Number(values.steps);
if (!Number.isInteger(steps) || steps < 10) throw new RangeError(`--steps has ${values.steps}, expected at least 10`);

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const MiB = 2 ** 20;
const wasmBytes = (): number => shared().device?.engine?.capacity ?? 0;

/** What is in use once all that can be collected is: finalisation takes a turn or two. */
async function settled(): Promise<{ heap: number; buffers: number; wasm: number }> {
  for (let i = 0; i < 4; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return { heap: heapUsed, buffers: arrayBuffers, wasm: wasmBytes() };
}

async function training(): Promise<boolean> {
  const rng = new Generator(1);
  const corpus = loadCorpus(["eng", "fra"]);
  const seen = windowsOf(corpus, "train");
  const model = new CharModel({ variant: "top2", numCharacters: corpus.characters.length, numExperts: 8, rng });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-3 });
  console.log(`   step    heap MiB  buffers MiB  WebAssembly MiB`);
  let first = 0;
  let last = 0;
  for (let step = 1; step <= steps; step++) {
    const { contexts, targets } = batchOf(seen, drawWindows(seen, 128, rng));
    const { output, routings } = model.forward(contexts);
    optimizer.zeroGrad();
    output
      .crossEntropy(targets)
      .add(auxLoss(routings, { balance: 0.01 }))
      .backward();
    optimizer.step();
    if (step % Math.floor(steps / 10) !== 0) continue;
    const { heap, buffers, wasm } = await settled();
    const columns = [heap, buffers, wasm].map((x, i) => (x / MiB).toFixed(2).padStart([12, 13, 17][i]));
    console.log(`${String(step).padStart(7)}${columns.join("")}`);
    last = heap + buffers + wasm;
    if (first === 0) first = last;
  }
  console.log(`from the first tenth to the end: ${((100 * last) / first - 100).toFixed(2)} %`);
  return last <= 1.05 * first;
}

async function layer(): Promise<void> {
  const [T, D, F, E, K] = [1024, 128, 512, 8, 2];
  const rng = new Generator(1);
  const moe = new MoE({ dim: D, hidden: F, numExperts: E, router: topKRouter({ k: K }), rng });
  const x = randn([T, D], { rng, requiresGrad: true });
  const before = await settled();
  let most = 0;
  const look = (): void => {
    const { arrayBuffers } = process.memoryUsage();
    most = Math.max(most, arrayBuffers - before.buffers + wasmBytes());
  };
  for (let step = 0; step < 20; step++) {
    scope(() => {
      moe.zeroGrad();
      x.grad = null;
      const { output } = moe.forward(x);
      look();
      output.square().sum().backward();
      look();
    });
  }
  // Weights and input with their gradients; for the backward pass the slots' inputs, both sides of the activation, the
  // experts' outputs and the output; and the cotangents of the two widest, which are there at one time.
  const floats = 2 * (2 * E * D * F + D * E + T * D) + K * T * (2 * D + 2 * F) + T * D + 2 * K * T * F;
  console.log(
    `reference layer: most in use ${(most / MiB).toFixed(1)} MiB, tensors that have to be kept ${((4 * floats) / MiB).toFixed(1)} MiB`,
  );
}

console.log(await useDevice(values.device as DeviceName));
const stays = await training();
await layer();
process.exitCode = stays ? 0 : 1;
