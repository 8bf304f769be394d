/** The results as columns for the terminal. */
import { digits, duration, rate, shareOfRoof } from "../table.ts";
import type { Column, GpuCell, GpuResults, GpuRow, RouteResult } from "./results.ts";

export const COLUMNS: readonly Column[] = ["tfjs-webgl", "tfjs-webgpu", "simd"];

const NAME = 24;
const WIDTHS = [8, 10, 10, 14, 8, 17, 17, 17];

const cells = (name: string, others: readonly string[]): string =>
  [name.padEnd(NAME), ...others.map((text, i) => text.padStart(WIDTHS[i]))].join(" ").trimEnd();

export const gpuHeader = (): string => cells("case", ["route", "median", "quickest", "", "of roof", ...COLUMNS]);

/** How many times faster moegrad is, by medians and by the quickest calls: below 1, it is slower. */
export function gpuRatio(own: GpuCell | undefined, other: GpuCell | undefined): string {
  if (other === undefined || own === undefined || "failed" in own) return "";
  if ("failed" in other) return "failed";
  return `${digits(other.median / own.median)}× ${digits(other.least / own.least)}×`;
}

export function gpuLine({ name, route, work, sides }: GpuRow, { roof }: RouteResult): string {
  const own = sides.moegrad as GpuCell;
  if ("failed" in own) return cells(name, [route, "failed"]);
  return cells(name, [
    route,
    duration(own.median),
    duration(own.least),
    rate(work, own.median),
    shareOfRoof(work, own.median, roof),
    ...COLUMNS.map((column) => gpuRatio(own, sides[column])),
  ]);
}

/** What failed, a line each. */
export const gpuFailures = ({ name, route, sides }: GpuRow): string[] =>
  Object.entries(sides).flatMap(([side, cell]) =>
    "failed" in cell ? [`  ${name}: ${side} beside ${route}: ${cell.failed}`] : [],
  );

/** What a route runs on, said plainly. */
export function routeWords({ route, adapter, software, roof }: RouteResult): string {
  const what = software ? `${adapter}: a program on the CPU, no GPU` : adapter;
  return `${route} on ${what}; its roof by gpu.js: ${digits(roof.gflops)} GFLOP/s, copies ${digits(roof.gbytes)} GB/s`;
}

/** What the last line says. */
export function gpuLast({ rows }: GpuResults): string {
  const errors = rows.flatMap(({ sides }) => (sides.moegrad && "error" in sides.moegrad ? [sides.moegrad.error] : []));
  const worst = Math.max(0, ...errors).toExponential(1);
  return `results at most ${worst} of the largest number from the exact ones`;
}
