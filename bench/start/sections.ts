/** Sections of the page that are about routers: what they divide, what each expert took, and the load. */
import {
  barChart,
  colouredText,
  escapeHtml,
  figure,
  routingSections,
  type Section,
  table,
} from "../../src/report/index.ts";
import { largestLoads, loadOverTime } from "./curves.ts";
import { variants } from "./model.ts";
import { expertShares, isRouted, type RoutedRun, titleOf } from "./results.ts";
import type { ModelRun } from "./train.ts";

export const paragraph = (text: string): string => `<p>${escapeHtml(text)}</p>`;
export const percent = (fraction: number): string => `${(100 * fraction).toFixed(fraction < 0.0995 ? 1 : 0)}\u00A0%`;

/** Something that a reader can unfold. */
export const folded = (summary: string, html: string, open = false): string =>
  `<details${open ? " open" : ""}><summary>${escapeHtml(summary)}</summary>${html}</details>`;

/** "a, b and c" */
export const list = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;

/** All routers side by side, the label that explains most first. */
export function divided(routed: readonly RoutedRun[]): Section {
  const share = (name: string) => routed.reduce((total, { report }) => total + report.labels[name].share, 0);
  const names = [...routed[0].report.ranked].sort((a, b) => share(b) - share(a));
  const rows = names.flatMap((name) =>
    routed.map((run) => ({ name: `${name}: ${titleOf(run)}`, ...run.report.labels[name] })),
  );
  const bars = barChart({
    title: "How much of the router's choice a label accounts for",
    labels: rows.map(({ name }) => name),
    series: [{ name: "share", values: rows.map((row) => row.share) }],
    valueLabels: rows.map((row) => `${percent(row.share)} (${percent(row.chance)})`),
    xLabel: "part of the entropy of the expert (in brackets: by chance)",
    width: 720,
  });
  return {
    title: "What the experts divide",
    html: figure(bars),
    note:
      "The bars are the mutual information of expert and label over the entropy of the expert, on held-out text. A window " +
      "has three labels: the character before the next one, the language, and the next character, which the router does not see.",
  };
}

/** One router: where each label went, and the same in text. */
export function took(run: RoutedRun, numExperts: number): Section {
  const [best, experts, compared, numbers] = routingSections(run.report);
  // A line break within a piece would only cost room: its sign is enough.
  const texts = run.pieces.map((piece) => [
    escapeHtml(piece.language),
    colouredText(
      piece.chars.map((c) => (c === "\n" ? "¶" : c)),
      piece.experts,
      { numExperts, legend: false },
    ),
  ]);
  return {
    title: `${titleOf(run)}: what each expert took`,
    html: [
      paragraph(`How it chooses: ${variants[run.variant].says}.`),
      best.html,
      experts?.html ?? "",
      experts?.note ? `<p class="mg-note">${escapeHtml(experts.note)}</p>` : "",
      "<style>td .mg-text{margin:0;line-height:1.6}</style>",
      folded("Held-out text, each character in the colour of its expert", table(["language", "text"], texts), true),
      folded("The other label sets, and the load in numbers", (compared?.html ?? "") + (numbers?.html ?? "")),
    ].join(""),
    note:
      "Each window has two experts on average, so an expert that reads a character every time shows about 50 % in the map. " +
      "In the text, the colour stands at the last character that was read before the next one is predicted; it is that of " +
      "the expert with the largest gate, and the same as in the table.",
  };
}

/** Evenness: per character on held-out text, and over the training. */
export function load(models: readonly ModelRun[]): Section {
  const routed = models.filter(isRouted);
  const shares = routed.map(({ report }) => expertShares(report));
  const perCharacter = barChart({
    title: "Experts per character, held out",
    labels: routed.map(titleOf),
    series: ["none", "1", "2", "3", "4 or more"].map((name, k) => ({
      name,
      values: shares.map((row) => Math.round(row[k] * 1000) / 10),
    })),
    valueLabels: routed.map(({ report }) => `${(report.granted / report.numTokens).toFixed(2)} on average`),
    xLabel: "percent of the characters",
    width: 720,
  });
  const trained = routed.filter(({ loads }) => loads.length > 0);
  const overTime = trained.length > 0 ? [largestLoads(models), ...trained.flatMap(loadOverTime)] : [];
  return {
    title: "Load",
    html: [perCharacter, ...overTime].map(figure).join(""),
    note:
      "An even load gives every expert as many characters as the others. For that, top-2 has the balance loss, and GShard, " +
      "which has it too, drops what an expert has no room for. With expert choice the load is even by construction, and a " +
      "character has as many experts as chose it.",
  };
}
