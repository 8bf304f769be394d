/**
 * moegrad/gpu: the GPU device in numbers.
 *
 * Ops run on a GPU after `await useDevice("gpu")`, which loads what it needs; nothing here has to be imported for that.
 */
import { type DeviceInfo, useDevice } from "../device/device.ts";
import { shared } from "../device/state.ts";
import type { GpuCounts } from "./queue.ts";
import type { RouteName } from "./route.ts";

export type { GpuCounts } from "./queue.ts";
export type { RouteInfo, RouteName } from "./route.ts";

/** `useDevice("gpu")`, or with a route that one alone. */
export const useGpu = (options: { route?: RouteName | undefined } = {}): Promise<DeviceInfo> =>
  useDevice("gpu", options);

/** Launches, uploads, readbacks and fallbacks of the GPU device so far; null when no GPU was ever in use. */
export function gpuCounts(): GpuCounts | null {
  return shared().gpu?.counts ?? null;
}
