/** Timing: one job in this process, by tinybench. */
import { Bench } from "tinybench";
import { TOLERANCE, worstError } from "./agreement.ts";
import type { Problem } from "./data.ts";
import type { Job } from "./sides/side.ts";

/** What a process found out. */
export interface Timing {
  /** Median time of one operation. */
  readonly ms: number;
  readonly calls: number;
  /** The largest difference from the exact result, as a share of the largest number. */
  readonly error: number;
}

/**
 * Checks the first call of a job, then times others.
 *
 * Warm-up takes half as long as the timing, so that code is compiled in full. A call that is itself longer than the time
 * for all is made once more, or, beyond SLOW_MS, not again: the first call is then its time.
 *
 * Throws   Error when the result differs from the exact one by more than TOLERANCE
 */
export async function timeJob<R>(
  job: Job<R>,
  expected: Problem["expected"],
  seconds: number,
  clock: Clock = "wall",
): Promise<Timing> {
  const { repeat = 1 } = job;
  const now = clocks[clock];
  const began = now();
  const made = job.call();
  const isAsync = made instanceof Promise;
  const result = await made;
  const first = now() - began;
  const { error, where } = worstError(await job.read(result), expected);
  if (!(error <= TOLERANCE)) {
    throw new Error(
      `${where} differs by ${error.toExponential(1)} of its largest number, expected ${TOLERANCE} at most`,
    );
  }
  job.free?.(result);
  if (first > SLOW_MS) return { ms: first / repeat, calls: 1, error };

  const free = job.free?.bind(job) ?? (() => {});
  const once = isAsync ? async () => free(await job.call()) : () => free(job.call() as R);
  const ms = 1000 * seconds;
  const [warmup, iterations] = first > ms ? [false, 1] : [true, MIN_CALLS];
  const bench = new Bench({
    ...{ now, time: first > ms ? 0 : ms, iterations, throws: true },
    ...{ warmup, warmupTime: ms / 2, warmupIterations: MIN_CALLS },
  });
  bench.add("job", once, { async: isAsync });
  const [task] = isAsync ? await bench.run() : bench.runSync();
  const { result: measured } = task;
  if (!("latency" in measured)) throw new Error(`tinybench ended as ${measured.state}, expected a latency`);
  return { ms: measured.latency.p50 / repeat, calls: measured.latency.samplesCount, error };
}

/** cpu: the time that this process has had a core. Where others want it too, it says more than the time on the wall. */
export type Clock = "wall" | "cpu";

export const clocks: Readonly<Record<Clock, () => number>> = {
  wall: () => performance.now(),
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
};

const SLOW_MS = 3000;
const MIN_CALLS = 3;
