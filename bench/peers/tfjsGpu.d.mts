import type { GpuSide } from "../gpu/side.ts";
export function open(backend: "webgl" | "webgpu"): Promise<GpuSide>;
