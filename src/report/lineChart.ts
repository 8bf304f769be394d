/** Lines over a common axis, such as losses over steps, as SVG in a string. */
import { checkNumber, checkOptions } from "../errors.ts";
import type { ChartOptions, Mark, Plot, Scale, Series, Values } from "./axes.ts";
import { chartNames, checkChart, checkMark, checkSeries, colourOf, isNumber, longest, xAxis, yAxis } from "./axes.ts";
import * as svg from "./svg.ts";

const { el, label, point } = svg;

/**
 * A chart with one line for each series, labelled at its right end.
 *
 * Edges    a gap (null, NaN, infinite) interrupts the line; a value between two gaps is a dot; without `x` the values are
 *          numbered from 0; the axis of y covers the values, and `yMin` and `yMax` too when they are given
 * Shapes   x [N], values [N] each
 * Throws   RangeError when a series and x differ in length, or there is no series
 */
export function lineChart(
  options: ChartOptions & {
    x?: ArrayLike<number> | undefined;
    series: readonly Series[];
    yMin?: number | undefined;
    yMax?: number | undefined;
    mark?: Mark | undefined;
  },
): string {
  checkOptions("lineChart", options, [...chartNames, "x", "series", "yMin", "yMax", "mark"]);
  const { title, width = 640, height = 340 } = checkChart("lineChart", options);
  checkMark("lineChart", options.mark, "a finite number", () => true);
  const series = checkSeries("lineChart", options.series, options.x?.length);
  const xs = Array.from(options.x ?? Array.from(series[0].values, (_, i) => i));
  xs.forEach((x, i) => {
    checkNumber("lineChart", `x[${i}]`, x, "a finite number", () => true);
  });
  const given = [options.yMin, options.yMax, options.mark?.value];
  const ys = [...series.flatMap(({ values }) => values), ...given].filter(isNumber);

  const names = series.length > 1 ? series.map(({ name }) => name) : [];
  const room = Math.min(width / 3, longest(names) + 18);
  const plot = { left: 64, right: width - Math.max(16, room), top: 44, bottom: height - (options.xLabel ? 50 : 32) };
  const x = xAxis(plot, xs, options.xLabel);
  const y = yAxis(plot, ys.length > 0 ? ys : [0], options.yLabel);
  const lines = series.map((one, i) => line(one, i, xs, x.scale, y.scale));
  const mark = options.mark ? [markLine(plot, options.mark, y.scale)] : [];
  const ends = names.length > 0 ? endLabels(plot, series, y.scale) : [];
  const description = options.description ?? describeLines(series, options.xLabel);
  return svg.chart(title, description, width, height, ...y.drawn, ...x.drawn, ...mark, ...lines, ...ends);
}

/** One series: a path that lifts its pen at gaps, with dots that show their value as long as there are few. */
function line({ name, values }: Values, i: number, xs: readonly number[], x: Scale, y: Scale): string {
  let d = "";
  const dots: string[] = [];
  values.forEach((value, j) => {
    if (value === null) return;
    const open = j > 0 && values[j - 1] !== null;
    d += `${open ? "L" : "M"}${point(x(xs[j]), y(value))}`;
    const alone = !open && (values[j + 1] ?? null) === null;
    if (alone || values.length <= 40) {
      const at = { cx: x(xs[j]), cy: y(value), r: 3, class: `mg-f${colourOf(i)}` };
      dots.push(el("circle", at, svg.tooltip(`${name}: ${svg.formatNumber(value, 4)} at ${svg.formatNumber(xs[j])}`)));
    }
  });
  return el("path", { class: `mg-l mg-k${colourOf(i)}`, d: d || "M0 0" }, svg.tooltip(name)) + dots.join("");
}

/** The names of the lines at their ends, moved apart where they would overlap. */
function endLabels(plot: Plot, series: readonly Values[], y: Scale): string[] {
  const last = series.map(({ values }) => values.reduce((seen, value) => value ?? seen, null));
  const order = last.flatMap((value, i) => (value === null ? [] : [i]));
  order.sort((a, b) => y(last[a] as number) - y(last[b] as number));
  const ys = order.map((i) => y(last[i] as number));
  for (let j = 1; j < ys.length; j++) ys[j] = Math.max(ys[j], ys[j - 1] + 16);
  for (let j = ys.length - 1, floor = plot.bottom; j >= 0; j--, floor -= 16) ys[j] = Math.min(ys[j], floor);
  return order.map((i, j) => {
    const text = svg.fitText(series[i].name, plot.right / 2 - 14);
    return label(plot.right + 8, ys[j] + 4, text, { style: `fill:var(--mg-c${colourOf(i)})` });
  });
}

function markLine(plot: Plot, mark: Mark, y: Scale): string {
  const at = y(mark.value);
  const dotted = el("path", { class: "mg-m", d: `M${point(plot.left, at)}H${plot.right}` });
  return dotted + label(plot.left + 6, at - 5, mark.label, { class: "mg-s" });
}

function describeLines(series: readonly Values[], xLabel: string | undefined): string {
  const parts = series.map(({ name, values }) => {
    const shown = values.filter(isNumber);
    if (shown.length === 0) return `${name} has no values`;
    return `${name} goes from ${svg.formatNumber(shown[0], 4)} to ${svg.formatNumber(shown[shown.length - 1], 4)}`;
  });
  return `${parts.join("; ")}${xLabel ? `; over ${xLabel}` : ""}.`;
}
