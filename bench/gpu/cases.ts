/** What is timed on a GPU: kinds of the CPU's bench in sizes for a GPU, and what only a GPU has: launches and readbacks. */
import { GROUPS, type GroupedTask, type MatmulTask, type MoETask, type Work, workOf } from "../cases.ts";

/** A step of AdamW on n numbers whose gradient is there. */
export interface AdamTask {
  readonly kind: "adamw";
  readonly n: number;
  readonly lr: number;
  readonly decay: number;
}

/** One after the other, `count` additions of 1 to a few numbers: time of one. */
export interface LaunchTask {
  readonly kind: "launches";
  readonly count: number;
}

/** One addition of 1 to n numbers, and all of them read. */
export interface ReadTask {
  readonly kind: "readback";
  readonly n: number;
}

export type GpuTask = MatmulTask | GroupedTask | MoETask | AdamTask | LaunchTask | ReadTask;

export interface GpuCase {
  readonly name: string;
  readonly task: GpuTask;
  /** small: for --quick. large: for a GPU that is no program. Both, too, when their name is asked for. any: always. */
  readonly size: "small" | "standard" | "large" | "any";
}

type Size = Exclude<GpuCase["size"], "any">;

/** Sixteen uneven groups of 8192, one of them idle. */
const LARGE_GROUPS = [...GROUPS, 900, 1200, 5, 800, 1639, 700, 450, 450];

const pass = (backward: boolean): string => (backward ? "fwd+bwd" : "fwd");

/** Numbers that each launch of a chain adds to: more than what tfjs would rather do on the CPU. */
export const CHAIN_LENGTH = 4096;

export const gpuCases: readonly GpuCase[] = [
  matmul(128, "small"),
  matmul(256, "standard"),
  matmul(512, "standard"),
  matmul(2048, "large"),
  ...grouped("small grouped", "small", { sizes: [64, 4, 0, 88, 32, 8, 37, 23], D: 64, N: 256 }),
  ...grouped("grouped", "standard", { sizes: GROUPS, D: 128, N: 512 }),
  ...grouped("large grouped", "large", { sizes: LARGE_GROUPS, D: 512, N: 1024 }),
  ...(["small", "standard", "large"] as const).flatMap((size) =>
    (["top2", "choice"] as const).flatMap((router) => layer(size, router)),
  ),
  { name: "AdamW 2¹⁶", size: "small", task: { kind: "adamw", n: 2 ** 16, lr: 0.01, decay: 0.1 } },
  { name: "AdamW 2²⁰", size: "standard", task: { kind: "adamw", n: 2 ** 20, lr: 0.01, decay: 0.1 } },
  { name: "launch", size: "any", task: { kind: "launches", count: 100 } },
  { name: "launch and read 4 KB", size: "any", task: { kind: "readback", n: 2 ** 10 } },
  { name: "launch and read 4 MB", size: "any", task: { kind: "readback", n: 2 ** 20 } },
];

function matmul(n: number, size: Size): GpuCase {
  return { name: `matmul ${n}³ fwd`, size, task: { kind: "matmul", M: n, K: n, N: n, backward: false } };
}

function grouped(name: string, size: Size, sizes: Pick<GroupedTask, "sizes" | "D" | "N">): GpuCase[] {
  return [false, true].map((backward) => ({
    name: `${name} ${pass(backward)}`,
    size,
    task: { kind: "grouped", ...sizes, backward },
  }));
}

function layer(size: Size, router: MoETask["router"]): GpuCase[] {
  const sizes = {
    small: { T: 512, D: 64, F: 256, E: 8 },
    standard: { T: 1024, D: 128, F: 512, E: 8 },
    large: { T: 4096, D: 512, F: 1024, E: 16 },
  }[size];
  const name = `${size === "standard" ? "" : `${size} `}${router === "top2" ? "moe" : "choice"}${sizes.E}`;
  return [false, true].map((backward) => ({
    name: `${name} ${pass(backward)}`,
    size,
    task: { kind: "moe", ...sizes, router, gelu: "tanh", backward },
  }));
}

/** The useful work of a task. A step of AdamW reads four arrays and writes three. */
export function gpuWorkOf(task: GpuTask): Work {
  switch (task.kind) {
    case "adamw":
      return { bytes: 7 * 4 * task.n };
    case "launches":
    case "readback":
      return {};
    default:
      return workOf(task);
  }
}
