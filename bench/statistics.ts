/** Statistics: from the samples of several processes to one number and how sure it is. */

/** The middle of a list, or the mean of the two in the middle; NaN for none. */
export function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A time, from the medians of several processes. */
export interface Time {
  /** That of the quickest process. */
  readonly ms: number;
  readonly highest: number;
  readonly processes: number;
}

/**
 * One time from several processes, each given by its own median.
 *
 * A process compiles its code as its own history suggests, and what else runs on the machine, or on the other half of its
 * core, slows it for seconds on end: two of them can differ by half. Neither makes anything faster than it is, so the
 * quickest process is the one to compare, for every library alike; the slowest stands beside it.
 */
export function timeOf(medians: readonly number[]): Time {
  return { ms: Math.min(...medians), highest: Math.max(...medians), processes: medians.length };
}
