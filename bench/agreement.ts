/** Whether results agree with the exact ones. */

/** How much of the largest number a float32 result may be off: sums of a thousand products, and polynomials for exp. */
export const TOLERANCE = 1e-5;

/** The largest difference of any output from what was expected, as a share of the largest expected number of that output. */
export function worstError(
  outputs: Readonly<Record<string, ArrayLike<number>>>,
  expected: Readonly<Record<string, Float32Array>>,
): { error: number; where: string } {
  let worst = { error: 0, where: "" };
  for (const [name, wanted] of Object.entries(expected)) {
    const got = outputs[name];
    if (got?.length !== wanted.length) return { error: Infinity, where: `${name} (${got?.length ?? "missing"})` };
    let [difference, largest] = [0, 0];
    for (let i = 0; i < wanted.length; i++) {
      const d = Math.abs(got[i] - wanted[i]);
      // NaN compares as false, and must not pass.
      if (!(d <= difference)) difference = Number.isNaN(d) ? Infinity : d;
      largest = Math.max(largest, Math.abs(wanted[i]));
    }
    const error = difference / Math.max(largest, Number.MIN_VALUE);
    if (error > worst.error) worst = { error, where: name };
  }
  return worst;
}
