/** What a queue knows of values: those of host tensors, and of integers on the device the bounds. */

import type { Flat, Kernel } from "../device/kernel.ts";
import type { Storage } from "../device/storage.ts";
import { rangeError } from "../errors.ts";
import type { Range } from "./form.ts";
import { formOf } from "./forms.ts";
import { MAX_ELEMENTS, type Planned } from "./source.ts";
import { QueuedStorage, type Resident } from "./storage.ts";

/** What stands in for an array of which a check asks the length alone. */
export const onlyLength = (length: number): Flat => ({ length }) as unknown as Flat;

/** The device counts in floats. What is no integer, or beyond the bounds, is what a form gives when it has no answer. */
export function integersOf({ op, range }: Resident, numbers: Float32Array): Int32Array {
  const [low, high] = range ?? [-MAX_ELEMENTS, MAX_ELEMENTS];
  const bad = numbers.findIndex((x) => x !== (x | 0) || x < low || x > high);
  if (bad < 0) return Int32Array.from(numbers);
  const found = `${numbers[bad]} at flat index ${bad}`;
  throw rangeError(op, "the output", found, `integers from ${low} to ${high}`, "a NaN has no order");
}

export const onHost = (x: Storage): boolean => !(x instanceof QueuedStorage);

/** A number on the host takes no texture. One of the device has its own, whether or not somebody has read it by now. */
export function plannedOf(x: Storage, { host, inFours }: Resident): Planned {
  const known = x.length === 1 && onHost(x) && host !== null ? host[0] : undefined;
  return { dtype: x.dtype, length: x.length, known, fours: inFours };
}

/** Whether float32, which is all that the device has, holds every number. */
export const fitsFloat32 = (x: Flat): boolean =>
  x instanceof Float32Array || (x instanceof Int32Array && x.every((n) => n >= -MAX_ELEMENTS && n <= MAX_ELEMENTS));

/**
 * Checks values as far as they are known at the call, where it throws. Of integers that were made on the device it may be
 * enough to know their bounds. Gives the inputs that the queue has to look at when it comes to them, or null.
 */
export function checkNow<A>(
  kernel: Kernel<A>,
  storages: readonly Storage[],
  attrs: A,
  length: number,
): readonly number[] | null {
  if (kernel.check === undefined || length === 0) return null;
  const all = storages.map((_, i) => i);
  const checked = formOf(kernel)?.checked ?? all;
  if (checked.length === 0 && !storages.every(onHost)) return null;
  const bounded = (x: Storage): Range | null =>
    x instanceof QueuedStorage && formOf(kernel)?.checksRange ? x.range : null;
  const arrays = storages.map((x, i): Flat | null => {
    if (onHost(x)) return x.host;
    if (!checked.includes(i)) return onlyLength(x.length);
    const range = bounded(x);
    return range === null ? null : Int32Array.of(range[0], range[1]);
  });
  if (arrays.some((x) => x === null)) return checked;
  const certain = checked.every((i) => onHost(storages[i]));
  try {
    kernel.check(arrays as Flat[], attrs);
    return null;
  } catch (error) {
    if (certain) throw error;
    // The bounds allow what the numbers may not have.
    return checked;
  }
}

export function rangeOf<A>(
  kernel: Kernel<A>,
  storages: readonly Storage[],
  inputs: readonly Planned[],
  attrs: A,
  length: number,
): Range | null {
  const ranges = storages.map((x) => (x instanceof QueuedStorage ? x.range : rangeOfHost(x)));
  const sources = inputs.map((x) => ({ ...x, fours: x.fours, at: () => "", four: () => ({ text: "", parts: [] }) }));
  const call = { attrs, inputs: sources, stages: [], length, dtype: "int32" as const };
  return formOf(kernel)?.range?.(call, ranges) ?? null;
}

function rangeOfHost({ host }: Storage): Range | null {
  if (!(host instanceof Int32Array) || host.length === 0) return null;
  return [host.reduce((a, b) => Math.min(a, b)), host.reduce((a, b) => Math.max(a, b))];
}

/** For detectAnomaly, which sees host tensors at the call and those of a device here. */
export function refuseAnomalies(op: string, numbers: Flat): void {
  if (numbers instanceof Int32Array) return;
  const bad = numbers.findIndex((x) => !Number.isFinite(x));
  if (bad < 0) return;
  const found = `${numbers[bad]} at flat index ${bad}`;
  throw rangeError("detectAnomaly", `the output of ${op}`, found, "finite numbers");
}
