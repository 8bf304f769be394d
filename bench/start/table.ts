/** Table: the results for the terminal. */
import { grouped } from "./progress.ts";
import { expertShares, flopSpread, isRouted, type Results, titleOf } from "./results.ts";

/** The label sets in the order of their columns. */
const LABELS = ["previous character", "language", "next character"];

export function resultsText(results: Results): string {
  const blocks = [facts(results), models(results), divided(results)];
  return `${blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n")}\n`;
}

function facts({ unigramEntropy, models }: Results): string[] {
  const spread = percent(flopSpread(models), 1);
  const each = models.map((run) => `${titleOf(run)} ${grouped(run.flopsPerCharacter)}`);
  return [
    `Unigram entropy of the held-out text: ${unigramEntropy.toFixed(3)} bits per character.`,
    `FLOP per character, forward, the router included: ${spread} apart`,
    `  ${each.join(", ")}`,
  ];
}

/** Widths of the columns of the models, which fit in 80 characters. */
const WIDTHS = [13, 8, 9, 9, 7, 5, 5, 5, 5, 5, 8];

function models({ models, unigramEntropy }: Results): string[] {
  const rows = models.map((run) => {
    const { heldOutBits, trainingSeconds, losses, report } = run;
    const routed = report
      ? [
          percent(report.dropRate, 1),
          report.maxOverMean.toFixed(2),
          ...expertShares(report).map((x) => (100 * x).toFixed(0)),
        ]
      : ["–", "–", "", "", "", "", ""];
    const perStep = losses.length > 0 ? (trainingSeconds / losses.length).toFixed(3) : "–";
    return [titleOf(run), heldOutBits.toFixed(3), (unigramEntropy - heldOutBits).toFixed(3), ...routed, perStep];
  });
  return [
    "                bits/    below  dropped   max/    experts per char., %     secs",
    ...inColumns([["", "char.", "unigram", "slots", "mean", "0", "1", "2", "3", "4+", "/step"], ...rows], WIDTHS),
  ];
}

function divided({ models }: Results): string[] {
  const rows = models.filter(isRouted).map((run) => {
    const cells = LABELS.map((name) => {
      const { share, chance } = run.report.labels[name];
      return `${percent(share, 1)} (${percent(chance, 1)})`;
    });
    return [titleOf(run), ...cells];
  });
  if (rows.length === 0) return [];
  return [
    "What the experts divide: mutual information of expert and label, as a share of",
    "the entropy of the expert (in brackets: for labels without meaning)",
    ...inColumns([["", ...LABELS], ...rows], [13, 22, 18, 18]),
  ];
}

/** Rows with their cells one below the other: the first column to the left, numbers to the right. */
function inColumns(rows: readonly (readonly string[])[], widths: readonly number[]): string[] {
  return rows.map((row) =>
    row
      .map((cell, j) => (j === 0 ? cell.padEnd(widths[j]) : cell.padStart(widths[j])))
      .join("")
      .trimEnd(),
  );
}

const percent = (fraction: number, decimals: number): string => `${(100 * fraction).toFixed(decimals)} %`;
