/**
 * The SIMD device: kernels as WebAssembly, whose bytes the library emits itself.
 *
 * A function of WebAssembly sees one memory. It is used as a ring: what a call reads is copied in unless it is still there
 * from an earlier call, what it makes stays there, and the oldest has to leave first. A tensor whose numbers have to
 * leave, or that a user reads, gets an array of its own, which nothing can detach or overwrite; one that backward has
 * freed by then never needs it. So the garbage collector sees little of what a training step makes.
 *
 * The memory grows to four times what the largest call needs, and while much has to be copied in again, up to a limit.
 */
import { assemble, type Func, f32x4, fn, v128 } from "./assembler.ts";
import { allocate, type DType, dtypeOf, type Flat, type HostForm, type Kernel } from "./kernel.ts";
import { type Exports, instantiate, newMemory, type WasmMemory } from "./platform.ts";
import type { Pool } from "./threads.ts";

/** An input as a simd form sees it: its address in bytes, and its numbers for what has to be known on the host. */
export class Block {
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  get at(): number {
    return this.#place.at;
  }

  get data(): Flat {
    return this.#place.engine.view(this.#place);
  }
}

/** Functions that are compiled together, and so may call one another. */
export interface SimdModule {
  readonly functions: () => readonly Func[];
}

/** Asks for one call of a function of the module: its arguments in order. Calls of one run must not depend on one another. */
export type Call = (name: string, ...args: number[]) => void;

/** How a kernel runs here. */
export interface SimdForm<A> {
  readonly module: SimdModule;
  /** Whether the output is int32 rather than float32. Default false. */
  readonly makesIntegers?: boolean;
  /**
   * About how many nanoseconds the functions will take, from shapes and dtypes alone: whether the device, and threads, pay.
   * 0 where there is nothing to do, or no function that could.
   */
  cost(attrs: A, length: number, inputs: readonly Flat[]): number;
  /** Calls functions that together write the whole output: `length` numbers from address `out` on. */
  run(call: Call, out: number, inputs: readonly Block[], attrs: A, length: number): void;
}

/** Work below this many nanoseconds is left to the loops: a call costs about this much, what it copies included. */
export const SIMD_PAYS_NS = 1500;
/** Work below this many nanoseconds stays on one thread: to wake the others costs a few microseconds. */
const THREADS_PAY_NS = 40_000;
/** Bytes that a function may use as it likes during a call, from the address `room` on. */
export const ROOM = 320 * 1024;
const PAGE = 65536;
/** Addresses are compared as signed numbers. */
const LIMIT = 2 ** 31;
const FIRST_CAPACITY = 2 ** 24;

const ALIGNMENT = 64;
/** Numbers behind an output that tests watch. */
const GUARD = 32;
/** The ring grows when more than one byte of so many that it gave out in a round had been there before. */
const MISSES = 4;
/** It does not grow beyond this for that reason. */
const ENOUGH = 2 ** 28;

/** The memory of an engine; threads need one that they can share. */
export const engineMemory = (shared: boolean): WasmMemory => newMemory(LIMIT / PAGE, shared);

/**
 * Where the numbers of a storage are in the memory. A ring gives out its bytes in order, so the oldest places are taken
 * first: `until` is how much it can give out before this one is.
 */
export interface Place {
  readonly engine: Engine;
  readonly storage: Cached;
  readonly at: number;
  readonly bytes: number;
  readonly until: number;
  /** False once other numbers have been written there. */
  valid: boolean;
}

/** What the engine needs to know of a storage. */
export interface Cached {
  readonly dtype: DType;
  readonly length: number;
  /** The numbers, for as long as no function has been called. */
  readonly view?: Flat | null;
  place?: Place | null;
  /** Called when the place is about to be overwritten: the last chance to copy the numbers. */
  leave?(): void;
}

const bytesOf = ({ length }: Cached): number => Math.max(ALIGNMENT, Math.ceil((4 * length) / ALIGNMENT) * ALIGNMENT);
const totalBytes = (storages: readonly Cached[], out: Cached): number =>
  storages.reduce((sum, x) => sum + bytesOf(x), bytesOf(out));

const probe = fn("probe", ["i32"], (_, [at]) => v128.store(at.get, f32x4.sqrt(v128.load(at.get))));
const probeModule: SimdModule = { functions: () => [probe] };

export class Engine {
  readonly #memory: WasmMemory;
  readonly #pool: Pool | null;
  /** Where the ring starts; below it are the rooms of the threads. */
  readonly #start: number;
  readonly #exports = new Map<SimdModule, Exports>();
  #floats = new Float32Array(0);
  #ints = new Int32Array(0);
  #capacity = 0;
  /** Where the ring gives out the next bytes, counted from its start, and how many it has given out or skipped so far. */
  #cursor = 0;
  #given = 0;
  /** Bytes copied in this round that had been in the memory before. */
  #missed = 0;
  /** Places in the order in which they were given out; those before #oldest are gone. */
  #places: (Place | undefined)[] = [];
  #oldest = 0;

  /** `capacity`: bytes of the ring to begin with. */
  constructor(memory: WasmMemory, pool: Pool | null, capacity = FIRST_CAPACITY) {
    this.#memory = memory;
    this.#pool = pool;
    this.#start = (pool?.threads ?? 1) * ROOM;
    if (!this.#growTo(capacity)) throw new Error("no memory");
  }

  /** Compiles one small function with vectors, and throws what the platform throws when it has none or forbids it. */
  probe(): void {
    this.#load(probeModule);
  }

  /** Bytes of the ring. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Why the threads cannot be used any more, if so. */
  get failure(): string | null {
    return this.#pool?.failure ?? null;
  }

  stop(): void {
    this.#pool?.stop();
  }

  /** Whether there is room for a call, which is made if need be: four times what the call takes. */
  fits(storages: readonly Cached[], out: Cached): boolean {
    const capacity = 2 ** Math.ceil(Math.log2(4 * totalBytes(storages, out)));
    return capacity <= this.#capacity || this.#growTo(capacity);
  }

  /** Makes the ring larger at its end, so that nothing moves. False when the platform has no more memory to give. */
  #growTo(capacity: number): boolean {
    if (this.#start + capacity > LIMIT) return false;
    const missing = this.#start + capacity - this.#memory.buffer.byteLength;
    try {
      if (missing > 0) this.#memory.grow(Math.ceil(missing / PAGE));
    } catch {
      return false;
    }
    this.#capacity = capacity;
    this.#floats = new Float32Array(this.#memory.buffer);
    this.#ints = new Int32Array(this.#memory.buffer);
    return true;
  }

  /** Gives out the next bytes for a storage. Who is there has to leave. */
  #take(storage: Cached): Place {
    const bytes = bytesOf(storage);
    if (this.#cursor + bytes > this.#capacity) {
      this.#evict(this.#capacity);
      this.#given += this.#capacity - this.#cursor;
      this.#cursor = 0;
      const grows = MISSES * this.#missed > this.#capacity && 2 * this.#capacity <= ENOUGH;
      this.#missed = 0;
      if (grows) this.#growTo(2 * this.#capacity);
    }
    this.#evict(this.#cursor + bytes);
    const [at, until] = [this.#start + this.#cursor, this.#given + this.#capacity];
    const place: Place = { engine: this, storage, at, bytes, until, valid: true };
    this.#places.push(place);
    this.#cursor += bytes;
    this.#given += bytes;
    return place;
  }

  /** Makes the bytes from the cursor to `end` free. */
  #evict(end: number): void {
    for (let place = this.#places[this.#oldest]; place !== undefined; place = this.#places[this.#oldest]) {
      const from = place.at - this.#start;
      if (from < this.#cursor || from >= end) break;
      place.storage.leave?.();
      place.valid = false;
      // Who has left is not held on to.
      this.#places[this.#oldest++] = undefined;
    }
    if (this.#oldest > 1000 && 2 * this.#oldest > this.#places.length) {
      this.#places = this.#places.slice(this.#oldest);
      this.#oldest = 0;
    }
  }

  /** The numbers of a place, until the next call. */
  view({ at, storage }: Place): Flat {
    return (storage.dtype === "int32" ? this.#ints : this.#floats).subarray(at / 4, at / 4 + storage.length);
  }

  /** Where a storage is in the memory, now that a call is about to take `needed` bytes. */
  #locate(storage: Cached, needed: number): Block {
    const known = storage.place?.engine === this ? storage.place : null;
    if (known?.valid && this.#given + needed <= known.until) return new Block(known);
    if (known !== null) {
      this.#missed += known.bytes;
      // Its numbers may be nowhere else.
      storage.leave?.();
    }
    const data = storage.view as Flat;
    const place = this.#take(storage);
    this.view(place).set(data);
    storage.place = place;
    return new Block(place);
  }

  #load(module: SimdModule): Exports {
    let exports = this.#exports.get(module);
    if (exports === undefined) {
      const bytes = assemble(module.functions(), this.#pool !== null);
      exports = instantiate(bytes, this.#memory, 0);
      this.#pool?.load(module, bytes, exports);
      this.#exports.set(module, exports);
    }
    return exports;
  }

  /**
   * Runs a form on storages of four-byte numbers, for which there is room (`fits`): the output is where `out` is placed
   * afterwards, and nowhere else.
   * `before` is for tests: what is in the output's memory when the form starts.
   */
  run<A>(form: SimdForm<A>, out: Cached, storages: readonly Cached[], attrs: A, cost: number, before?: Flat): void {
    const exports = this.#load(form.module);
    const bytes = totalBytes(storages, out);
    // What this call takes, and what the end of the ring makes it skip, must not reach around to what it reads.
    const inputs = storages.map((x) => this.#locate(x, 2 * bytes));
    const place = this.#take(out);
    if (before !== undefined) this.view(place).set(before);
    const length = before === undefined ? out.length : out.length - GUARD;
    if (this.#pool === null || cost < THREADS_PAY_NS) {
      form.run((name, ...args) => exports[name](...args), place.at, inputs, attrs, length);
    } else {
      this.#pool.run(form.module, exports, (call) => form.run(call, place.at, inputs, attrs, length));
    }
    out.place = place;
  }
}

let tester: Engine | null = null;

/**
 * What a kernel does on this device as a form on host arrays, whatever the size: for tests and laws. Undefined when it has
 * no simd form. Where that has no function, with a cost of 0, the loops run here as there.
 *
 * Throws   Error when the form writes beyond its output
 */
export function asHostForm<A>({ simd, loops }: Kernel<A>): HostForm<A> | undefined {
  if (simd === undefined) return undefined;
  return (out, inputs, attrs) => {
    if (simd.cost(attrs, out.length, inputs) === 0) return loops(out, inputs, attrs);
    tester ??= new Engine(engineMemory(false), null);
    const before = allocate(dtypeOf(out), out.length + GUARD).fill(-77, out.length);
    before.set(out);
    const storages = inputs.map((view) => ({ dtype: dtypeOf(view), length: view.length, view }));
    const filled: Cached = { dtype: dtypeOf(out), length: before.length };
    if (!tester.fits(storages, filled)) throw new Error("simd: the memory has no room for the call");
    tester.run(simd, filled, storages, attrs, 0, before);
    const after = tester.view(filled.place as Place);
    out.set(after.subarray(0, out.length));
    if (after.subarray(out.length).some((x: number) => x !== -77))
      throw new Error("simd: a form wrote beyond its output");
  };
}
