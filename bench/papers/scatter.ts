/** Dots in panels beside one another, as SVG in a string. */
import { type Plot, xAxis, yAxis } from "../../src/report/axes.ts";
import { chart, el, label, textWidth } from "../../src/report/svg.ts";

type Point = readonly [x: number, y: number];

/** Dots of one colour. */
export interface Dots {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Panel {
  readonly title: string;
  /** The same groups in the same order in all panels. */
  readonly groups: readonly Dots[];
}

export interface ScatterOptions {
  readonly title: string;
  readonly description: string;
  readonly panels: readonly Panel[];
  /** Panels in a row. Default: all. */
  readonly columns?: number;
  readonly xLabel?: string;
  readonly yLabel?: string;
  /** Pixels of a panel. Default 290 by 240. */
  readonly width?: number;
  readonly height?: number;
  /** Whether there are numbers on the axes; without them, a frame. Default true. */
  readonly axes?: boolean;
  readonly radius?: number;
  /** Numbers that the axis of x covers beside those of the dots. */
  readonly xCovers?: readonly number[];
}

const COLOURS = 8;
const LINE = 20;
/** Between panels. */
const GAP = { axes: 56, none: 16 };

/** A chart of panels with one scale, and the names of the groups above them. */
export function scatter(options: ScatterOptions): string {
  const { panels, axes = true, width = 290, height = 240, columns = Math.max(1, panels.length) } = options;
  const gap = axes ? GAP.axes : GAP.none;
  const total = Math.max(480, columns * (width + gap) + 12);
  const { rows: names, drawn: legend } = legendOf(panels[0]?.groups ?? [], total);
  const top = 30 + LINE * names;
  const rowHeight = height + (axes ? 92 : 40);
  const points = panels.flatMap(({ groups }) => groups.flatMap((group) => group.points));
  const body = panels.map((panel, i) => {
    const left = (axes ? GAP.axes : 1) + (i % columns) * (width + gap);
    const upper = top + 30 + Math.floor(i / columns) * rowHeight;
    return panelOf(panel, { left, right: left + width, top: upper, bottom: upper + height }, points, options);
  });
  const rows = Math.ceil(panels.length / columns);
  return chart(options.title, options.description, total, top + rows * rowHeight + 12, legend, ...body);
}

function panelOf(panel: Panel, plot: Plot, points: readonly Point[], options: ScatterOptions): string {
  const { axes = true, radius = 2.2, xLabel, yLabel, xCovers = [] } = options;
  const xs = [...xCovers, ...points.map(([x]) => x)];
  const ys = points.length > 0 ? points.map(([, y]) => y) : [0];
  const x = xAxis(plot, xs, xLabel);
  // The name stands at the left edge of the chart, so the first panel of a row has it.
  const y = yAxis(plot, ys, plot.left <= GAP.axes ? yLabel : undefined);
  const { left, right, top, bottom } = plot;
  const frame = `M${left} ${top}H${right}V${bottom}H${left}Z`;
  const around = axes ? [...y.drawn, ...x.drawn].join("") : el("path", { class: "mg-g", d: frame, fill: "none" });
  const dots = panel.groups.flatMap((group, i) =>
    group.points.map(([a, b]) =>
      el("circle", { cx: x.scale(a), cy: y.scale(b), r: radius, class: `mg-f${i % COLOURS}` }),
    ),
  );
  const title = label((left + right) / 2, top - 10, panel.title, { class: "mg-v", "text-anchor": "middle" });
  return `${around}${dots.join("")}${title}`;
}

/** Swatches with names, in as many rows as they need. */
function legendOf(groups: readonly Dots[], width: number): { rows: number; drawn: string } {
  let [x, rows] = [0, 1];
  const drawn = groups.map(({ name }, i) => {
    const wide = 34 + textWidth(name);
    if (x > 0 && x + wide > width) [x, rows] = [0, rows + 1];
    const y = 21 + LINE * rows;
    const swatch = el("rect", { x, y: y - 11, width: 12, height: 12, class: `mg-f${i % COLOURS}` });
    const text = label(x + 18, y, name, { class: "mg-v" });
    x += wide;
    return swatch + text;
  });
  return { rows, drawn: drawn.join("") };
}
