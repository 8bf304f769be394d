/** The results as columns for the terminal. */
import type { Work } from "./cases.ts";
import type { Roof } from "./roof.ts";
import type { Cell, Row } from "./suite.ts";
import { OWN } from "./suite.ts";

/** A number with about three digits that count. */
export function digits(x: number): string {
  if (!Number.isFinite(x)) return "–";
  return x.toFixed(x >= 100 ? 0 : x >= 10 ? 1 : x >= 1 ? 2 : 3);
}

/** Milliseconds; microseconds and nanoseconds where they read better. */
export function duration(ms: number): string {
  if (ms >= 0.1) return `${digits(ms)} ms`;
  return ms >= 1e-3 ? `${digits(1000 * ms)} µs` : `${digits(1e6 * ms)} ns`;
}

/** How fast that is: GFLOP/s where flops are counted, else GB/s, else the time of one element. */
export function rate({ flops, bytes, elements }: Work, ms: number): string {
  if (flops) return `${digits(flops / ms / 1e6)} GFLOP/s`;
  if (elements) return `${digits((1e6 * ms) / elements)} ns/el`;
  return bytes ? `${digits(bytes / ms / 1e6)} GB/s` : "";
}

/** The share of what one core could do at best; "" where neither flops nor bytes say it. */
export function shareOfRoof({ flops, bytes }: Work, ms: number, { gflops, gbytes }: Roof): string {
  const share = flops ? flops / ms / 1e6 / gflops : bytes ? bytes / ms / 1e6 / gbytes : Number.NaN;
  return Number.isFinite(share) ? `${(100 * share).toFixed(0)} %` : "";
}

/** How many times faster moegrad is than a side: below 1, it is slower. */
export function ratio(own: Cell | undefined, other: Cell | undefined): string {
  if (other === undefined || own === undefined || "failed" in own) return "";
  if ("failed" in other) return "failed";
  return `${digits(other.ms / own.ms)}×`;
}

const NAME = 24;
const COLUMN = 12;

export function header(peers: readonly string[]): string {
  const columns = ["time", "", "of roof", ...peers];
  const names = ["case".padEnd(NAME), ...columns.map((name) => name.padStart(COLUMN))];
  return names.join(" ").trimEnd();
}

export function line({ name, work, sides }: Row, roof: Roof, peers: readonly string[]): string {
  const own = sides[OWN];
  const cells =
    "failed" in own
      ? [`failed: ${own.failed}`]
      : [
          duration(own.ms),
          rate(work, own.ms),
          shareOfRoof(work, own.ms, roof),
          ...peers.map((peer) => ratio(own, sides[peer])),
        ];
  return [name.padEnd(NAME), ...cells.map((cell) => cell.padStart(COLUMN))].join(" ").trimEnd();
}

/** What failed, a line each. */
export function failures({ name, sides }: Row): string[] {
  return Object.entries(sides).flatMap(([side, cell]) =>
    "failed" in cell ? [`  ${name}: ${side}: ${cell.failed}`] : [],
  );
}
