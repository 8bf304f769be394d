/** A pool of worker threads: trains several models, a few at a time; on a GPU one after the other, in this thread. */
import { Worker } from "node:worker_threads";
import { variants } from "./model.ts";
import { type Job, type ModelRun, type Progress, train } from "./train.ts";
import type { Message } from "./worker.ts";

export interface PoolOptions {
  /** How many models are trained at a time. */
  workers: number;
  onProgress: (progress: Progress) => void;
  onDone: (run: ModelRun) => void;
  /** When it fires, models in training stop after their step, and no other one is begun. */
  signal: AbortSignal;
}

/**
 * Trains the models in their order, and gives back those that were begun, in the same order.
 *
 * Throws   Error with the model's name when one fails; the others are then ended, too
 */
export async function trainAll(jobs: readonly Job[], options: PoolOptions): Promise<ModelRun[]> {
  const { workers, onDone, signal } = options;
  const runs: ModelRun[] = [];
  const failed = new AbortController();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < jobs.length && !signal.aborted && !failed.signal.aborted) {
      const i = next++;
      runs[i] = await (jobs[i].device === "gpu"
        ? trainHere(jobs[i], options)
        : trainOne(jobs[i], options, failed.signal));
      onDone(runs[i]);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, lane));
  } finally {
    failed.abort();
  }
  return runs.filter(Boolean);
}

const nameOf = ({ variant }: Job): string => variants[variant]?.title ?? variant;

/** A process has one GPU, and headless-gl works in one thread alone. */
async function trainHere(job: Job, { onProgress, signal }: PoolOptions): Promise<ModelRun> {
  try {
    return await train(job, onProgress, () => signal.aborted);
  } catch (error) {
    throw new Error(`${nameOf(job)}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function trainOne(job: Job, { onProgress, signal }: PoolOptions, failed: AbortSignal): Promise<ModelRun> {
  const name = nameOf(job);
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => reject(new Error(`${name}: ${reason}`));
    const worker = new Worker(new URL("./worker.mjs", import.meta.url), { workerData: job });
    const stop = () => worker.postMessage("stop");
    const end = () => void worker.terminate();
    signal.addEventListener("abort", stop);
    failed.addEventListener("abort", end);
    worker.on("message", (message: Message) => {
      if ("progress" in message) onProgress(message.progress);
      else resolve(message.run);
    });
    worker.on("error", (error) => fail(error instanceof Error ? error.message : String(error)));
    worker.on("exit", (code) => {
      signal.removeEventListener("abort", stop);
      failed.removeEventListener("abort", end);
      // Does nothing when the worker has given its run.
      fail(`its thread ended with code ${code}`);
    });
  });
}
