/** run(): the only place that chooses which form of a kernel runs. */
import { checkSize, sizeOf } from "../shape.ts";
import { checkHealth, currentDevice } from "./device.ts";
import { allocate, type DType, type Flat, type HostForm, type Kernel } from "./kernel.ts";
import { SIMD_PAYS_NS, type SimdForm } from "./simd.ts";
import { type Device, shared } from "./state.ts";
import { hostValue, type Storage, unfilledValue, type Value } from "./storage.ts";

/** The part of a tensor that a kernel needs. */
export interface Stored {
  readonly storage: Storage;
}

/** The numbers of a tensor that is known to be on the host, to be read at once. */
export function hostData({ storage }: Stored): Flat {
  const data = storage.view ?? storage.host;
  if (data === null) throw new Error("run: input has its numbers on another device, expected the host");
  return data;
}

/** Runs a kernel's simd form, where it has one that pays. Null when it has not. */
function runSimd<A>(
  device: Device,
  form: SimdForm<A> | undefined,
  inputs: readonly Stored[],
  arrays: readonly Flat[],
  attrs: A,
  shape: readonly number[],
  dtype: DType,
): Value | null {
  const { engine } = device;
  if (engine === null || form === undefined || (form.makesIntegers ?? false) !== (dtype === "int32")) return null;
  const cost = form.cost(attrs, sizeOf(shape), arrays);
  if (cost < SIMD_PAYS_NS) return null;
  const value = unfilledValue(dtype, shape);
  const storages = inputs.map((x) => x.storage);
  if (!engine.fits(storages, value.storage)) return null;
  engine.run(form, value.storage, storages, attrs, cost);
  checkHealth(device);
  return inRegion(value);
}

/** Tells the region that is running of what a device has filled. */
function inRegion(value: Value): Value {
  shared().filled?.push(value.storage);
  return value;
}

/** Runs a form on arrays of the host. */
function runHost<A>(
  form: HostForm<A>,
  arrays: readonly Flat[],
  attrs: A,
  shape: readonly number[],
  dtype: DType,
): Value {
  const out = allocate(dtype, sizeOf(shape));
  form(out, arrays, attrs);
  return hostValue(out, shape);
}

/**
 * Runs a kernel on the current device and gives its output.
 *
 * The form is chosen from dtypes and shapes alone: the reference when any array is float64; on the SIMD device its form
 * where the kernel has one and the work is worth it; else the loops. On a GPU see its queue.
 *
 * Throws   RangeError for more elements than a tensor can have, and what the kernel's check refuses
 */
export function run<A>(
  kernel: Kernel<A>,
  inputs: readonly Stored[],
  attrs: A,
  shape: readonly number[],
  dtype: DType,
): Value {
  const device = currentDevice();
  if (device.queue !== undefined) {
    checkSize(kernel.name, "the output", shape);
    // Null: all inputs are on the host, and it has to run the call.
    const queued = device.queue.run(kernel, inputs, attrs, shape, dtype);
    if (queued !== null) return inRegion(queued);
  }
  const arrays = inputs.map(hostData);
  kernel.check?.(arrays, attrs);
  checkSize(kernel.name, "the output", shape);
  if (dtype === "float64" || arrays.some((x) => x instanceof Float64Array)) {
    return noted(runHost(kernel.reference, arrays, attrs, shape, dtype), arrays);
  }
  const fast = runSimd(device, kernel.simd, inputs, arrays, attrs, shape, dtype);
  return noted(fast ?? runHost(kernel.loops, arrays, attrs, shape, dtype), arrays);
}

/** Integers made from floats are discrete choices, which a gradient check listens for. */
function noted(value: Value, arrays: readonly Flat[]): Value {
  const { decisions } = shared();
  const { storage } = value;
  if (decisions === null || storage.dtype !== "int32") return value;
  if (arrays.some((x) => !(x instanceof Int32Array))) decisions.push(storage.host as Flat);
  return value;
}
