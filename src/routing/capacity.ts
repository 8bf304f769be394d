/** Capacity: how many slots an expert may be granted. */
import { checkInteger, checkNumber, rangeError, show, typeError } from "../errors.ts";

/**
 * Rounds a quotient of sizes after taking off the rounding error of the floats: 1.1 · 10 is 11, not 11.000000000000002.
 */
const near = (x: number, round: (x: number) => number): number =>
  Math.abs(x - Math.round(x)) < 1e-9 * Math.max(1, Math.abs(x)) ? Math.round(x) : round(x);

/**
 * Capacity of an expert in token choice.
 *
 *   C = clamp(⌈capacityFactor · T · K / E⌉, minCapacity, T)
 *
 * K is inside, so that factor 1 holds exactly an even load; an infinite factor gives T, which no expert can exceed: dropless.
 *
 * Throws   RangeError or TypeError unless the factor is above 0, T ≥ 0, K ≥ 0 (a mean may be a fraction), E ≥ 1 and
 *          minCapacity ≥ 0
 * Source   Fedus et al. 2021, Eq. 3, with K as in Megatron-LM, DeepSpeed and MegaBlocks
 */
export function tokenChoiceCapacity(capacityFactor: number, T: number, K: number, E: number, minCapacity = 1): number {
  const op = "tokenChoiceCapacity";
  checkCapacityFactor(op, capacityFactor, true);
  checkSizes(op, T, E);
  checkNumber(op, "K", K, "a number of at least 0", (k) => k >= 0, "experts per token");
  checkInteger(op, "minCapacity", minCapacity, 0, Infinity);
  if (capacityFactor === Infinity) return T;
  return Math.min(T, Math.max(minCapacity, near((capacityFactor * T * K) / E, Math.ceil)));
}

/**
 * Tokens that each expert chooses in expert choice.
 *
 *   C = clamp(⌊capacityFactor · T / E⌋, 1, T)
 *
 * The factor is the mean number of experts per token.
 *
 * Throws   RangeError or TypeError unless the factor is above 0, T ≥ 0 and E ≥ 1
 * Source   Zhou et al. 2022, Eq. 1 (k = n·c/e)
 */
export function expertChoiceCapacity(capacityFactor: number, T: number, E: number): number {
  checkCapacityFactor("expertChoiceCapacity", capacityFactor, false);
  checkSizes("expertChoiceCapacity", T, E);
  return Math.min(T, Math.max(1, near((capacityFactor * T) / E, Math.floor)));
}

function checkSizes(op: string, T: number, E: number): void {
  checkInteger(op, "T", T, 0, Infinity, "tokens");
  checkInteger(op, "E", E, 1, Infinity, "experts");
}

/** Throws unless the capacity factor is a number above 0; `infinite` says whether ∞ (dropless) is allowed. */
export function checkCapacityFactor(op: string, x: unknown, infinite: boolean, argument = "capacityFactor"): void {
  const expected = infinite ? "a number above 0, or Infinity for dropless" : "a finite number above 0";
  if (typeof x !== "number") throw typeError(op, argument, show(x), expected);
  if (!(x > 0) || (!infinite && x === Infinity)) throw rangeError(op, argument, show(x), expected);
}
