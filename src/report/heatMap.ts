/** Heat maps: a table of counts as coloured cells, as SVG in a string. */
import { checkOptions, rangeError, show, typeError } from "../errors.ts";
import { centred, checkChart, checkNames, longest } from "./axes.ts";
import { type CountMatrix, type Counts, columnSums, sum } from "./information.ts";
import { rampSteps } from "./palette.ts";
import * as svg from "./svg.ts";

const { el, label } = svg;

/** What a cell's colour means: the value itself, or its part of its row or its column. */
export type Normalize = "none" | "row" | "column";

interface Grid {
  left: number;
  top: number;
  cell: number;
  height: number;
  /** left edge of each column */
  xs: number[];
}

/**
 * A heat map: one row of cells for each name in `rows`, one column for each in `cols`; the darker, the more (on a dark page, the
 * brighter).
 *
 *   colour[i, j] = v / max v,  v = n_ij  or  n_ij / Σ_j n_ij  (row)  or  n_ij / Σ_i n_ij  (column)
 *
 * Values are written into the cells where they have the room, and a pointer shows each with what it was made from.
 *
 * Edges    an empty row or column counts as 0; `breaks` puts a gap before these columns
 * Shapes   values [rows][cols], finite and not negative
 * Throws   RangeError when the values are another size than the names, or negative
 */
export function heatMap(options: {
  title: string;
  description?: string | undefined;
  rows: readonly string[];
  cols: readonly string[];
  values: CountMatrix;
  normalize?: Normalize | undefined;
  rowLabel?: string | undefined;
  colLabel?: string | undefined;
  breaks?: readonly number[] | undefined;
  width?: number | undefined;
}): string {
  const op = "heatMap";
  const names = [
    "title",
    "description",
    "rows",
    "cols",
    "values",
    "normalize",
    "rowLabel",
    "colLabel",
    "breaks",
    "width",
  ];
  checkOptions(op, options, names);
  const { title, rows, cols, width = 860, rowLabel = "", colLabel = "", normalize = "none" } = checkChart(op, options);
  checkNames(op, "rows", rows);
  checkNames(op, "cols", cols);
  checkValues(op, options.values, rows, cols);
  if (!["none", "row", "column"].includes(normalize)) {
    throw rangeError(op, "normalize", show(normalize), '"none", "row" or "column"');
  }
  const { values, breaks = [] } = options;
  const parts = partsOf(values, normalize);
  const most = parts.flat().reduce((a, b) => Math.max(a, b), 0);
  const grid = gridOf(rows, cols, breaks, width);
  const write = (x: number) => (normalize === "none" ? svg.formatNumber(x) : svg.percent(x));
  const cells = parts.map((row, i) =>
    row.map((part, j) => {
      const count = svg.formatNumber(values[i][j]);
      const of = normalize === "none" ? "" : ` (${svg.percent(part)} of the ${normalize})`;
      return cell(grid, i, j, most > 0 ? part / most : 0, write(part), `${rows[i]}, ${cols[j]}: ${count}${of}`);
    }),
  );
  const bottom = grid.top + rows.length * grid.height;
  const right = Math.max(grid.left, (grid.xs[cols.length - 1] ?? 0) + grid.cell);
  return svg.chart(
    title,
    options.description ?? `Heat map of ${rows.length} rows by ${cols.length} columns, from 0 to ${write(most)}.`,
    Math.max(right, grid.left + 240, svg.textWidth(title) * 1.2),
    bottom + 40,
    label(0, grid.top - 10, rowLabel, { class: "mg-s" }),
    label(right, 36, colLabel, { class: "mg-s", "text-anchor": "end" }),
    // Joined here: a call has room for some 100,000 arguments only.
    rows.map((name, i) => rowName(grid, i, name)).join(""),
    cols.map((name, j) => columnName(grid, j, name)).join(""),
    cells.flat().join(""),
    legend(grid.left, bottom + 16, write(most), normalize),
  );
}

function checkValues(op: string, values: CountMatrix, rows: readonly string[], cols: readonly string[]): void {
  if (!Array.isArray(values)) throw typeError(op, "values", show(values), "a list of rows of numbers");
  if (values.length !== rows.length) {
    throw rangeError(op, "values", `${values.length} rows`, `${rows.length}`, "one for each name in rows");
  }
  values.forEach((row: Counts, i) => {
    if (typeof row?.length !== "number") throw typeError(op, `values[${i}]`, show(row), "a row of numbers");
    if (row.length !== cols.length) {
      throw rangeError(op, `values[${i}]`, `${row.length} entries`, `${cols.length}`, "one for each name in cols");
    }
    const wrong = Array.from(row).findIndex((x) => !(x >= 0 && x < Number.POSITIVE_INFINITY));
    if (wrong >= 0) throw rangeError(op, `values[${i}][${wrong}]`, show(row[wrong]), "a finite number of at least 0");
  });
}

function partsOf(values: CountMatrix, normalize: Normalize): number[][] {
  const rows = values.map(sum);
  const columns = columnSums(values);
  return values.map((row, i) =>
    Array.from(row, (x, j) => {
      const whole = normalize === "row" ? rows[i] : normalize === "column" ? columns[j] : 1;
      return whole > 0 ? x / whole : 0;
    }),
  );
}

/** Cells as wide as the room allows, so that few columns can show their values; names stand upright where they fit. */
function gridOf(rows: readonly string[], cols: readonly string[], breaks: readonly number[], width: number): Grid {
  const left = Math.min(180, longest(rows) + 12);
  const gap = 5;
  const cell = Math.max(17, Math.min(58, (width - left - gap * breaks.length) / Math.max(1, cols.length)));
  const height = Math.max(24, Math.min(32, cell));
  let x = left;
  const xs = cols.map((_, j) => {
    x += (j > 0 ? cell : 0) + (j > 0 && breaks.includes(j) ? gap : 0);
    return x;
  });
  const slanted = longest(cols) > cell;
  return { left, cell, height, xs, top: 54 + (slanted ? Math.min(120, longest(cols)) : 14) };
}

function rowName({ left, top, height }: Grid, i: number, name: string): string {
  return label(left - 8, top + (i + 0.5) * height + 4, svg.fitText(name, 172), { "text-anchor": "end" });
}

function columnName({ top, cell, xs }: Grid, j: number, name: string): string {
  const x = xs[j] + cell / 2;
  if (svg.textWidth(name) <= cell) return label(x, top - 7, name, centred());
  const turned = `rotate(-90 ${Math.round(x + 4)} ${top - 6})`;
  return label(Math.round(x + 4), top - 6, svg.fitText(name, 120), { transform: turned });
}

function cell(grid: Grid, i: number, j: number, part: number, text: string, tip: string): string {
  const step = Math.round(part * (rampSteps - 1));
  const [x, y] = [grid.xs[j], grid.top + i * grid.height];
  const shape = { x: x + 0.5, y: y + 0.5, width: grid.cell - 1, height: grid.height - 1, rx: 2, class: `mg-h${step}` };
  const square = el("rect", shape, svg.tooltip(tip));
  const short = text.replace(" %", "");
  if (part === 0 || svg.textWidth(short) > grid.cell) return square;
  // The text would otherwise take the pointer away from the cell and its tooltip.
  const style = { class: `mg-v mg-i${step}`, "text-anchor": "middle", "pointer-events": "none" };
  return square + label(x + grid.cell / 2, y + grid.height / 2 + 4, short, style);
}

/** The ramp from nothing to most. */
function legend(x: number, y: number, most: string, normalize: Normalize): string {
  const steps = Array.from({ length: rampSteps }, (_, step) =>
    el("rect", { x: x + 18 + step * 7, y, width: 7, height: 12, class: `mg-h${step}` }),
  );
  const unit = normalize === "none" ? "" : ` of the ${normalize}`;
  const end = label(x + 26 + rampSteps * 7, y + 11, `${most}${unit}`, { class: "mg-s" });
  return label(x, y + 11, "0", { class: "mg-s" }) + steps.join("") + end;
}
