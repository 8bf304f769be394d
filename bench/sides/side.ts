/** A side of the comparison: one library, and how it does each kind of task. */
import type { Task } from "../cases.ts";
import type { Inputs } from "../data.ts";

export type Outputs = Readonly<Record<string, ArrayLike<number>>>;

/** One task, ready to be called again and again. Everything before `call` is not timed: copies of inputs, compilation. */
export interface Job<R = unknown> {
  /** The work, done when it returns or when its promise does. */
  call(): R | Promise<R>;
  /** The numbers of a result, by the names of the reference. */
  read(result: R): Outputs | Promise<Outputs>;
  /** Gives a result's memory back, where the library does not do that itself. Timed with the call. */
  free?(result: R): void;
  /** How many operations a call does, when one alone is too short to be timed. Default 1. */
  repeat?: number;
}

export interface Side {
  /** What ran, for the page: "wasm, 1 thread". */
  readonly how: string;
  /** A job of the task. */
  prepare(task: Task, inputs: Inputs): Job | Promise<Job>;
}

/** What a module of a side exports. */
export interface SideModule {
  open(settings: Settings): Promise<Side>;
}

/** What the command line says of the library itself; its peers run on one thread. */
export interface Settings {
  readonly device: "auto" | "loops" | "simd";
  readonly threads: number;
}
