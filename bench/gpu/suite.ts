/** The suite on GPUs: every case on every route, checked and timed in one page beside its peers. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RouteName } from "../../src/gpu/index.ts";
import type { Browser, Tab } from "../../test/gpu/browser.ts";
import type { Children } from "../children.ts";
import type { Timing } from "../timing.ts";
import { type GpuCase, gpuWorkOf } from "./cases.ts";
import type { BenchPage, SideName } from "./page.ts";
import { besides, type Column, cellOf, type GpuCell, type GpuRow, type RouteResult } from "./results.ts";

export interface GpuPlan {
  readonly cases: readonly GpuCase[];
  readonly routes: readonly RouteResult[];
  /** Whether tfjs is there. */
  readonly peers: boolean;
  readonly quick: boolean;
  /** Where problems are written, and where the page finds them. */
  readonly folder: string;
  readonly url: string;
}

type Step = (what: string, processes: number) => void;

/** How often each side has its turn, and how long that is. */
const EFFORT: Readonly<Record<"full" | "quick", { rounds: number; ms: number }>> = {
  full: { rounds: 5, ms: 400 },
  quick: { rounds: 3, ms: 150 },
};
/** From here on so many rounds say enough. */
const SLOW = { ms: 2000, rounds: 3 };
const effortOf = ({ quick }: GpuPlan) => EFFORT[quick ? "quick" : "full"];

const makeProblem = fileURLToPath(new URL("./problem.ts", import.meta.url));

/** The library on the CPU does the same where its own bench has the task. */
const hasCpuSide = ({ task: { kind } }: GpuCase): boolean => kind === "matmul" || kind === "grouped" || kind === "moe";

const sidesOf = (route: RouteName, { peers }: GpuPlan): readonly SideName[] => [
  "moegrad",
  ...(peers ? besides(route) : []),
];

/** How many steps the plan has. */
export function gpuSteps(plan: GpuPlan): number {
  const each =
    1 + plan.routes.reduce((n, { route }) => n + sidesOf(route, plan).length * (1 + effortOf(plan).rounds), 0);
  return plan.cases.reduce((n, c) => n + each + Number(hasCpuSide(c)), 0);
}

/** Calls a member of the page. */
async function ask<K extends keyof BenchPage>(
  tab: Tab,
  name: K,
  ...args: Parameters<BenchPage[K]>
): Promise<Awaited<ReturnType<BenchPage[K]>>> {
  const given = await tab.evaluate(
    ([member, list]) =>
      (globalThis as unknown as { bench: Record<string, (...a: unknown[]) => unknown> }).bench[member](...list),
    [name as string, args as unknown[]] as const,
  );
  return given as Awaited<ReturnType<BenchPage[K]>>;
}

/** A page of its own, so that nothing is left over from another case. */
async function withTab<T>(browser: Browser, url: string, work: (tab: Tab) => Promise<T>): Promise<T> {
  const tab = await browser.newPage();
  try {
    await tab.goto(url);
    return await work(tab);
  } finally {
    await tab.close();
  }
}

/** A route with its adapter and its roof, or why it is not there. */
export async function inspect(browser: Browser, url: string, route: RouteName): Promise<RouteResult | string> {
  try {
    const found = await withTab(browser, url, (tab) => ask(tab, "open", "moegrad", route));
    if (found === null) return "no GPU is in use";
    return { route, ...found, roof: await withTab(browser, url, (tab) => ask(tab, "roof", route)) };
  } catch (error) {
    return reasonOf(error);
  }
}

/** The first line of an error of the page, without what Playwright puts before it. */
const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0].replace(/^page\.evaluate: (\w*Error: )?/, "");

/** Every case, a row for each route. */
export async function* runGpuSuite(
  plan: GpuPlan,
  browser: Browser,
  children: Children,
  step: Step,
): AsyncGenerator<GpuRow> {
  for (const [i, c] of plan.cases.entries()) {
    const folder = join(plan.folder, String(i));
    step(`${c.name}: exact results`, 1);
    await children.run(process.execPath, ["--import", "tsx", makeProblem, c.name, folder]);
    const simd = hasCpuSide(c) ? await timeCpu(c, folder, plan, children, step) : {};
    for (const { route } of plan.routes) {
      const sides = await withTab(browser, plan.url, (tab) => timeSides(c, tab, `/problems/${i}`, route, plan, step));
      yield { name: c.name, route, work: gpuWorkOf(c.task), sides: { ...sides, ...simd } };
    }
  }
}

async function timeCpu(
  c: GpuCase,
  folder: string,
  plan: GpuPlan,
  children: Children,
  step: Step,
): Promise<{ simd: GpuCell }> {
  step(`${c.name}: simd`, 1);
  const seconds = effortOf(plan).ms / 1000;
  const order = { do: "time", module: "./sides/moegrad.ts", folder, seconds, clock: "wall" } as const;
  try {
    const { ms, error } = await children.ask<Timing>({ ...order, device: "simd", threads: 1 });
    return { simd: cellOf([[ms]], error, "plain") };
  } catch (error) {
    if (children.stopped) throw error;
    return { simd: { failed: reasonOf(error) } };
  }
}

/** All sides in one page, in rounds, so that what slows the machine for a while slows all of them. */
async function timeSides(
  c: GpuCase,
  tab: Tab,
  problem: string,
  route: RouteName,
  plan: GpuPlan,
  step: Step,
): Promise<Partial<Record<Column, GpuCell>>> {
  const { rounds, ms } = effortOf(plan);
  const cells: Partial<Record<Column, GpuCell>> = {};
  const open: { name: SideName; error: number; way: string; ms: number; times: number[][] }[] = [];
  await ask(tab, "load", problem);
  for (const name of sidesOf(route, plan)) {
    step(`${c.name}: ${name} beside ${route} is checked`, 1);
    try {
      await ask(tab, "open", name, route);
      open.push({ name, ...(await ask(tab, "prepare", name)), times: [] });
    } catch (error) {
      cells[name] = { failed: reasonOf(error) };
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const { name, ms: first, times } of open) {
      step(`${c.name}: ${name} beside ${route}`, 1);
      if (first > SLOW.ms && round >= SLOW.rounds) continue;
      times.push(await ask(tab, "time", name, ms));
    }
  }
  step(c.name, (sidesOf(route, plan).length - open.length) * rounds);
  for (const { name, error, way, times } of open) cells[name] = cellOf(times, error, way);
  return cells;
}
