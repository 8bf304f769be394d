/** A side of the comparison in the page: one library on one way to the GPU. */
import type { Inputs } from "../data.ts";
import type { GpuTask } from "./cases.ts";

type Outputs = Readonly<Record<string, ArrayLike<number>>>;

/** A task, ready to be done again and again. */
export interface GpuJob {
  /** All of it, done when a few numbers that depend on every result are on the host. */
  once(): Promise<unknown>;
  /** The same, and every number of the results. */
  all(): Promise<Outputs>;
}

export interface GpuSide {
  /** Before its jobs run: another side may have had its turn. */
  use(): Promise<void>;
  /** The ways to do a task, by name: one, or several of which the quickest counts. */
  jobs(task: GpuTask, inputs: Inputs): Readonly<Record<string, GpuJob>>;
}
