/** Storage: where the numbers of a tensor are. */
import { sizeOf } from "../shape.ts";
import { allocate, type DType, dtypeOf, type Flat } from "./kernel.ts";

/**
 * Flat memory on some device. Nothing writes into storage once it is filled, so tensors may share it (`reshape`,
 * `detach`), and an optimiser's step gives its parameter new storage.
 */
export interface Storage {
  readonly dtype: DType;
  readonly length: number;
  /** The numbers themselves when they are on the host, else null. */
  readonly host: Flat | null;
  /** A copy of the numbers, on every device. */
  read(): Promise<Flat>;
}

class HostStorage implements Storage {
  readonly dtype: DType;
  readonly length: number;

  constructor(readonly host: Flat) {
    this.dtype = dtypeOf(host);
    this.length = host.length;
  }

  async read(): Promise<Flat> {
    return this.host.slice();
  }
}

/** What a kernel gives back: storage and the shape in which to read it. */
export interface Value {
  readonly storage: Storage;
  readonly shape: readonly number[];
}

/** A value around an array that nobody else will write to. */
export function hostValue(data: Flat, shape: readonly number[]): Value {
  return { storage: new HostStorage(data), shape };
}

/** A value filled with one number. */
export function filledValue(x: number, shape: readonly number[], dtype: DType): Value {
  const data = allocate(dtype, sizeOf(shape));
  if (!Object.is(x, 0)) data.fill(x);
  return hostValue(data, shape);
}
