/**
 * Errors of value that only the device can see, such as a NaN among logits that top-k has to order.
 *
 * To look, the queue would have to wait and to read. Instead a launch beside that of the kernel notes what is wrong with a
 * call as one bit. All notes are in one small array that stays on the device, and whatever is computed from the call knows
 * its bit. When somebody reads that, the notes travel behind the numbers in the same readback, and say whether the numbers
 * may be had. So a look costs launches, and no readback.
 */
import type { Handle } from "./library.ts";
import type { Route } from "./route.ts";
import type { Resident } from "./storage.ts";
import { CELL } from "./texels.ts";

/** A float counts to 2²⁴, so it holds as many bits. */
const BITS = 24;
/** Numbers of the notes. */
export const WORDS = 16;

const note = (notes: string): string => `function (found, ${notes === "0" ? "" : "notes, "}length, word, bit) {
  const i = ${CELL};
  let sum = 0;
  for (let k = 0; k < length; k += 1) {
    sum += Math.abs(found[k]);
  }
  let y = ${notes};
  if (i === word && sum > 0.5) {
    y += bit;
  }
  return y;
}`;
const FIRST = note("0");
const NEXT = note("notes[i]");

const APPEND = `function (numbers, notes, length) {
  const i = ${CELL};
  let y = 0;
  if (i < length) {
    y = numbers[i];
  } else {
    y = notes[i - length];
  }
  return y;
}`;

export class Doubts {
  readonly #route: Route;
  #notes: Handle | null = null;
  /** Counts how often the notes have been read. A bit is one of an epoch. */
  #epoch = 0;
  /** The error of each bit of this epoch. */
  #errors: (() => Error)[] = [];
  /** What was wrong in the epochs before, where something was. */
  readonly #past = new Map<number, ReadonlyMap<number, Error>>();

  constructor(route: Route) {
    this.#route = route;
  }

  get full(): boolean {
    return this.#errors.length === WORDS * BITS;
  }

  /** Says what an output depends on: all that its inputs do. Gives the error of one that has one by now. */
  inherit(out: Resident, inputs: readonly Resident[]): Error | null {
    let all = 0n;
    for (const x of inputs) {
      this.resolve(x);
      all |= x.doubts;
    }
    out.doubts = all;
    out.epoch = this.#epoch;
    return inputs.find((x) => x.error !== null)?.error ?? null;
  }

  /** Notes what was found in a call, of which a number is not 0 where it is wrong. */
  async note(out: Resident, found: Handle, length: number, error: () => Error): Promise<void> {
    const bit = this.#errors.length;
    const before = this.#notes;
    const place = [length, Math.floor(bit / BITS), 2 ** (bit % BITS)];
    const notes = before === null ? [found, ...place] : [found, before, ...place];
    this.#notes = await this.#route.launch(before === null ? FIRST : NEXT, notes, WORDS);
    before?.delete();
    this.#errors.push(error);
    out.doubts |= 1n << BigInt(bit);
  }

  /** The numbers with the notes behind them. */
  append(numbers: Handle, length: number): Promise<Handle> {
    return this.#route.launch(APPEND, [numbers, this.#notes, length], length + WORDS);
  }

  read(): Promise<Float32Array> {
    return this.#route.read(this.#notes as Handle, WORDS, false);
  }

  /** Ends the epoch with the notes that were read. */
  settle(words: Float32Array): void {
    const wrong = new Map<number, Error>();
    this.#errors.forEach((error, bit) => {
      if (Math.floor(words[Math.floor(bit / BITS)] / 2 ** (bit % BITS)) % 2 === 1) wrong.set(bit, error());
    });
    if (wrong.size > 0) this.#past.set(this.#epoch, wrong);
    this.#epoch++;
    this.#errors = [];
    this.#notes?.delete();
    this.#notes = null;
  }

  /** Whether something that these numbers depend on has not been looked at. One that is wrong becomes their error. */
  resolve(x: Resident): boolean {
    if (x.doubts === 0n) return false;
    if (x.epoch === this.#epoch) return true;
    for (const [bit, error] of this.#past.get(x.epoch) ?? []) {
      if ((x.doubts >> BigInt(bit)) & 1n) x.error ??= error;
    }
    x.doubts = 0n;
    return false;
  }
}
