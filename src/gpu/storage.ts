/** The storage of a tensor on a queued device, and what the queue knows of its numbers. */
import type { DType, Flat } from "../device/kernel.ts";
import { freedError, type Storage } from "../device/storage.ts";
import type { Range } from "./form.ts";
import type { Handle } from "./library.ts";

/**
 * Where numbers are, once the queue has come to them: on the device, on the host, on both, or nowhere because of an error.
 * It knows nothing of the storage, so that the collector can have that one while the queue still has work with this.
 */
export interface Resident {
  readonly dtype: DType;
  readonly length: number;
  /** The op that makes it, for messages. */
  readonly op: string;
  /** Bounds of integers that are known from shapes. */
  readonly range: Range | null;
  /** Whether it will be made in fours; undefined for what comes from the host, which is uploaded as it is first read. */
  readonly inFours: boolean | undefined;
  /** One number a texel, or the buffer. */
  handle: Handle | null;
  /** Four numbers a texel. */
  fours: Handle | null;
  host: Flat | null;
  error: Error | null;
  /** One bit for each call that these numbers depend on and that nobody has looked at, of the epoch in which it was made. */
  doubts: bigint;
  epoch: number;
}

export const emptyResident = (
  op: string,
  dtype: DType,
  length: number,
  range: Range | null,
  inFours?: boolean,
): Resident => ({
  ...{ op, dtype, length, range, inFours },
  ...{ handle: null, fours: null, host: null, error: null, doubts: 0n, epoch: 0 },
});

/** What a storage asks of its queue. */
export interface Keeper {
  read(resident: Resident): Promise<Flat>;
  release(resident: Resident): void;
}

/** Numbers that a queued device will have made by the time that anybody reads them. */
export class QueuedStorage implements Storage {
  readonly place = null;
  readonly host = null;
  readonly view = null;
  readonly dtype: DType;
  readonly length: number;
  holders = 0;
  sole = false;
  aliased = false;
  owned = false;
  readonly #keeper: Keeper;
  readonly #resident: Resident;
  #freed = false;

  constructor(keeper: Keeper, resident: Resident) {
    this.dtype = resident.dtype;
    this.length = resident.length;
    this.#keeper = keeper;
    this.#resident = resident;
  }

  /** For the queue. Throws when nobody should read it any more. */
  get resident(): Resident {
    if (!this.#freed) return this.#resident;
    throw freedError();
  }

  /** Bounds of integers that are known from shapes. */
  get range(): Range | null {
    return this.#resident.range;
  }

  keptBy(keeper: Keeper): boolean {
    return keeper === this.#keeper;
  }

  leave(): void {}

  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#keeper.release(this.#resident);
  }

  async read(): Promise<Flat> {
    return this.#keeper.read(this.resident);
  }
}
