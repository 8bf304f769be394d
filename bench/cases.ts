/** What is timed: names, sizes, and how much work each case is. Plain data, so that every process can be told of it. */

/** matmul: C [M, N] = A [M, K] · B [K, N]; backward adds dA and dB. */
export interface MatmulTask {
  readonly kind: "matmul";
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly backward: boolean;
}

/** One op over the rows of a matrix. gather and scatter-add take as many rows as there are, in random order, with repeats. */
export interface RowsTask {
  readonly kind: "topk" | "softmax" | "gather" | "scatterAdd";
  readonly rows: number;
  readonly width: number;
}

export type Unary = "exp" | "tanh" | "gelu tanh" | "gelu exact";

export interface UnaryTask {
  readonly kind: "unary";
  readonly fn: Unary;
  readonly n: number;
}

/** Groups of neighbouring rows, each times its own matrix: x [S, D], w [E, D, N]; backward adds dx and dw. */
export interface GroupedTask {
  readonly kind: "grouped";
  readonly sizes: readonly number[];
  readonly D: number;
  readonly N: number;
  readonly backward: boolean;
}

/** The MoE layer without biases; backward adds the gradients of x, of the router and of both weights. */
export interface MoETask {
  readonly kind: "moe";
  readonly T: number;
  readonly D: number;
  readonly F: number;
  readonly E: number;
  /** top2: dropless, gates renormalised. choice: expert choice with two experts per token on average. */
  readonly router: "top2" | "choice";
  readonly gelu: "tanh" | "exact";
  readonly backward: boolean;
}

/** A training step of the model of `npm start`, with AdamW. */
export interface StepTask {
  readonly kind: "step";
  readonly variant: "dense" | "top2";
}

/** One addition of two numbers that leaves a record for backward. */
export interface TinyTask {
  readonly kind: "tiny";
}

export type Task = MatmulTask | RowsTask | UnaryTask | GroupedTask | MoETask | StepTask | TinyTask;
export type Kind = Task["kind"];

export interface Case {
  readonly name: string;
  readonly task: Task;
  /** Left out by --quick unless it is asked for by name. */
  readonly large?: boolean;
  /** Cases of the plot: what grew, and how many times. */
  readonly growth?: { readonly axis: "T" | "D" | "E"; readonly times: number };
}

/** Eight uneven groups that add up to 2048, one of them idle: what a router that is not balanced gives. */
export const GROUPS: readonly number[] = [512, 31, 0, 700, 257, 64, 300, 184];

const pass = (backward: boolean): string => (backward ? "fwd+bwd" : "fwd");

/** The size from which the plot grows, one letter at a time. */
const BASE = { T: 256, D: 64, F: 256, E: 8 };
const TIMES = [1, 2, 4, 8];

export const cases: readonly Case[] = [
  ...[128, 512, 1024].flatMap((n) => [matmul(n, false), matmul(n, true)]),
  rows("topk", "top-2", 4096, 64),
  rows("topk", "top-2", 4096, 8),
  rows("softmax", "softmax", 4096, 64),
  rows("softmax", "softmax", 4096, 8),
  ...(["exp", "tanh", "gelu tanh", "gelu exact"] as const).map(
    (fn): Case => ({
      name: fn,
      task: { kind: "unary", fn, n: 2 ** 18 },
    }),
  ),
  rows("gather", "gather", 8192, 256),
  rows("scatterAdd", "scatter-add", 8192, 256),
  { name: "grouped fwd", task: { kind: "grouped", sizes: GROUPS, D: 128, N: 512, backward: false } },
  { name: "grouped fwd+bwd", task: { kind: "grouped", sizes: GROUPS, D: 128, N: 512, backward: true } },
  ...layer("moe8", { E: 8, F: 512, router: "top2", gelu: "tanh" }),
  ...layer("moe8 exact", { E: 8, F: 512, router: "top2", gelu: "exact" }),
  ...layer("choice8", { E: 8, F: 512, router: "choice", gelu: "tanh" }),
  ...layer("moe64", { E: 64, F: 256, router: "top2", gelu: "tanh" }),
  { name: "step dense", task: { kind: "step", variant: "dense" } },
  { name: "step top-2", task: { kind: "step", variant: "top2" } },
  { name: "tiny add", task: { kind: "tiny" } },
  ...(["T", "D", "E"] as const).flatMap((axis) => TIMES.map((times) => grown(axis, times))),
];

function matmul(n: number, backward: boolean): Case {
  const name = `matmul ${n}³ ${pass(backward)}`;
  return { name, task: { kind: "matmul", M: n, K: n, N: n, backward }, large: n > 512 };
}

function rows(kind: RowsTask["kind"], name: string, rows: number, width: number): Case {
  return { name: `${name} [${rows}×${width}]`, task: { kind, rows, width } };
}

function layer(name: string, sizes: Pick<MoETask, "E" | "F" | "router" | "gelu">): Case[] {
  return [false, true].map((backward) => ({
    name: `${name} ${pass(backward)}`,
    task: { kind: "moe", T: 1024, D: 128, ...sizes, backward },
  }));
}

function grown(axis: "T" | "D" | "E", times: number): Case {
  const sizes = { ...BASE, [axis]: BASE[axis] * times };
  const name = `growth ${axis}=${sizes[axis]}`;
  return {
    name,
    task: { kind: "moe", ...sizes, router: "top2", gelu: "tanh", backward: true },
    growth: { axis, times },
    large: times > 4,
  };
}

/** What one call does: useful multiplications and additions, or bytes read and written, or plain elements. */
export interface Work {
  readonly flops?: number;
  readonly bytes?: number;
  readonly elements?: number;
}

/**
 * The useful work of a task: of MoEs, the router's product and the experts that were chosen. A backward pass counts twice
 * its forward one, a product for each of the two gradients.
 */
export function workOf(task: Task): Work {
  switch (task.kind) {
    case "matmul":
      return { flops: 2 * task.M * task.K * task.N * passes(task.backward) };
    case "grouped":
      return { flops: 2 * sum(task.sizes) * task.D * task.N * passes(task.backward) };
    case "moe": {
      const { T, D, F, E } = task;
      return { flops: (2 * T * D * E + 4 * (2 * T) * D * F) * passes(task.backward) };
    }
    case "unary":
      return { elements: task.n, bytes: 8 * task.n };
    case "softmax":
    case "topk":
      return { elements: task.rows * task.width };
    case "gather":
      return { bytes: 8 * task.rows * task.width };
    case "scatterAdd":
      return { bytes: 12 * task.rows * task.width };
    default:
      return {};
  }
}

const passes = (backward: boolean): number => (backward ? 3 : 1);
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
