/** Statistics: from the samples of several processes to one number and how sure it is. */

/** The middle of a list, or the mean of the two in the middle; NaN for none. */
export function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A time, from the medians of several processes. */
export interface Time {
  /** The median of the medians. */
  readonly ms: number;
  readonly lowest: number;
  readonly highest: number;
  readonly processes: number;
}

/**
 * One time from several processes, each given by its own median.
 *
 * A process compiles its code as its own history suggests, and stays with that: two of them can differ by half, each time
 * after time. So processes count, not calls.
 */
export function timeOf(medians: readonly number[]): Time {
  const [lowest, highest] = [Math.min(...medians), Math.max(...medians)];
  return { ms: median(medians), lowest, highest, processes: medians.length };
}
