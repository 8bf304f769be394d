/** Html: a report as sections of a page, the label set that explains the routing first. */
import { checkOptions } from "../errors.ts";
import { barChart, histogram } from "./barChart.ts";
import { heatMap } from "./heatMap.ts";
import { figure, inlineBar, page, prose, type Section, table } from "./page.ts";
import { expertClass } from "./palette.ts";
import type { LabelReport, RoutingReport } from "./statistics.ts";
import { el, escapeHtml, formatNumber, percent } from "./svg.ts";
import { blocksOf, caveats, type TopLabel, topLabels, verdict, visible } from "./words.ts";

/**
 * A report as one self-contained HTML page; see `routingSections`.
 *
 * Throws   TypeError for a title that is no string, or unknown options
 */
export function reportHtml(
  report: RoutingReport,
  options: { title: string; lead?: string | undefined } = { title: "What the router did" },
): string {
  checkOptions("reportHtml", options, ["title", "lead"]);
  const tokens = formatNumber(report.numTokens - report.numMasked);
  const lead =
    options.lead ?? `${tokens} tokens, ${report.numExperts} experts, ${formatNumber(report.granted)} granted slots.`;
  return page({ title: options.title, lead, sections: routingSections(report) });
}

/**
 * A report as sections of a page: what the router divides, what each expert took, how the label sets compare, and the load.
 *
 * Edges    without label sets only the load remains
 */
export function routingSections(report: RoutingReport): Section[] {
  return report.ranked.length > 0 && report.granted > 0
    ? [divides(report), took(report), compared(report), load(report), reading()]
    : [load(report)];
}

function divides(report: RoutingReport): Section {
  const best = report.ranked[0];
  const said = caveats(report).map((sentence) => el("p", { class: "mg-note" }, prose(sentence)));
  const html = el("p", { class: "mg-verdict" }, prose(verdict(report))) + figure(labelMap(best, report.labels[best]));
  return { title: "What the router divides", html: html + said.join("") };
}

/** Where each label went: the columns add up to 100 %, so that rare labels show as clearly as frequent ones. */
function labelMap(name: string, labels: LabelReport): string {
  const { columns, other, breaks } = blocksOf(labels);
  const values = labels.matrix.map((row) => [
    ...columns.map((l) => row[l]),
    ...(other.length > 0 ? [other.reduce((total, l) => total + row[l], 0)] : []),
  ]);
  const rest = other.length > 0 ? [`other (${other.length})`] : [];
  return heatMap({
    title: `Where each ${visible(name)} went`,
    description: `Experts by ${visible(name)}, in parts of the label; labels are grouped by the expert that got most of them.`,
    rows: labels.matrix.map((_, e) => `expert ${e}`),
    cols: [...columns.map((l) => visible(labels.names[l])), ...rest],
    values,
    normalize: "column",
    breaks,
  });
}

function took(report: RoutingReport): Section {
  const best = report.ranked[0];
  const labels = report.labels[best];
  const most = report.load.reduce((a, b) => Math.max(a, b), 1);
  const rows = report.load.map((n, e) => [
    `${el("span", { class: `mg-swatch ${expertClass(e)}` }, "&#160;")} expert ${e}`,
    `${inlineBar(n / most)} ${prose(percent(n / report.granted))}`,
    words(topLabels(labels, e, { limit: 5 }), "share"),
    words(topLabels(labels, e, { limit: 6, typical: true }), "ofLabel"),
  ]);
  const name = prose(visible(best));
  return {
    title: "What each expert took",
    html: table(["expert", "load", `most frequent ${name}`, `${name} it got most of`], rows),
    note:
      `Percent in the third column are parts of what the expert got; in the fourth, parts of all tokens with that ${visible(best)}. ` +
      "What is frequent everywhere is frequent with every expert: only the fourth column tells them apart.",
  };
}

function words(tops: readonly TopLabel[], part: "share" | "ofLabel"): string {
  if (tops.length === 0) return "–";
  return tops
    .map(
      (top) => `${el("b", {}, escapeHtml(visible(top.name)))}&#160;${prose(percent(top[part])).replace(" ", "&#160;")}`,
    )
    .join(", ");
}

function compared(report: RoutingReport): Section {
  const rows = report.ranked.map((name) => {
    const { share, chance, dispatchEntropy, labelEntropy, purity, normalizedMutualInformation } = report.labels[name];
    return [
      prose(visible(name)),
      `${inlineBar(share)} ${prose(percent(share))}`,
      prose(percent(chance)),
      `${formatNumber(dispatchEntropy, 3)} of ${formatNumber(labelEntropy, 3)}`,
      formatNumber(purity, 3),
      formatNumber(normalizedMutualInformation, 3),
    ];
  });
  const head = ["label set", "share explained", "by chance", "H(label | expert) of H(label)", "purity", "NMI"];
  const maps = report.ranked.slice(1).map((name) => figure(labelMap(name, report.labels[name])));
  return {
    title: "How the label sets compare",
    html: table(head, rows) + maps.join(""),
    note:
      "Share explained is the mutual information of expert and label over the entropy of the expert. " +
      "H(label | expert) is the dispatch entropy in nats: 0 when every expert sees one label only, H(label) when the expert says nothing.",
  };
}

function load(report: RoutingReport): Section {
  const { granted, dropped, numExperts } = report;
  const kept = { name: "granted", values: report.load };
  const lost = { name: "dropped", values: report.droppedOfExpert };
  const bars = barChart({
    title: "Slots of each expert",
    labels: report.load.map((_, e) => `expert ${e}`),
    series: dropped > 0 ? [kept, lost] : [kept],
    valueLabels: report.load.map((n) => percent(granted > 0 ? n / granted : 0)),
    mark: { value: granted / numExperts, label: "even" },
    width: 460,
  });
  const tokens = histogram({
    title: "Experts per token",
    counts: report.expertsPerToken,
    xLabel: "experts",
    yLabel: "tokens",
    width: 400,
  });
  return { title: "Load", html: facts(report) + el("div", { class: "mg-figures" }, figure(bars), figure(tokens)) };
}

function facts(report: RoutingReport): string {
  const { routerEntropy, deadExperts, numMasked } = report;
  const shown: [name: string, value: string, more?: string][] = [
    ["granted slots", formatNumber(report.granted), `of ${formatNumber(report.asked)} asked for`],
    ["dropped slots", percent(report.dropRate), formatNumber(report.dropped)],
    [
      "tokens without expert",
      percent(report.unservedRate),
      numMasked > 0 ? `${formatNumber(numMasked)} more masked` : "",
    ],
    ["largest load / mean", formatNumber(report.maxOverMean), "1 = balanced"],
    ["spread of load", formatNumber(report.loadCv), "standard deviation / mean"],
    ["entropy of load", percent(report.loadEntropy.ofMax), `of ln E; ${formatNumber(report.loadEntropy.bits)} bits`],
    [
      "dead experts",
      String(deadExperts.length),
      deadExperts.length > 0 ? deadExperts.join(", ") : "below 1 % of the mean",
    ],
  ];
  if (routerEntropy) {
    shown.push(["entropy of probs", percent(routerEntropy.ofMax), "of ln E, mean over tokens; low = decided"]);
  }
  const items = shown.map(([name, value, more = ""]) => {
    const detail = more ? el("small", {}, prose(more)) : "";
    return el("div", {}, el("dt", {}, name), el("dd", {}, prose(value), detail));
  });
  return el("dl", {}, ...items);
}

/** The pitfalls that go with every such plot. */
function reading(): Section {
  const points = [
    "A balance loss evens out the load, and with it some of the division of labour.",
    "Frequent labels confound: a language can look like a topic because of a few frequent words. Compare label sets with each other.",
    "From few tokens, information comes out too high: compare the share with what chance would give.",
    "Experts of different layers have nothing to do with each other: make one report for each layer.",
  ];
  return {
    title: "How to read this",
    html: el("ul", { class: "mg-notes" }, ...points.map((text) => el("li", {}, prose(text)))),
  };
}
