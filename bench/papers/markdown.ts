/** Numbers and tables as Markdown. */

/** A table, of which the first `texts` columns are text, and the others numbers, to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], texts = 1): string {
  const rule = head.map((_, i) => (i < texts ? "---" : "---:"));
  // A bar would end the cell.
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [head, rule, ...rows].map(line).join("\n");
}

export const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;

/** The standard deviation of the numbers themselves, as the paper has it: divided by n. */
export function deviation(xs: readonly number[]): number {
  const m = mean(xs);
  return Math.sqrt(mean(xs.map((x) => (x - m) ** 2)));
}

/** "99.46 ± 0.55"; one number stands alone, and – for none. */
export function spread(xs: readonly number[], decimals: number, factor = 1): string {
  if (xs.length === 0) return "–";
  const m = (factor * mean(xs)).toFixed(decimals);
  return xs.length === 1 ? m : `${m} ± ${(factor * deviation(xs)).toFixed(decimals)}`;
}
