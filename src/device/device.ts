/** Which device ops run on: chosen at the first op, or by the user. */
import { checkInteger, checkOptions, rangeError, show, typeError } from "../errors.ts";
import type { RouteInfo, RouteName } from "../gpu/route.ts";
import { Engine, engineMemory } from "./simd.ts";
import { type Device, shared } from "./state.ts";

const names = ["auto", "loops", "simd", "gpu"] as const;
export type DeviceName = (typeof names)[number];

/** What runs the ops, and why it and nothing better. */
export interface DeviceInfo {
  /**
   * "loops": typed-array loops. "simd": WebAssembly with vectors of four floats, and loops for what is too small for it.
   * "gpu": gpu.js, and loops for what it cannot.
   */
  readonly name: "loops" | "simd" | "gpu";
  readonly threads: number;
  readonly why: string;
  /** On "gpu": by which route, on which adapter. */
  readonly gpu?: RouteInfo;
}

const MAX_THREADS = 64;
const loops = (why: string): Device => ({ name: "loops", threads: 1, why, engine: null });

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** SIMD on one thread, or the loops with the reason why not. */
function oneThread(why: string): Device {
  try {
    const engine = new Engine(engineMemory(false), null);
    engine.probe();
    return { name: "simd", threads: 1, why, engine };
  } catch (error) {
    return loops(`${why}; WebAssembly with SIMD does not run here: ${reasonOf(error)}`);
  }
}

/** The current device; the first question chooses it. Internal to run(). */
export function currentDevice(): Device {
  const state = shared();
  state.device ??= oneThread("the best device that needs no waiting");
  return state.device;
}

/** After a call: a pool that has failed is replaced by one thread. */
export function checkHealth(device: Device): void {
  const failure = device.engine?.failure ?? null;
  if (failure === null) return;
  device.engine?.stop();
  shared().device = oneThread(`ran on ${device.threads} threads until one failed: ${failure}`);
}

/**
 * Chooses where ops run from now on. Tensors that exist stay usable: every device computes on host tensors.
 *
 *   "auto"   the best there is: today "simd" where the platform has it, else "loops"
 *   "loops"  typed-array loops, everywhere
 *   "simd"   WebAssembly, vectors of four floats; `threads` (default 1) share the large kernels. Results are the same bits
 *            for any number of threads. Where SIMD or threads cannot be had the next best runs, and device() says why.
 *   "gpu"    gpu.js, which has to be installed beside: `npm install gpu.js@2.24.1`. The best route there is, or the one
 *            named by `route`; where there is none, the best host device. What is made there is read with `await x.read()`.
 *
 * Throws   TypeError for an unknown name or option, RangeError for threads other than 1 to 64, or more than 1 on "loops"
 */
export async function useDevice(
  name: DeviceName,
  options: { threads?: number | undefined; route?: RouteName | undefined } = {},
): Promise<DeviceInfo> {
  if (!names.includes(name)) throw typeError("useDevice", "name", show(name), names.map(show).join(", "));
  checkOptions("useDevice", options, ["threads", "route"]);
  const { threads = 1, route } = options;
  checkInteger("useDevice", "threads", threads, 1, MAX_THREADS);
  if (route !== undefined && name !== "gpu")
    throw typeError("useDevice", "route", show(route), "none", 'it is for "gpu"');
  if ((name === "loops" || name === "gpu") && threads > 1) {
    throw rangeError("useDevice", "threads", String(threads), "1", 'threads are for "simd"');
  }
  const before = shared().device;
  const same =
    before !== null && before.name === "simd" && before.threads === threads && (name === "auto" || name === "simd");
  if (!same) {
    const chosen =
      name === "loops"
        ? loops("chosen by useDevice")
        : name === "gpu"
          ? await (await import("../gpu/start.ts")).openGpu(route, oneThread)
          : threads > 1
            ? await (await import("./threads.ts")).openThreads(threads, oneThread)
            : oneThread(name === "auto" ? "the best device there is" : "chosen by useDevice");
    shared().device?.engine?.stop();
    shared().device = chosen;
  }
  return device();
}

/** What ops run on now, and why. */
export function device(): DeviceInfo {
  const { name, threads, why, queue } = currentDevice();
  return queue === undefined ? { name, threads, why } : { name, threads, why, gpu: queue.info };
}
