/**
 * moegrad/gpu: the GPU device in numbers, and whether it computes what the loops do.
 *
 * Ops run on a GPU after `await useDevice("gpu")`, which loads what it needs; nothing here has to be imported for that.
 */
import { type DeviceInfo, useDevice } from "../device/device.ts";
import { shared } from "../device/state.ts";
import type { Agreement } from "./agreement.ts";
import type { GpuCounts } from "./queue.ts";
import type { RouteName } from "./route.ts";

export type { Agreement, KernelAgreement } from "./agreement.ts";
export type { GpuCounts } from "./queue.ts";
export type { RouteInfo, RouteName } from "./route.ts";

/** `useDevice("gpu")`, or with a route that one alone. */
export const useGpu = (options: { route?: RouteName | undefined } = {}): Promise<DeviceInfo> =>
  useDevice("gpu", options);

/**
 * Ends the GPU device when all that was called is done: from then on the CPU runs, and what was on the GPU alone is gone. In
 * Node, where an open WebGPU device keeps the process alive, this lets a program end. Without a GPU it does nothing.
 */
export async function closeGpu(): Promise<void> {
  const state = shared();
  const queue = state.gpu;
  if (queue === null) return;
  if (state.device?.queue === queue) await useDevice("auto");
  await queue.close();
  if (state.gpu === queue) state.gpu = null;
}

/** Launches, uploads, readbacks and fallbacks of the GPU device so far; null when none is open. */
export function gpuCounts(): GpuCounts | null {
  return shared().gpu?.counts ?? null;
}

/**
 * Runs cases of every kernel on the device in use and compares them with the typed-array loops. `text` is for a bug report:
 *
 *   console.log((await agreement()).text);
 *
 * On "simd" that is its vector forms, on "loops" the loops beside the reference forms. A difference counts as a share of the
 * largest number, or of the terms where they cancel; the bound of each kernel follows from its Error line, and none is above
 * 2e-5.
 */
export async function agreement(): Promise<Agreement> {
  return (await import("./agreement.ts")).agreement();
}
