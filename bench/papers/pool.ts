/** A pool of worker threads: runs trials, a few at a time. */
import { Worker } from "node:worker_threads";
import type { Trial } from "./experiment.ts";
import type { Kept } from "./store.ts";
import type { Message, Order } from "./worker.ts";

export interface PoolOptions {
  /** The paper whose tasks the workers are to know. */
  readonly paper: string;
  readonly workers: number;
  /** How far a trial is, from 0 to 1. */
  onProgress(trial: Trial, share: number): void;
  onDone(trial: Trial, kept: Kept): void;
  /** When it fires, all workers are ended; what they were at is lost. */
  readonly signal: AbortSignal;
}

/**
 * Runs the trials, in their order as far as workers are free.
 *
 * Throws   Error with the trial's label when one fails; the others are then ended, too
 */
export async function runTrials(trials: readonly Trial[], options: PoolOptions): Promise<void> {
  const { signal, workers, onDone } = options;
  const failed = new AbortController();
  const ended = AbortSignal.any([signal, failed.signal]);
  let next = 0;
  const lane = async (): Promise<void> => {
    if (next >= trials.length || ended.aborted) return;
    const worker = new Worker(new URL("./worker.mjs", import.meta.url), { workerData: { paper: options.paper } });
    try {
      while (next < trials.length && !ended.aborted) {
        const trial = trials[next++];
        const kept = await runOne(worker, trial, options, ended);
        if (kept !== null) onDone(trial, kept);
      }
    } finally {
      await worker.terminate();
    }
  };
  try {
    await Promise.all(Array.from({ length: workers }, lane));
  } finally {
    failed.abort();
  }
}

/** The record of one trial, or null when it was ended. */
function runOne(worker: Worker, trial: Trial, options: PoolOptions, ended: AbortSignal): Promise<Kept | null> {
  const fail = (reason: string): Error => new Error(`${trial.label}, seed ${trial.seed}: ${reason}`);
  let settle = (): void => {};
  const answer = new Promise<Kept | null>((resolve, reject) => {
    const stop = (): void => resolve(null);
    const hear = (message: Message): void => {
      if ("progress" in message) options.onProgress(trial, message.progress);
      else if ("failed" in message) reject(fail(message.failed));
      else resolve(message);
    };
    const error = (reason: Error): void => reject(fail(reason.message));
    const exit = (code: number): void => reject(fail(`its thread ended with code ${code}`));
    ended.addEventListener("abort", stop);
    worker.on("message", hear).on("error", error).on("exit", exit);
    settle = () => {
      ended.removeEventListener("abort", stop);
      worker.off("message", hear).off("error", error).off("exit", exit);
    };
    const order: Order = { task: trial.task.name, params: trial.params, seed: trial.seed };
    worker.postMessage(order);
  });
  return answer.finally(() => settle());
}
