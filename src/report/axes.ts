/** Axes: what lines, bars and histograms have in common. */
import { checkInteger, checkNumber, rangeError, show, typeError } from "../errors.ts";
import { seriesColours } from "./palette.ts";
import * as svg from "./svg.ts";

const { el, label, point } = svg;

/** Numbers under a name: one line, or one part of every bar. */
export interface Series {
  name: string;
  /** null and NaN are gaps */
  values: ArrayLike<number | null>;
}

export interface ChartOptions {
  title: string;
  /** for screen readers; without it, one is made from the numbers */
  description?: string | undefined;
  xLabel?: string | undefined;
  yLabel?: string | undefined;
  width?: number | undefined;
  height?: number | undefined;
}

/** A value to compare with, drawn as a dotted line. */
export interface Mark {
  value: number;
  label: string;
}

/** The edges of the area that is drawn in, in pixels. */
export interface Plot {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export type Scale = (x: number) => number;

/** The option names that all charts share. */
export const chartNames = ["title", "description", "xLabel", "yLabel", "width", "height"];

/** Throws unless the title is a string and the sizes leave room to draw in. */
export function checkChart<T extends { title: string; width?: number | undefined; height?: number | undefined }>(
  op: string,
  options: T,
): T {
  if (typeof options.title !== "string") throw typeError(op, "title", show(options.title), "a string");
  const { width = 640, height = 340 } = options;
  checkInteger(op, "width", width, 240, 4000, "the labels need room");
  checkInteger(op, "height", height, 140, 4000, "the labels need room");
  return options;
}

/** A series with null for every gap. */
export type Values = { name: string; values: (number | null)[] };

/** Throws unless the mark has a place and a name. */
export function checkMark(
  op: string,
  mark: Mark | undefined,
  expected: string,
  test: (value: number) => boolean,
): void {
  if (mark === undefined) return;
  if (typeof mark?.label !== "string") throw typeError(op, "mark", show(mark), "{ value, label } with a label to show");
  checkNumber(op, "mark.value", mark.value, expected, test);
}

/** A list of strings. Throws a TypeError for anything else. */
export function checkNames(op: string, argument: string, names: readonly string[]): readonly string[] {
  if (!Array.isArray(names)) throw typeError(op, argument, show(names), "a list of strings");
  names.forEach((name: unknown, i) => {
    if (typeof name !== "string") throw typeError(op, `${argument}[${i}]`, show(name), "a string");
  });
  return names;
}

/** The series as lists. Throws unless there is one, and all are as long as they should be. */
export function checkSeries(op: string, series: readonly Series[], length?: number, positive = false): Values[] {
  if (!Array.isArray(series)) throw typeError(op, "series", show(series), "a list of { name, values }");
  if (series.length === 0) throw rangeError(op, "series", "no entry", "at least one");
  const expected = length ?? series[0]?.values?.length;
  return series.map((one: Series, i) => {
    if (one === null || typeof one !== "object") throw typeError(op, `series[${i}]`, show(one), "{ name, values }");
    const values = checkValues(op, `series[${i}].values`, one.values, expected, positive);
    return { name: String(one.name), values };
  });
}

/** The values with null for every gap. Throws unless they are `length` many, and `positive` ones not below 0. */
export function checkValues(
  op: string,
  argument: string,
  values: Series["values"],
  length: number | undefined,
  positive: boolean,
): (number | null)[] {
  if (typeof values?.length !== "number" || typeof values === "string") {
    throw typeError(op, argument, show(values), "a list of numbers");
  }
  if (length !== undefined && values.length !== length) {
    throw rangeError(op, argument, `${values.length} entries`, `${length}`, "one for each position of the axis");
  }
  const list = Array.from(values, (value) => (isNumber(value) ? value : null));
  const negative = list.findIndex((value) => value !== null && value < 0);
  if (positive && negative >= 0) {
    throw rangeError(op, `${argument}[${negative}]`, show(list[negative]), "at least 0", "bars start there");
  }
  return list;
}

export const isNumber = (x: number | null | undefined): x is number => typeof x === "number" && Number.isFinite(x);
export const longest = (texts: readonly string[]): number =>
  texts.reduce((most, text) => Math.max(most, svg.textWidth(text)), 0);
export const centred = (name?: string) => ({ "text-anchor": "middle", class: name });
export const colourOf = (i: number): number => i % seriesColours.light.length;

/** The name of an axis of x below its ticks. */
export function axisName(plot: Plot, text: string): string {
  return label((plot.left + plot.right) / 2, plot.bottom + 40, text, centred("mg-s"));
}

/** Scale and ticks along the bottom. */
export function xAxis(plot: Plot, xs: readonly number[], name: string | undefined): { scale: Scale; drawn: string[] } {
  const [min, max] = extent(xs.length > 0 ? xs : [0]);
  const ticks = svg.niceTicks(min, max, Math.max(2, Math.floor((plot.right - plot.left) / 90)));
  // Lines use the whole width: a tick outside the values is not drawn, so the scale ends at the values.
  const ends: [number, number] = min < max ? [min, max] : [ticks[0], ticks[ticks.length - 1]];
  const scale = svg.linear(ends, [plot.left + 4, plot.right - 4]);
  const texts = svg.formatTicks(ticks);
  const drawn = ticks.flatMap((tick, i) =>
    tick < ends[0] - 1e-12 || tick > ends[1] + 1e-12
      ? []
      : [label(scale(tick), plot.bottom + 18, texts[i], centred("mg-s"))],
  );
  return { scale, drawn: name ? [...drawn, axisName(plot, name)] : drawn };
}

/** Scale, ticks and grid lines from the left. */
export function yAxis(plot: Plot, ys: readonly number[], name: string | undefined): { scale: Scale; drawn: string[] } {
  const [min, max] = extent(ys);
  const ticks = svg.niceTicks(min, max, Math.max(2, Math.floor((plot.bottom - plot.top) / 45)));
  const scale = svg.linear([ticks[0], ticks[ticks.length - 1]], [plot.bottom, plot.top]);
  const drawn = svg.formatTicks(ticks).map((text, i) => {
    const y = scale(ticks[i]);
    const grid = el("path", { class: "mg-g", d: `M${point(plot.left, y)}H${plot.right}` });
    return grid + label(plot.left - 8, y + 4, text, { class: "mg-s", "text-anchor": "end" });
  });
  return { scale, drawn: name ? [...drawn, label(0, plot.top - 10, name, { class: "mg-s" })] : drawn };
}

function extent(xs: readonly number[]): [number, number] {
  return [xs.reduce((a, b) => Math.min(a, b), xs[0]), xs.reduce((a, b) => Math.max(a, b), xs[0])];
}
