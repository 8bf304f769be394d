/**
 * What all copies of the library in one process share.
 *
 * A program can hold two copies (an ESM and a CJS one, say). Tensors of both meet in one graph, so recording must be
 * switched for both at once: the state hangs at a registered symbol instead of living in a module.
 */
import type { Queue } from "../gpu/queue.ts";
import type { Generator, GeneratorState } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import type { Flat } from "./kernel.ts";
import type { Engine } from "./simd.ts";
import type { Storage } from "./storage.ts";

/** Where ops run and why. */
export interface Device {
  readonly name: "loops" | "simd" | "gpu";
  readonly threads: number;
  readonly why: string;
  /** What runs the WebAssembly forms; null unless on "simd". */
  readonly engine: Engine | null;
  /** What takes the calls on "gpu". */
  readonly queue?: Queue;
}

export interface SharedState {
  /** False inside noGrad: ops leave no record. */
  recording: boolean;
  /** How many grad, valueAndGrad and vjp calls are running, one inside the other. */
  transforms: number;
  /** The generator of rand, randn and noise when none is given. */
  generator: Generator | null;
  /** While a gradient check listens: every int32 array made from floats, in order. These are the discrete choices. */
  decisions: Flat[] | null;
  /** While a checkpoint runs: the tensors that ops with a record have made. */
  made: Set<Tensor> | null;
  /** True inside detectAnomaly: results are looked through for NaN and infinity. */
  anomalies: boolean;
  /** While draws are tracked: every generator that was used, with its state before. See trackDraws. */
  draws: Map<Generator, GeneratorState> | null;
  /** While a region runs: what kernels have filled on a device, in order. See autograd's `region`. */
  filled: Storage[] | null;
  /** Where ops run; null until the first op or useDevice, which choose. */
  device: Device | null;
  /** The GPU that was opened last: tensors on it can be read whatever the device is now. */
  gpu: Queue | null;
}

const key = Symbol.for("moegrad");

export function shared(): SharedState {
  const holder = globalThis as { [key]?: SharedState };
  holder[key] ??= {
    ...{ recording: true, transforms: 0, generator: null, decisions: null },
    ...{ made: null, anomalies: false, draws: null, filled: null, device: null, gpu: null },
  };
  return holder[key];
}
