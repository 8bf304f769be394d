/**
 * Threads for the SIMD device: workers that share its memory and take calls from one list.
 *
 * A kernel's work is cut into calls that do not depend on one another, so who makes which call, and when, does not show
 * in the result: it is the same bits for any number of threads. The calling thread works too. Nothing is sent in
 * messages: a job is written into shared memory and published by one atomic store, and the calling thread waits for the
 * last call to be done.
 */
import { type Exports, platform, type Thread, type WasmMemory } from "./platform.ts";
import { type Call, Engine, engineMemory, ROOM, type SimdModule } from "./simd.ts";
import type { Device } from "./state.ts";

/** Words of the control block. */
const [TICKET, COUNT, DONE, MODULE, READY, FAILED, WAITING] = [0, 1, 2, 3, 4, 5, 6];
const WORDS = 16;
/** A task: the number of the function, how many arguments, and they. */
const TASK_WORDS = 18;
const MAX_TASKS = 4096;
const MAX_MODULES = 256;
const CODE_BYTES = 1 << 19;
const TABLE_AT = 4 * WORDS;
const TASKS_AT = TABLE_AT + 8 * MAX_MODULES;
const CODE_AT = TASKS_AT + 8 * TASK_WORDS * MAX_TASKS;
/** A ticket is the number of the job and of its next task. A job whose tasks are all taken, or not yet there, is closed. */
const CLOSED = 0xffff;
const JOBS = 0x7fff;

/** What runs in a worker, as text: a file of its own would be lost by bundlers. */
const workerSource = `
const start = ({ memory, control, room }) => {
  const state = new Int32Array(control, 0, ${WORDS});
  const table = new Int32Array(control, ${TABLE_AT}, ${2 * MAX_MODULES});
  const tasks = new Float64Array(control, ${TASKS_AT}, ${TASK_WORDS * MAX_TASKS});
  const modules = [];
  const load = (i) => {
    const bytes = new Uint8Array(control, ${CODE_AT} + table[2 * i], table[2 * i + 1]).slice();
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory, room } });
    return Object.values(exports);
  };
  const work = (job) => {
    for (;;) {
      const ticket = Atomics.load(state, ${TICKET});
      const task = ticket & ${CLOSED};
      const count = Atomics.load(state, ${COUNT});
      if (ticket >>> 16 !== job || task === ${CLOSED} || task >= count) return;
      if (Atomics.compareExchange(state, ${TICKET}, ticket, ticket + 1) !== ticket) continue;
      const module = state[${MODULE}];
      modules[module] ??= load(module);
      const at = ${TASK_WORDS} * task;
      modules[module][tasks[at]](...tasks.subarray(at + 2, at + 2 + tasks[at + 1]));
      if (Atomics.add(state, ${DONE}, 1) + 1 === count) Atomics.notify(state, ${DONE});
    }
  };
  Atomics.add(state, ${READY}, 1);
  let job = Atomics.load(state, ${TICKET}) >>> 16;
  for (;;) {
    for (let spins = 0; spins < 20000 && Atomics.load(state, ${TICKET}) >>> 16 === job; ) spins++;
    const ticket = Atomics.load(state, ${TICKET});
    if (ticket >>> 16 === job) {
      Atomics.add(state, ${WAITING}, 1);
      Atomics.wait(state, ${TICKET}, ticket);
      Atomics.sub(state, ${WAITING}, 1);
      continue;
    }
    job = ticket >>> 16;
    // A job that is announced is written down a moment later.
    while (Atomics.load(state, ${TICKET}) === job * 65536 + ${CLOSED});
    work(job);
  }
};
const guarded = (data) => {
  try {
    start(data);
  } catch (error) {
    Atomics.store(new Int32Array(data.control), ${FAILED}, 1);
    throw error;
  }
};
if (typeof self === "object" && typeof self.postMessage === "function") self.onmessage = ({ data }) => guarded(data);
else guarded(require("node:worker_threads").workerData);
`;

/** Starts a worker from its source text, with data of its own; `failed` hears why it could not start, or died. */
function startThread(source: string, data: object, failed: (reason: string) => void): Thread {
  const node = platform.process?.getBuiltinModule?.("node:worker_threads");
  if (node !== undefined) {
    // No execArgv: a loader that the program was started with is not for the worker.
    const worker = new node.Worker(source, { eval: true, workerData: data, execArgv: [] });
    worker.on("error", (error) => failed(error.message));
    worker.on("exit", (code) => failed(`a worker ended with code ${code}`));
    // A worker that waits for work does not keep the program alive.
    worker.unref();
    return worker;
  }
  const { Worker, Blob, URL } = platform;
  if (Worker === undefined || Blob === undefined || URL === undefined) throw new Error("there are no workers");
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  worker.onerror = (event) => failed(event.message || "the worker could not be started");
  worker.postMessage(data);
  URL.revokeObjectURL(url);
  return worker;
}

/** How long the workers may take to start, and a job without any progress to be given up. */
const START_MS = 10_000;
const STALLED_WAITS = 100;
const WAIT_MS = 100;

/** Workers on one shared memory. */
export class Pool {
  readonly threads: number;
  /** Why the pool cannot be used any more; null while it works. */
  failure: string | null = null;
  readonly #workers: Thread[] = [];
  readonly #control: SharedArrayBuffer;
  readonly #state: Int32Array;
  readonly #table: Int32Array;
  readonly #tasks: Float64Array;
  readonly #modules = new Map<SimdModule, { index: number; names: string[] }>();
  #codeEnd = 0;
  #job = 0;

  private constructor(threads: number) {
    this.threads = threads;
    this.#control = new SharedArrayBuffer(CODE_AT + CODE_BYTES);
    this.#state = new Int32Array(this.#control, 0, WORDS);
    this.#table = new Int32Array(this.#control, TABLE_AT, 2 * MAX_MODULES);
    this.#tasks = new Float64Array(this.#control, TASKS_AT, TASK_WORDS * MAX_TASKS);
    this.#state[TICKET] = CLOSED;
  }

  /** Starts threads − 1 workers, `room` bytes apart. Throws an Error that says why when they do not start. */
  static async start(threads: number, memory: WasmMemory, room: number): Promise<Pool> {
    const pool = new Pool(threads);
    const failed = (reason: string): void => {
      pool.failure ??= reason;
    };
    for (let i = 1; i < threads; i++) {
      pool.#workers.push(startThread(workerSource, { memory, control: pool.#control, room: i * room }, failed));
    }
    for (let waited = 0; Atomics.load(pool.#state, READY) < threads - 1; waited += 2) {
      if (waited > START_MS) failed(`the workers did not start within ${START_MS / 1000} s`);
      if (pool.failure !== null) {
        pool.stop();
        throw new Error(pool.failure);
      }
      await new Promise((resolve) => platform.setTimeout(resolve, 2));
    }
    return pool;
  }

  /** Makes a module known to the workers, which compile it when they first need it. */
  load(module: SimdModule, bytes: Uint8Array, exports: Exports): void {
    const index = this.#modules.size;
    if (index === MAX_MODULES || this.#codeEnd + bytes.length > CODE_BYTES)
      throw new Error("threads: no room for code");
    new Uint8Array(this.#control, CODE_AT + this.#codeEnd, bytes.length).set(bytes);
    this.#table[2 * index] = this.#codeEnd;
    this.#table[2 * index + 1] = bytes.length;
    this.#codeEnd += bytes.length;
    this.#modules.set(module, { index, names: Object.keys(exports) });
  }

  /** Has all calls that `form` asks for made, by this thread and the workers, and waits for the last. */
  run(module: SimdModule, exports: Exports, form: (call: Call) => void): void {
    const known = this.#modules.get(module);
    if (known === undefined) throw new Error("threads: a module that was never loaded");
    this.#announce();
    let count = 0;
    form((name, ...args) => {
      if (count === MAX_TASKS) {
        this.#finish(known, exports, count);
        count = 0;
        this.#announce();
      }
      const at = TASK_WORDS * count++;
      this.#tasks[at] = known.names.indexOf(name);
      this.#tasks[at + 1] = args.length;
      this.#tasks.set(args, at + 2);
    });
    this.#finish(known, exports, count);
  }

  /** Begins a job, closed: from here on no worker takes a ticket until the new tasks are written down. */
  #announce(): void {
    this.#job = (this.#job % (JOBS - 1)) + 1;
    Atomics.store(this.#state, TICKET, this.#job * 65536 + CLOSED);
  }

  /** Makes one of the calls that are written down. */
  #make(task: number, exports: Exports, names: readonly string[]): void {
    const at = TASK_WORDS * task;
    exports[names[this.#tasks[at]]](...this.#tasks.subarray(at + 2, at + 2 + this.#tasks[at + 1]));
  }

  /** Publishes the tasks, takes part in them, and waits. */
  #finish({ index, names }: { index: number; names: string[] }, exports: Exports, count: number): void {
    const state = this.#state;
    state[MODULE] = index;
    Atomics.store(state, DONE, 0);
    Atomics.store(state, COUNT, count);
    Atomics.store(state, TICKET, this.#job * 65536);
    if (Atomics.load(state, WAITING) > 0) Atomics.notify(state, TICKET);
    for (;;) {
      const ticket = Atomics.load(state, TICKET);
      const task = ticket & CLOSED;
      if (task >= count) break;
      if (Atomics.compareExchange(state, TICKET, ticket, ticket + 1) !== ticket) continue;
      this.#make(task, exports, names);
      Atomics.add(state, DONE, 1);
    }
    this.#wait(exports, names, count);
  }

  /** Waits for calls that workers have begun. A worker that has died is noticed, and all calls are made here again. */
  #wait(exports: Exports, names: string[], count: number): void {
    const state = this.#state;
    for (let spins = 0, waits = 0; ; spins++) {
      const done = Atomics.load(state, DONE);
      if (done >= count) return;
      if (spins < 20_000) continue;
      if (Atomics.load(state, FAILED) !== 0 || waits++ === STALLED_WAITS) break;
      Atomics.wait(state, DONE, done, WAIT_MS);
    }
    this.failure ??= "a worker stopped in the middle of a call";
    for (let task = 0; task < count; task++) this.#make(task, exports, names);
  }

  stop(): void {
    for (const worker of this.#workers) worker.terminate();
  }
}

/** SIMD on several threads; on one where that cannot be. */
export async function openThreads(threads: number, otherwise: (why: string) => Device): Promise<Device> {
  const single = (reason: string): Device => otherwise(`asked for ${threads} threads, runs on one: ${reason}`);
  if (platform.SharedArrayBuffer === undefined) {
    return single("no SharedArrayBuffer (a page needs the headers of cross-origin isolation)");
  }
  // A browser lets its main thread not wait for others.
  if (platform.document !== undefined) return single("a page must not wait; call useDevice in a Web Worker");
  try {
    const memory = engineMemory(true);
    const pool = await Pool.start(threads, memory, ROOM);
    const engine = new Engine(memory, pool);
    engine.probe();
    return { name: "simd", threads, why: "chosen by useDevice", engine };
  } catch (error) {
    return single(error instanceof Error ? error.message : String(error));
  }
}
