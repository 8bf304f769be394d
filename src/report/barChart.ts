/** Bars and histograms as SVG in a string. */
import { checkOptions, rangeError } from "../errors.ts";
import type { ChartOptions, Mark, Plot, Scale, Series, Values } from "./axes.ts";
import {
  axisName,
  centred,
  chartNames,
  checkChart,
  checkMark,
  checkNames,
  checkSeries,
  checkValues,
  colourOf,
  longest,
  yAxis,
} from "./axes.ts";
import * as svg from "./svg.ts";

const { el, label, point } = svg;

/**
 * A chart with one horizontal bar for each label; several series stack.
 *
 * Edges    a bar's text is its total unless `valueLabels` says otherwise; the axis starts at 0
 * Shapes   labels [N], values [N] each, valueLabels [N]
 * Throws   RangeError for a negative value or mark, or series or value labels of another length than the labels
 */
export function barChart(
  options: Omit<ChartOptions, "height" | "yLabel"> & {
    labels: readonly string[];
    series: readonly Series[];
    valueLabels?: readonly string[] | undefined;
    mark?: Mark | undefined;
  },
): string {
  checkOptions("barChart", options, [...chartNames, "labels", "series", "valueLabels", "mark"]);
  const { title, width = 520 } = checkChart("barChart", options);
  const { labels, mark } = options;
  checkNames("barChart", "labels", labels);
  checkMark("barChart", mark, "a finite number of at least 0", (value) => value >= 0);
  const series = checkSeries("barChart", options.series, labels.length, true);
  const totals = labels.map((_, i) => series.reduce((total, { values }) => total + (values[i] ?? 0), 0));
  const texts = checkNames("barChart", "valueLabels", options.valueLabels ?? totals.map((n) => svg.formatNumber(n)));
  if (texts.length !== labels.length) {
    throw rangeError("barChart", "valueLabels", `${texts.length} entries`, `${labels.length}`, "one for each label");
  }

  const left = Math.min(width / 2, longest(labels) + 12);
  const top = 34 + (series.length > 1 ? 22 : 0) + (mark ? 20 : 0);
  const plot = { left, right: width - longest(texts) - 10, top, bottom: top + labels.length * 26 };
  const most = totals.reduce((a, b) => Math.max(a, b), Math.max(mark?.value ?? 0, 1e-300));
  const scale = svg.linear([0, most], [plot.left, plot.right]);
  const body = labels.map((text, i) => {
    const y = plot.top + i * 26;
    const name = svg.fitText(text, left - 8);
    const row = label(left - 8, y + 17, name, { "text-anchor": "end" });
    return row + stack(series, i, text, scale, y) + label(scale(totals[i]) + 6, y + 17, texts[i], { class: "mg-v" });
  });
  const note = mark ? [verticalMark(plot, mark, scale(mark.value), width)] : [];
  const axis = el("path", { class: "mg-g", d: `M${point(left, plot.top)}V${plot.bottom}` });
  const unit = options.xLabel ? [label(left, plot.bottom + 18, options.xLabel, { class: "mg-s" })] : [];
  const description = options.description ?? labels.map((text, i) => `${text}: ${texts[i]}`).join("; ");
  const height = plot.bottom + (options.xLabel ? 28 : 10);
  return svg.chart(title, description, width, height, legend(series, 40), body.join(""), ...note, axis, ...unit);
}

/**
 * A chart with one upright bar for each bin, and its part of all above it.
 *
 * Edges    without `bins` they are numbered from 0; with more than 24 bins only some are named
 * Shapes   counts [N], bins [N]
 * Throws   RangeError for a negative count, or bins of another length than the counts
 */
export function histogram(
  options: ChartOptions & { counts: ArrayLike<number>; bins?: readonly (string | number)[] | undefined },
): string {
  checkOptions("histogram", options, [...chartNames, "counts", "bins"]);
  const { title, width = 420, height = 250 } = checkChart("histogram", options);
  const values = checkValues("histogram", "counts", options.counts, options.bins?.length, true);
  const counts = values.map((count) => count ?? 0);
  const bins = (options.bins ?? counts.map((_, i) => i)).map(String);
  const all = counts.reduce((a, b) => a + b, 0);

  const plot = { left: 64, right: width - 8, top: 58, bottom: height - (options.xLabel ? 50 : 32) };
  const y = yAxis(plot, [0, ...counts], options.yLabel);
  const step = (plot.right - plot.left) / Math.max(1, counts.length);
  const bar = Math.min(64, step * 0.8);
  const every = Math.ceil((longest(bins) + 6) / step);
  const body = counts.map((count, i) => {
    const middle = plot.left + (i + 0.5) * step;
    const top = y.scale(count);
    const share = svg.percent(all > 0 ? count / all : 0);
    const shape = { x: middle - bar / 2, y: top, width: bar, height: plot.bottom - top, class: "mg-f0" };
    const shown = longest([share]) < step ? label(middle, top - 6, share, centred("mg-v")) : "";
    const name = i % every === 0 ? label(middle, plot.bottom + 17, bins[i], centred()) : "";
    return el("rect", shape, svg.tooltip(`${bins[i]}: ${svg.formatNumber(count)} (${share})`)) + shown + name;
  });
  const axis = options.xLabel ? [axisName(plot, options.xLabel)] : [];
  const description = options.description ?? bins.map((bin, i) => `${bin}: ${counts[i]}`).join("; ");
  return svg.chart(title, description, width, height, ...y.drawn, body.join(""), ...axis);
}

function verticalMark(plot: Plot, mark: Mark, x: number, width: number): string {
  const left = x + svg.textWidth(mark.label) / 2 > width ? "end" : "middle";
  const dotted = el("path", { class: "mg-m", d: `M${point(x, plot.top - 2)}V${plot.bottom}` });
  return dotted + label(x, plot.top - 7, mark.label, { class: "mg-s", "text-anchor": left });
}

/** The parts of one bar from left to right. */
function stack(series: readonly Values[], i: number, name: string, scale: Scale, y: number): string {
  let from = 0;
  const drawn = series.map(({ name: part, values }, j) => {
    const to = from + (values[i] ?? 0);
    const shape = { x: scale(from), y: y + 3, width: scale(to) - scale(from), height: 20, class: `mg-f${colourOf(j)}` };
    const text = `${name}: ${series.length > 1 ? `${part} ` : ""}${svg.formatNumber(to - from)}`;
    from = to;
    return shape.width > 0 ? el("rect", shape, svg.tooltip(text)) : "";
  });
  return drawn.join("");
}

/** Swatches with names; a single series needs none. */
function legend(series: readonly Values[], y: number): string {
  if (series.length < 2) return "";
  let x = 0;
  const drawn = series.map(({ name }, i) => {
    const swatch = el("rect", { x, y: y - 11, width: 12, height: 12, class: `mg-f${colourOf(i)}` });
    const text = label(x + 18, y, name, { class: "mg-v" });
    x += 34 + svg.textWidth(name);
    return swatch + text;
  });
  return drawn.join("");
}
