/** Words: a report's findings as sentences and short lists, for the terminal and the page alike. */
import { checkInteger, checkOptions } from "../errors.ts";
import { columnSums, sum } from "./information.ts";
import type { LabelReport, RoutingReport } from "./statistics.ts";
import { percent } from "./svg.ts";

/** One label as one expert sees it. */
export interface TopLabel {
  /** label id */
  label: number;
  name: string;
  /** granted slots */
  count: number;
  /** count / all that the expert got */
  share: number;
  /** count / all of this label */
  ofLabel: number;
}

/**
 * The labels that an expert got most, most frequent first; ties to the lower id, none that it never got.
 *
 * Frequent labels are frequent with every expert: compare `share` with other experts, or look at `ofLabel`. With `typical`
 * only labels count of which no other expert got more (a tie goes to the lower expert).
 *
 * Throws   RangeError for an expert that is not there
 */
export function topLabels(
  labels: LabelReport,
  expert: number,
  options: { limit?: number | undefined; typical?: boolean | undefined } = {},
): TopLabel[] {
  checkOptions("topLabels", options, ["limit", "typical"]);
  checkInteger("topLabels", "expert", expert, 0, labels.matrix.length - 1, `there are ${labels.matrix.length} experts`);
  const { limit = 3, typical = false } = options;
  checkInteger("topLabels", "limit", limit, 0, Number.POSITIVE_INFINITY);
  const row = labels.matrix[expert];
  const all = sum(row);
  const totals = columnSums(labels.matrix);
  const majority = typical ? majorityOf(labels.matrix) : [];
  return row
    .map((count, l) => ({ label: l, name: labels.names[l], count, share: count / all, ofLabel: count / totals[l] }))
    .filter(({ count, label }) => count > 0 && (!typical || majority[label] === expert))
    .sort((a, b) => b.count - a.count)
    .slice(0, limit);
}

/** The columns of a heat map in an order that shows what belongs together. */
export interface Blocks {
  /** label ids, grouped by the expert that got most of each */
  columns: number[];
  /** labels that are too rare for a column of their own; together they are the last column */
  other: number[];
  /** columns before which another expert's group, or the column of the others, begins */
  breaks: number[];
}

/**
 * Group labels by the expert that got most of them, so that a router that divides by label shows as blocks.
 *
 * Within a group the labels that the expert got most completely come first. Labels that nobody got have no column.
 */
export function blocksOf(labels: LabelReport, limit = 40): Blocks {
  checkInteger("blocksOf", "limit", limit, 1, Number.POSITIVE_INFINITY);
  const totals = columnSums(labels.matrix);
  const byCount = totals.flatMap((n, l) => (n > 0 ? [l] : [])).sort((a, b) => totals[b] - totals[a]);
  // A single left-over label fits into the column that the others would take.
  const cut = byCount.length <= limit + 1 ? byCount.length : limit;
  const expertOf = majorityOf(labels.matrix);
  const part = (l: number) => labels.matrix[expertOf[l]][l] / totals[l];
  const columns = byCount.slice(0, cut).sort((a, b) => expertOf[a] - expertOf[b] || part(b) - part(a));
  const other = byCount.slice(cut);
  const breaks = columns.flatMap((l, j) => (j > 0 && expertOf[l] !== expertOf[columns[j - 1]] ? [j] : []));
  return { columns, other, breaks: other.length > 0 ? [...breaks, columns.length] : breaks };
}

/** The expert that got most of each label; ties to the lower one. */
function majorityOf(matrix: readonly number[][]): number[] {
  const best = matrix[0].map(() => 0);
  matrix.forEach((row, e) => {
    row.forEach((n, l) => {
      if (n > matrix[best[l]][l]) best[l] = e;
    });
  });
  return best;
}

/**
 * What the router divides, in one sentence: which label sets account for its choices, and which do not.
 *
 * A set explains when its share lies 10 % or more above chance, a little from 5 %, otherwise not.
 *
 * Edges    empty without label sets
 */
export function verdict(report: RoutingReport): string {
  if (report.ranked.length === 0) return "";
  if (report.granted === 0) return "No slot was granted, so there is nothing to explain.";
  if (report.loadEntropy.nats === 0) {
    return "One expert took everything, so there is nothing that a label could explain.";
  }
  const above = (name: string) => report.labels[name].share - report.labels[name].chance;
  const known = (from: number, to: number) => report.ranked.filter((name) => above(name) >= from && above(name) < to);
  const [strong, weak, none] = [known(0.1, 2), known(0.05, 0.1), known(-2, 0.05)];
  let first = true;
  const say = (name: string) => {
    const of = first ? " of the entropy of its choices" : "";
    first = false;
    return `${visible(name)} (${percent(report.labels[name].share)}${of})`;
  };
  if (strong.length + weak.length === 0) {
    const rest = none.length > 1 ? `neither by ${list(none.map(say), "nor by")}` : `not by ${say(none[0])}`;
    return `No label set explains the routing: the router divides tokens ${rest}.`;
  }
  const parts = [
    ...(strong.length > 0 ? [`by ${list(strong.map(say), "and by")}`] : []),
    ...(weak.length > 0 ? [`a little by ${list(weak.map(say), "and by")}`] : []),
    ...(none.length > 0 ? [`not by ${list(none.map(say), "or by")}`] : []),
  ];
  return `The router divides tokens ${parts.join(", ")}.`;
}

/** What to keep in mind when reading the shares: how far they can get, and how far chance alone gets. */
export function caveats(report: RoutingReport): string[] {
  if (report.ranked.length === 0 || report.granted === 0 || report.loadEntropy.nats === 0) return [];
  const said: string[] = [];
  if (report.maxShare < 0.95) {
    const why = "tokens have several experts, and no label of a token tells these apart";
    said.push(`No label can account for more than ${percent(report.maxShare)}: ${why}.`);
  }
  for (const name of report.ranked) {
    const { share, chance } = report.labels[name];
    if (chance < 0.02 || chance < share / 5) continue;
    const so = `labels without meaning would come to about ${percent(chance)}`;
    said.push(`There are few tokens for the many labels of ${visible(name)}: ${so}.`);
  }
  return said;
}

/** "a, b and c", with the last word given. */
function list(parts: readonly string[], last: string): string {
  const head = parts.slice(0, -1).join(", ");
  return head ? `${head} ${last} ${parts[parts.length - 1]}` : parts[0];
}

const blanks: Record<string, string> = { "": "(empty)", " ": "space", "\n": "newline", "\t": "tab", "\r": "return" };

/**
 * A name that can be seen: a single blank in words, other blanks as signs, control characters as their pictures (so that a
 * name cannot command a terminal), a lone accent on a dotted circle.
 */
export function visible(name: string): string {
  if (Object.hasOwn(blanks, name)) return blanks[name];
  return visibleText(/^\p{M}/u.test(name) ? `\u25CC${name}` : name).replace(/^ +| +$/g, (blank) =>
    "·".repeat(blank.length),
  );
}

/** Newlines, tabs and control characters as signs. */
export function visibleText(text: string): string {
  return text
    .replaceAll("\n", "¶")
    .replaceAll("\t", "⇥")
    .replace(/[\p{Cc}\p{Cs}\p{Bidi_Control}]/gu, (c) =>
      c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\uFFFD",
    );
}
