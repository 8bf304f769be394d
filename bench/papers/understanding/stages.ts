/** Stages: when the experts begin to come apart, and when they have. */

export interface Stages {
  /** The step from which on the entropy stays below 95 % of what it was at the start: exploration is over. Null: never. */
  readonly explored: number | null;
  /** The step from which on it stays within 5 % of the start's of its last value. */
  readonly settled: number;
}

const EXPLORING = 0.95;
const SETTLED = 0.05;

/**
 * The stages of one run, from its dispatch entropy before each step.
 *
 * Exploration: the router sends samples anywhere, by its noise, and experts grow from next to nothing. Then experts differ,
 * and the router learns which is good at what. "Stays", not "falls": a run that comes back has not left.
 *
 * Throws   RangeError without any entropy
 */
export function stagesOf(entropies: readonly number[]): Stages {
  if (entropies.length === 0) throw new RangeError("stagesOf: entropies has no entry, expected one for each step");
  const [first, last] = [entropies[0], entropies[entropies.length - 1]];
  const explored = entropies.findLastIndex((h) => h >= EXPLORING * first) + 1;
  const settled = entropies.findLastIndex((h) => Math.abs(h - last) > SETTLED * first) + 1;
  return { explored: explored < entropies.length ? explored : null, settled };
}
