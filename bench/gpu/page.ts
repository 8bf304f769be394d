/** What runs in the browser: loads a problem, checks every side on it, and times one side at a time. */
import { gpuCounts, type RouteName } from "../../src/gpu/index.ts";
import { device } from "../../src/index.ts";
import { TOLERANCE, worstError } from "../agreement.ts";
import type { Array32 } from "../data.ts";
import { open as openTfjs } from "../peers/tfjsGpu.mjs";
import type { GpuTask } from "./cases.ts";
import { open as openMoegrad } from "./moegrad.ts";
import { measureGpuRoof } from "./roof.ts";
import type { GpuJob, GpuSide } from "./side.ts";

export type SideName = "moegrad" | "tfjs-webgl" | "tfjs-webgpu";

interface Problem {
  readonly task: GpuTask;
  readonly inputs: Readonly<Record<string, Array32>>;
  readonly expected: Readonly<Record<string, Float32Array>>;
}

/** A way that has passed the check, with the time of its second call. */
interface Way {
  readonly name: string;
  readonly job: GpuJob;
  readonly ms: number;
}

/** Beyond this a call says enough without one before it. */
const SLOW_MS = 3000;

const sides = new Map<SideName, GpuSide>();
const ready = new Map<SideName, Way>();
let problem: Problem | null = null;

/** Opens a side, and for moegrad says on what it runs. */
async function open(side: SideName, route: RouteName): Promise<{ adapter: string; software: boolean } | null> {
  sides.set(
    side,
    side === "moegrad" ? await openMoegrad(route) : await openTfjs(side === "tfjs-webgl" ? "webgl" : "webgpu"),
  );
  const { gpu } = device();
  return gpu === undefined ? null : { adapter: gpu.adapter, software: gpu.software };
}

/** Loads a problem that lies below an address, as bench/data.ts has written it. */
async function load(address: string): Promise<void> {
  ready.clear();
  const numbers = async (name: string): Promise<ArrayBuffer> => (await fetch(`${address}/${name}.bin`)).arrayBuffer();
  const description = (await (await fetch(`${address}/task.json`)).json()) as {
    task: GpuTask;
    inputs: readonly { name: string; shape: readonly number[] }[];
    expected: readonly string[];
  };
  const inputs: Record<string, Array32> = {};
  for (const { name, shape } of description.inputs)
    inputs[name] = { shape, data: new Float32Array(await numbers(name)) };
  const expected: Record<string, Float32Array> = {};
  for (const name of description.expected) expected[name] = new Float32Array(await numbers(`expected-${name}`));
  problem = { task: description.task, inputs, expected };
}

/**
 * Checks every way of a side, and keeps the quickest.
 *
 * Throws   Error when a result differs from what is expected by more than TOLERANCE, or when moegrad's loops ran
 */
async function prepare(name: SideName): Promise<{ error: number; way: string; ms: number }> {
  const side = sides.get(name);
  if (side === undefined || problem === null)
    throw new Error("prepare: no side or no problem, expected both (open, load)");
  await side.use();
  const { task, inputs, expected } = problem;
  let [best, most]: [Way | null, number] = [null, 0];
  for (const [way, job] of Object.entries(side.jobs(task, inputs))) {
    const before = gpuCounts();
    const start = performance.now();
    const { error, where } = worstError(await job.all(), expected);
    if (!(error <= TOLERANCE)) {
      throw new Error(
        `${where} differs by ${error.toExponential(1)} of its largest number, expected ${TOLERANCE} at most`,
      );
    }
    const byLoops = (gpuCounts()?.fallbacks ?? 0) - (before?.fallbacks ?? 0);
    if (byLoops > 0) throw new Error(`${byLoops} calls ran on the loops, expected none`);
    if (performance.now() - start < SLOW_MS) await job.once();
    const ms = await timed(job);
    most = Math.max(most, error);
    if (best === null || ms < best.ms) best = { name: way, job, ms };
  }
  const found = best as unknown as Way;
  ready.set(name, found);
  return { error: most, way: found.name, ms: found.ms };
}

async function timed(job: GpuJob): Promise<number> {
  const start = performance.now();
  await job.once();
  return performance.now() - start;
}

/** Times of single calls of one operation each, as many as fit. A call that is short is made once before them. */
async function time(name: SideName, ms: number): Promise<number[]> {
  const way = ready.get(name);
  if (way === undefined || problem === null) throw new Error("time: the side is not ready, expected prepare before");
  await sides.get(name)?.use();
  const repeat = problem.task.kind === "launches" ? problem.task.count : 1;
  if (way.ms < ms) await way.job.once();
  const times: number[] = [];
  for (const end = performance.now() + ms; times.length === 0 || performance.now() < end; ) {
    times.push((await timed(way.job)) / repeat);
  }
  return times;
}

const page = { open, load, prepare, time, roof: measureGpuRoof };
export type BenchPage = typeof page;

(globalThis as unknown as { bench: BenchPage }).bench = page;
