/**
 * Where the numbers of a GPU's queue are: uploads, conversions, readbacks, and what goes when there is too much of it.
 *
 * Everything here waits, and is called by the queue alone, one job after the other.
 */
import type { Flat } from "../device/kernel.ts";
import { Doubts, WORDS } from "./doubts.ts";
import type { Handle } from "./library.ts";
import type { Route } from "./route.ts";
import { MAX_ELEMENTS } from "./source.ts";
import type { Resident } from "./storage.ts";
import { integersOf } from "./values.ts";

/** Elements on the device that are on the host, too. */
const MOST_COPIED = 2 ** 26;

export class Memory {
  readonly counts = { launches: 0, conversions: 0, uploads: 0, readbacks: 0, fallbacks: 0 };
  readonly doubts: Doubts;
  readonly #route: Route;
  /** What is on the device and on the host, the least recently used first, and how many elements that is. */
  readonly #copies = new Set<Resident>();
  #copied = 0;

  constructor(route: Route) {
    this.#route = route;
    this.doubts = new Doubts(route);
  }

  /** The numbers on the device as a launch reads them: uploaded, or converted, where they are not. */
  async handleOf(x: Resident, fours: boolean): Promise<Handle> {
    const layout = fours ? "fours" : "handle";
    const other = fours ? x.handle : x.fours;
    if (x[layout] === null && other !== null) {
      x[layout] = await (fours ? this.#route.pack(other, x.length) : this.#route.unpack(other, x.length));
      this.counts.conversions++;
    } else if (x[layout] === null) {
      const host = x.host as Flat;
      x[layout] = await this.#route.upload(host instanceof Float32Array ? host : Float32Array.from(host), fours);
      this.counts.uploads++;
    }
    if (x.host !== null) {
      this.#forget(x);
      this.#copies.add(x);
      this.#copied += x.length;
    }
    return x[layout] as Handle;
  }

  #forget(x: Resident): void {
    if (this.#copies.delete(x)) this.#copied -= x.length;
  }

  /** What is on the host too can be uploaded again: beyond a limit the copies that were used least recently go. */
  trim(): void {
    for (const x of this.#copies) {
      if (this.#copied <= MOST_COPIED) return;
      this.free(x);
    }
  }

  /** Deletes what a resident has on the device. */
  free(x: Resident): void {
    this.#forget(x);
    const handles = [x.handle, x.fours];
    x.handle = null;
    x.fours = null;
    for (const handle of handles) handle?.delete();
  }

  /** The numbers on the host, copied back once. What has not been looked at comes with them. */
  async hostOf(x: Resident): Promise<Flat> {
    const doubted = this.doubts.resolve(x);
    if (x.error !== null) throw x.error;
    if (x.host !== null) return x.host;
    const numbers = doubted ? await this.#readDoubted(x) : await this.#readAll(x);
    this.doubts.resolve(x);
    if (x.error !== null) throw x.error;
    x.host = x.dtype === "int32" ? integersOf(x, numbers) : numbers;
    return x.host;
  }

  #readAll(x: Resident): Promise<Float32Array> {
    this.counts.readbacks++;
    return this.#route.read((x.fours ?? x.handle) as Handle, x.length, x.fours !== null);
  }

  async #readDoubted(x: Resident): Promise<Float32Array> {
    if (x.length + WORDS > MAX_ELEMENTS) {
      await this.settle();
      return this.#readAll(x);
    }
    const both = await this.doubts.append(await this.handleOf(x, false), x.length);
    this.counts.launches++;
    try {
      const numbers = await this.#route.read(both, x.length + WORDS);
      this.counts.readbacks++;
      this.doubts.settle(numbers.subarray(x.length));
      return numbers.slice(0, x.length);
    } finally {
      both.delete();
    }
  }

  /** Reads what was noted, and nothing else. */
  async settle(): Promise<void> {
    this.counts.readbacks++;
    this.doubts.settle(await this.doubts.read());
  }
}
