/** A program of Node that works on a GPU, closes it, and has nothing else to do: it has to end by itself. */
import { findPackages, provideWebGPU } from "../../bench/start/gpu.ts";
import { closeGpu, gpuCounts, useGpu } from "../../src/gpu/index.ts";
import { device, tensor } from "../../src/index.ts";

findPackages();
await provideWebGPU();
const info = await useGpu({ route: "webgpu" });
const x = tensor([1, 2]).add(1);
console.log(info.name, ...(await x.read()));
const unread = x.add(1);
await closeGpu();
await closeGpu();
const gone = await unread.read().then(String, (error: Error) => error.message);
const open = await useGpu({ route: "webgpu" });
console.log(gpuCounts()?.launches === 0 ? "anew" : "reused", ...(await tensor([3]).add(1).read()), open.gpu?.route);
await closeGpu();
console.log(gpuCounts(), device().name, gone);
