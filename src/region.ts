/**
 * Regions: who owns what is made on a device.
 *
 * On the host the garbage collector looks after everything. The memory of a device it does not see, so what will not be
 * read again is freed by those who know: library code hands its intermediate results to the graph, backward its own to
 * nobody, and users can put a `scope` around a part of their program.
 */
import { shared } from "./device/state.ts";
import type { Storage } from "./device/storage.ts";
import { checkFunction, checkSynchronous, isTensor } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

/** Runs fn and finds what kernels filled on a device meanwhile. */
function collected<T>(fn: () => T): [result: T, filled: Storage[], outer: Storage[] | null] {
  const state = shared();
  const outer = state.filled;
  const filled: Storage[] = [];
  state.filled = filled;
  try {
    return [fn(), filled, outer];
  } catch (error) {
    for (const storage of filled) if (!storage.holders) storage.free?.();
    throw error;
  } finally {
    state.filled = outer;
  }
}

/**
 * Runs fn and hands what it made on a device to the graph: all but `keptOf(result)` is freed with the last record that it
 * stands in, or at once when there is none. Reading it later is an error. For library code, whose intermediate results
 * nobody else can see. `sole`: nobody else has seen the kept ones either.
 */
export function region<T>(fn: () => T, keptOf: (result: T) => readonly Tensor[], sole = false): T {
  const [result, filled, outer] = collected(fn);
  const kept = keptOf(result);
  const storages = new Set(kept.map((x) => x.storage));
  const onGraph = kept.some((x) => x.record !== null && x.record.inputs !== null);
  for (const storage of filled) {
    if (storages.has(storage) || (storage.holders ?? 0) > 0) {
      if (sole) storage.sole = true;
      outer?.push(storage);
    } else if (onGraph && (storage.uses ?? 0) > 0) {
      storage.owned = true;
      // The end of a scope frees what is then on no graph.
      outer?.push(storage);
    } else storage.free?.();
  }
  return result;
}

/** A region whose result is one tensor. */
export const inside = (fn: () => Tensor): Tensor => region(fn, (y) => [y]);

/** Runs fn outside of every region: what it makes is nobody's to free. */
export function unscoped<T>(fn: () => T): T {
  const state = shared();
  const outer = state.filled;
  state.filled = null;
  try {
    return fn();
  } finally {
    state.filled = outer;
  }
}

/**
 * Runs fn and frees what it made on a device, but for the tensors in its result, gradients, parameters and the state of
 * optimisers. What the graph of a tensor in the result still needs is freed by its backward.
 *
 *   for (let step = 0; step < steps; step++) {
 *     const loss = scope(() => { const loss = lossOf(model, batch); loss.backward(); optimizer.step(); return loss; });
 *   }
 *
 * Reading a freed tensor throws. Nothing depends on a scope: without it the numbers of what nobody reads again are copied
 * out of the device's memory before the collector can have them.
 *
 * Throws   TypeError unless fn is a synchronous function
 */
export function scope<T>(fn: () => T): T {
  checkFunction("scope", "fn", fn);
  return region(() => checkSynchronous("scope", fn()), tensorsIn);
}

/** Tensors in a result: itself, or in lists and plain objects, as deep as they go. Getters are not called. */
function tensorsIn(result: unknown): Tensor[] {
  const found: Tensor[] = [];
  const seen = new Set<unknown>();
  const stack = [result];
  for (let i = 0; i < stack.length; i++) {
    const x = stack[i];
    if (typeof x !== "object" || x === null || seen.has(x)) continue;
    seen.add(x);
    if (isTensor(x)) found.push(x);
    else if (!ArrayBuffer.isView(x)) {
      for (const { value } of Object.values(Object.getOwnPropertyDescriptors(x))) stack.push(value);
    }
  }
  return found;
}
