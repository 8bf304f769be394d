/** Storage: where the numbers of a tensor are. */
import { stateError } from "../errors.ts";
import { sizeOf } from "../shape.ts";
import { allocate, type DType, dtypeOf, type Flat } from "./kernel.ts";
import type { Cached, Place } from "./simd.ts";
import { shared } from "./state.ts";

/**
 * Flat memory on some device. Nothing writes into storage once it is filled, so tensors may share it (`reshape`,
 * `detach`), and an optimiser's step gives its parameter new storage.
 */
export interface Storage extends Cached {
  readonly dtype: DType;
  readonly length: number;
  /** The numbers in an array of their own when they are on the host, else null. */
  readonly host: Flat | null;
  /** A copy of the numbers, on every device. */
  read(): Promise<Flat>;
  /** Internal to regions: how many tensors have it as their gradient or as a parameter's numbers; no region frees it then. */
  holders?: number;
  /** Internal to regions: nobody but its holders can have seen it, so the last of them frees it. */
  sole?: boolean;
  /** Internal to regions: in how many places of records that can still be walked it stands, as an input or as the output. */
  uses?: number;
  /** Internal to regions: several tensors read it. */
  aliased?: boolean;
  /** Internal to regions: it belongs to the graph alone and is freed with it. */
  owned?: boolean;
  /** Internal to regions: nobody will read it any more, so its numbers need not be kept. */
  free?(): void;
  /** Internal to queues: what was uploaded of it goes when it is freed. */
  onFree?: (() => void) | null;
}

/** The storage of a tensor for another one: from now on it is not the only one's. */
export function sharedStorage(storage: Storage): Storage {
  storage.sole = false;
  storage.aliased = true;
  return storage;
}

/** Says that a tensor has a storage as its gradient or its parameter now, in place of another. */
export function hold(storage: Storage | null, before: Storage | null): void {
  if (storage !== null) storage.holders = (storage.holders ?? 0) + 1;
  if (before === null) return;
  before.holders = (before.holders ?? 1) - 1;
  if (before.sole && before.holders === 0) before.free?.();
}

/** What reading a tensor throws whose memory was given back. */
export const freedError = (): Error =>
  stateError(
    "storage",
    "the tensor",
    "been freed by backward, dispose() or the end of its scope",
    "one that is in use",
    "read it before",
  );

/** Numbers in an array, in the memory of the SIMD device, or in both. */
class HostStorage implements Storage {
  place: Place | null = null;
  holders = 0;
  sole = false;
  aliased = false;
  owned = false;
  onFree: (() => void) | null = null;
  #freed = false;
  #array: Flat | null;

  constructor(
    readonly dtype: DType,
    readonly length: number,
    array: Flat | null,
  ) {
    this.#array = array;
  }

  get host(): Flat {
    this.#array ??= ownCopy(this.view);
    return this.#array;
  }

  /** The numbers for a kernel, which reads them at once: no copy is made. */
  get view(): Flat {
    if (this.#array !== null) return this.#array;
    if (this.#freed || !this.place?.valid) {
      throw freedError();
    }
    return this.place.engine.view(this.place);
  }

  /** The place is about to be overwritten. */
  leave(): void {
    if (this.#array === null && !this.#freed) this.#array = ownCopy(this.view);
  }

  free(): void {
    this.#freed = true;
    this.onFree?.();
  }

  async read(): Promise<Flat> {
    return this.#array?.slice() ?? ownCopy(this.view);
  }
}

/** Not slice(): of memory that threads share it would be a copy that they share. */
function ownCopy(x: Flat): Flat {
  const copy = allocate(x instanceof Int32Array ? "int32" : "float32", x.length);
  copy.set(x);
  return copy;
}

/** What a kernel gives back: storage and the shape in which to read it. */
export interface Value {
  readonly storage: Storage;
  readonly shape: readonly number[];
}

/** A value around an array that nobody else will write to. */
export function hostValue(data: Flat, shape: readonly number[]): Value {
  const storage = new HostStorage(dtypeOf(data), data.length, data);
  // A region on a GPU frees what will be uploaded of the numbers that it makes; the numbers themselves are the collector's.
  const { device, filled } = shared();
  if (device?.queue !== undefined) filled?.push(storage);
  return { storage, shape };
}

/** A value that the SIMD device is about to fill. */
export const unfilledValue = (dtype: DType, shape: readonly number[]): Value => ({
  storage: new HostStorage(dtype, sizeOf(shape), null),
  shape,
});

/** A value filled with one number. */
export function filledValue(x: number, shape: readonly number[], dtype: DType): Value {
  const data = allocate(dtype, sizeOf(shape));
  if (!Object.is(x, 0)) data.fill(x);
  return hostValue(data, shape);
}
