/**
 * The queue of a GPU device.
 *
 * An op returns at once, since its output's shape is known; its launches are awaited here, one after the other, in the order
 * of the calls. Whatever fails marks the output that it should have filled, and so all that is computed from it: the error
 * is thrown to whoever reads those, and nobody else notices. Where a kernel has no form, or a limit is in the way, the loops
 * run inside the queue: inputs are read back, and the result is uploaded when a launch needs it.
 */

import { allocate, type DType, type Flat, type HostForm, type Kernel } from "../device/kernel.ts";
import type { Stored } from "../device/run.ts";
import { shared } from "../device/state.ts";
import type { Storage, Value } from "../device/storage.ts";
import { show, stateError } from "../errors.ts";
import { sizeOf } from "../shape.ts";
import { formOf } from "./forms.ts";
import type { Handle } from "./library.ts";
import { Memory } from "./memory.ts";
import type { Route, RouteInfo } from "./route.ts";
import { type Launch, MAX_ELEMENTS, plan, planDoubt } from "./source.ts";
import { emptyResident, type Keeper, QueuedStorage, type Resident } from "./storage.ts";
import { letOthersRun } from "./turns.ts";
import { checkNow, fitsFloat32, onHost, onlyLength, plannedOf, rangeOf, refuseAnomalies } from "./values.ts";

/** What a queue has done since it was opened. */
export interface GpuCounts {
  /** Launches of kernels, without those that upload or convert. */
  readonly launches: number;
  /** Launches that only change whether an array lies in fours; not among the others. */
  readonly conversions: number;
  /** Arrays that were copied to the device. */
  readonly uploads: number;
  /** Arrays that were copied back: for a reader, for a check of values, or for loops where a kernel has no form. */
  readonly readbacks: number;
  /** Calls of kernels that the loops ran on numbers of the device. */
  readonly fallbacks: number;
  /** Which kernels those were, and how often. */
  readonly byLoops: Readonly<Record<string, number>>;
  /** Kernels whose check had to read values that the device had made, and how often. */
  readonly checked: Readonly<Record<string, number>>;
}

/** A call in the queue: what it needs and fills. */
interface Job<A> {
  readonly kernel: Kernel<A>;
  readonly attrs: A;
  readonly inputs: readonly Resident[];
  readonly out: Resident;
  /** Null where the host form runs. */
  readonly launches: readonly Launch[] | null;
  /** What looks for values that are wrong, where there may be some. */
  readonly doubt: ReturnType<typeof planDoubt>;
  readonly hostForm: HostForm<A>;
  /** The inputs whose values have to be read for the kernel's check; null when it has passed or there is none. */
  readonly checked: readonly number[] | null;
  /** The shapes of the call, for messages. */
  readonly shapes: string;
  /** Inside detectAnomaly: the output is read and looked through. */
  readonly anomalies: boolean;
}

export class Queue implements Keeper {
  readonly info: RouteInfo;
  readonly #route: Route;
  readonly #memory: Memory;
  readonly #byLoops = new Map<string, number>();
  readonly #checked = new Map<string, number>();
  /** The end of the work so far. It never rejects: every task keeps its own errors. */
  #tail: Promise<void> = Promise.resolve();
  /** What was uploaded of host tensors. */
  readonly #uploaded = new WeakMap<Storage, Resident>();
  /** The last net: what nobody freed goes with its storage. */
  readonly #lastNet = new FinalizationRegistry<Resident>((resident) => this.release(resident));

  constructor(route: Route, info: RouteInfo) {
    this.#route = route;
    this.#memory = new Memory(route);
    this.info = info;
  }

  get counts(): GpuCounts {
    const byName = { byLoops: Object.fromEntries(this.#byLoops), checked: Object.fromEntries(this.#checked) };
    return { ...this.#memory.counts, ...byName };
  }

  /** What was lost on the device, or null. */
  lost(): string | null {
    return this.#route.lost();
  }

  stop(): void {
    this.#route.stop();
  }

  /** Stops when all that was called is done. */
  async close(): Promise<void> {
    await this.#tail;
    this.stop();
  }

  /** Puts a call in the queue; null when all its inputs are on the host and it has nothing to launch: the host runs it. */
  run<A>(kernel: Kernel<A>, inputs: readonly Stored[], attrs: A, shape: readonly number[], dtype: DType): Value | null {
    const form = formOf(kernel);
    const storages = inputs.map(({ storage }) => storage);
    const residents = storages.map((storage) => this.#residentOf(storage));
    const wide = dtype === "float64" || storages.some((x) => x.dtype === "float64");
    const length = sizeOf(shape);
    const planned = storages.map((x, i) => plannedOf(x, residents[i]));
    const range = dtype === "int32" ? rangeOf(kernel, storages, planned, attrs, length) : null;
    const countable = dtype !== "int32" || (range !== null && Math.max(-range[0], range[1]) <= MAX_ELEMENTS);
    const launches =
      wide || form === undefined || length === 0 || !countable
        ? null
        : plan(form, attrs, planned, { length, dtype }, this.#route.layout);
    // Integers of the host stay there: what is known needs no check, and a map of them, or their number, is one upload.
    const integers = storages.every((x) => x.dtype === "int32") && (dtype === "int32" || length === 1);
    if ((launches === null || integers) && storages.every(onHost)) return null;
    const checked = checkNow(kernel, storages, attrs, length);
    const out = emptyResident(kernel.name, dtype, length, launches === null ? null : range, this.#inFours(launches));
    const shapes = `${inputs.map((x) => show(shapeOf(x))).join(", ")} → ${show(shape)}`;
    const hostForm = wide ? kernel.reference : kernel.loops;
    const made = { length, dtype, fours: out.inFours };
    // Values of the host were checked at the call.
    const certain = launches === null || storages.every(onHost);
    const doubt = certain || !form ? null : planDoubt(form, attrs, planned, made, this.#route.layout);
    const { anomalies } = shared();
    const job = { kernel, attrs, inputs: residents, out, launches, doubt, hostForm, checked, shapes, anomalies };
    this.#enqueue(() => this.#perform(job));
    const storage = new QueuedStorage(this, out);
    this.#lastNet.register(storage, out, out);
    return { storage, shape };
  }

  /** How the last launch leaves its output. What the loops make is uploaded as it is read. */
  #inFours(launches: readonly Launch[] | null): boolean | undefined {
    return launches === null || this.#route.layout === "buffers" ? undefined : launches[launches.length - 1].fours;
  }

  #enqueue(task: () => Promise<void>): void {
    this.#tail = this.#tail.then(task);
  }

  /** Where the numbers of an input are, or will be. Throws for one that was freed. */
  #residentOf(storage: Storage): Resident {
    if (storage instanceof QueuedStorage) {
      if (storage.keptBy(this)) return storage.resident;
      throw stateError("gpu", "an input", "its numbers on a device that was replaced", "this one", "read() it before");
    }
    const known = this.#uploaded.get(storage);
    if (known !== undefined) return known;
    const resident = { ...emptyResident("tensor", storage.dtype, storage.length, null), host: storage.host };
    this.#uploaded.set(storage, resident);
    storage.onFree = () => {
      this.#uploaded.delete(storage);
      this.release(resident);
    };
    this.#lastNet.register(storage as object, resident, resident);
    return resident;
  }

  /** One call. Errors stay with its output. */
  async #perform<A>(job: Job<A>): Promise<void> {
    const { kernel, inputs, out, launches, checked } = job;
    out.error = this.#memory.doubts.inherit(out, inputs) ?? this.#lostError(kernel.name);
    if (out.error !== null) return;
    try {
      if (checked !== null) await this.#check(job, checked);
      const representable = inputs.every((x) => onDevice(x) || x.host === null || fitsFloat32(x.host));
      if (launches !== null && representable) {
        await this.#launch(job, launches);
        await this.#look(job);
      } else out.host = await this.#runLoops(job);
      if (job.anomalies) refuseAnomalies(kernel.name, await this.#memory.hostOf(out));
    } catch (error) {
      out.error = error instanceof Error ? error : new Error(String(error));
    }
  }

  #lostError(op: string): Error | null {
    const lost = this.lost();
    return lost === null
      ? null
      : stateError(op, "the GPU", `gone: ${lost}`, "one that works", 'call useDevice("gpu") again');
  }

  async #runLoops<A>({ kernel, inputs, attrs, out, hostForm }: Job<A>): Promise<Flat> {
    this.#memory.counts.fallbacks++;
    countUp(this.#byLoops, kernel.name);
    const arrays: Flat[] = [];
    for (const x of inputs) arrays.push(await this.#memory.hostOf(x));
    kernel.check?.(arrays, attrs);
    const host = allocate(out.dtype, out.length);
    hostForm(host, arrays, attrs);
    return host;
  }

  async #check<A>({ kernel, inputs, attrs }: Job<A>, checked: readonly number[]): Promise<void> {
    countUp(this.#checked, kernel.name);
    const arrays: Flat[] = [];
    for (const [i, x] of inputs.entries()) {
      arrays.push(checked.includes(i) ? await this.#memory.hostOf(x) : onlyLength(x.length));
    }
    kernel.check?.(arrays, attrs);
  }

  async #launch<A>({ kernel, inputs, out, shapes }: Job<A>, launches: readonly Launch[]): Promise<void> {
    try {
      out[out.inFours ? "fours" : "handle"] = await this.#launchAll(inputs, launches);
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
      throw stateError(kernel.name, `the launch of ${shapes}`, `failed on ${this.info.route}: ${reason}`, "a result");
    } finally {
      this.#memory.trim();
    }
  }

  /** Launches one after the other, each of which may read what those before it have made. Gives what the last one makes. */
  async #launchAll(inputs: readonly Resident[], launches: readonly Launch[]): Promise<Handle> {
    const made: Handle[] = [];
    try {
      for (const { text, args, threads } of launches) {
        const values: unknown[] = [];
        for (const arg of args) {
          if (typeof arg === "number") values.push(arg);
          else if (arg.array >= inputs.length) values.push(made[arg.array - inputs.length]);
          else values.push(await this.#memory.handleOf(inputs[arg.array], arg.fours));
        }
        made.push(await this.#route.launch(text, values, threads));
        this.#memory.counts.launches++;
      }
      return made.pop() as Handle;
    } finally {
      for (const handle of made) handle.delete();
    }
  }

  /** Looks for values that are wrong, and leaves what was found on the device. */
  async #look<A>({ inputs, out, doubt }: Job<A>): Promise<void> {
    if (doubt === null) return;
    if (this.#memory.doubts.full) {
      await this.#memory.settle();
      // Nothing is in doubt now, and what was wrong is known.
      out.error = this.#memory.doubts.inherit(out, inputs);
      if (out.error !== null) return;
    }
    const found = await this.#launchAll([...inputs, out], doubt.launches);
    await this.#memory.doubts.note(out, found, doubt.length, doubt.error);
    this.#memory.counts.launches++;
    found.delete();
  }

  /** A copy of the numbers, when the queue has come to where it was asked for. */
  read(x: Resident): Promise<Flat> {
    return new Promise((resolve, reject) => {
      this.#enqueue(async () => {
        try {
          if (x.error === null && x.host === null) x.error = this.#lostError("read");
          const numbers = (await this.#memory.hostOf(x)).slice();
          await letOthersRun();
          resolve(numbers);
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /** Gives back the memory on the device, after all that was called before. */
  release(x: Resident): void {
    this.#lastNet.unregister(x);
    this.#enqueue(async () => {
      try {
        this.#memory.free(x);
      } catch {
        // The device is gone, and its memory with it.
      }
    });
  }
}

const onDevice = (x: Resident): boolean => x.handle !== null || x.fours !== null;

const countUp = (counts: Map<string, number>, name: string): void => {
  counts.set(name, (counts.get(name) ?? 0) + 1);
};

const shapeOf = (x: Stored): readonly number[] => (x as Partial<Value>).shape ?? [x.storage.length];
