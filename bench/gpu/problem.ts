/**
 * Makes the problem of a case, inputs and what must come out, in a folder: `problem.ts NAME FOLDER`, a process of its own.
 *
 * What is exact comes from loops in float64. Those would take minutes for large cases, which are held against the library's
 * own CPU device instead; that device is held against the loops by the other cases.
 */

import { type Inputs, inputsOf, type Problem, saveProblem } from "../data.ts";
import { decidedInputs } from "../decided.ts";
import { expectedOf } from "../reference.ts";
import { open } from "../sides/moegrad.ts";
import { type AdamTask, CHAIN_LENGTH, type GpuCase, gpuCases } from "./cases.ts";

type Numbers = Readonly<Record<string, ArrayLike<number>>>;

/** Inputs of a case, and its exact results. */
export async function gpuProblem({ task, size }: GpuCase): Promise<{ inputs: Inputs; exact: Numbers }> {
  switch (task.kind) {
    case "adamw":
      return adamProblem(task);
    case "launches":
      return counted(CHAIN_LENGTH, task.count);
    case "readback":
      return counted(task.n, 1);
    default: {
      const inputs = size === "large" ? inputsOf(task) : decidedInputs(task);
      if (size !== "large") return { inputs, exact: expectedOf(task, inputs) };
      const job = await (await open({ device: "simd", threads: 1 })).prepare(task, inputs);
      return { inputs, exact: await job.read(await job.call()) };
    }
  }
}

/** The first step, whose means are those of one gradient: p ← (1 − lr·λ)·p − lr · g / (|g| + eps) */
function adamProblem({ n, lr, decay }: AdamTask): { inputs: Inputs; exact: Numbers } {
  const { a: p, b: g } = inputsOf({ kind: "matmul", M: 1, K: n, N: 1, backward: false });
  const exact = Float64Array.from(
    p.data,
    (x, i) => (1 - lr * decay) * x - (lr * g.data[i]) / (Math.abs(g.data[i]) + 1e-8),
  );
  const shape = [n];
  return { inputs: { p: { shape, data: p.data }, g: { shape, data: g.data } }, exact: { p: exact } };
}

/** Small integers, and what they are after so many additions of 1. */
function counted(n: number, additions: number): { inputs: Inputs; exact: Numbers } {
  const data = Float32Array.from({ length: n }, (_, i) => i % 8);
  return { inputs: { x: { shape: [n], data } }, exact: { y: data.map((x) => x + additions) } };
}

/** Writes the problem of a case; its task is what it was. */
async function main(name: string, folder: string): Promise<void> {
  const found = gpuCases.find((c) => c.name === name);
  if (found === undefined) throw new Error(`there is no case ${JSON.stringify(name)}`);
  const { inputs, exact } = await gpuProblem(found);
  const expected = Object.entries(exact).map(([output, data]) => [output, Float32Array.from(data)]);
  saveProblem(folder, { task: found.task as Problem["task"], inputs, expected: Object.fromEntries(expected) });
  console.log("{}");
}

if (process.argv[2] !== undefined) await main(process.argv[2], process.argv[3]);
