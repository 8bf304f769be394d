/** What a run on GPUs found out, as data. */
import type { RouteName } from "../../src/gpu/index.ts";
import type { Work } from "../cases.ts";
import type { Roof } from "../roof.ts";
import { median } from "../statistics.ts";
import type { SideName } from "./page.ts";

/** Times of one side of a case, or why there are none. */
export type GpuCell =
  | {
      /** The middle of the rounds' own medians. */
      readonly median: number;
      /** The quickest call of all. */
      readonly least: number;
      readonly rounds: number;
      /** The largest difference from the exact results. */
      readonly error: number;
      /** Which of several ways to do it was the quickest. */
      readonly way: string;
    }
  | { readonly failed: string };

/** simd: moegrad on the CPU, one thread. */
export type Column = SideName | "simd";

export interface GpuRow {
  readonly name: string;
  readonly route: RouteName;
  readonly work: Work;
  readonly sides: Readonly<Partial<Record<Column, GpuCell>>>;
}

export interface RouteResult {
  readonly route: RouteName;
  /** What the driver calls the GPU. */
  readonly adapter: string;
  /** Whether that is a program on the CPU. */
  readonly software: boolean;
  readonly roof: Roof;
}

export interface GpuResults {
  readonly date: string;
  readonly browser: string;
  readonly processor: string;
  /** Programs that wanted a core, on average over a minute: before and after. */
  readonly load: readonly [number, number];
  readonly versions: Readonly<Record<string, string>>;
  readonly routes: readonly RouteResult[];
  /** Routes and peers that were not there, and why. */
  readonly missing: Readonly<Record<string, string>>;
  readonly rows: readonly GpuRow[];
}

/** A cell from the times of single calls, by rounds. */
export function cellOf(rounds: readonly (readonly number[])[], error: number, way: string): GpuCell {
  const calls = rounds.flat();
  return { median: median(rounds.map(median)), least: Math.min(...calls), rounds: rounds.length, error, way };
}

/** The sides beside which a route is timed. */
export const besides = (route: RouteName): readonly SideName[] =>
  route === "webgpu" ? ["tfjs-webgpu", "tfjs-webgl"] : ["tfjs-webgl"];
