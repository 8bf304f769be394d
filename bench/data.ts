/** The numbers that every library is given, and how they travel between processes: as files of raw little-endian numbers. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Generator } from "../src/random.ts";
import type { MoETask, Task } from "./cases.ts";

export interface Array32 {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** Arrays by the names that the docstrings of the tasks give them. */
export type Inputs = Readonly<Record<string, Array32>>;

/** Inputs of a task. The seed decides them; an op's cotangent is called g. */
export function inputsOf(task: Task, seed = 1): Inputs {
  const rng = new Generator(seed);
  const normal = (scale: number, ...shape: number[]): Array32 => ({
    shape,
    data: Float32Array.from({ length: product(shape) }, () => scale * rng.normal()),
  });
  switch (task.kind) {
    case "matmul": {
      const { M, K, N } = task;
      return { a: normal(1, M, K), b: normal(1, K, N), g: normal(1, M, N) };
    }
    case "topk":
    case "softmax":
      return { x: normal(1, task.rows, task.width) };
    case "gather":
    case "scatterAdd": {
      const index = Int32Array.from({ length: task.rows }, () => rng.integer(task.rows));
      return { x: normal(1, task.rows, task.width), index: { shape: [task.rows], data: index } };
    }
    case "unary":
      return { x: normal(2, task.n) };
    case "grouped": {
      const { sizes, D, N } = task;
      const S = sizes.reduce((a, b) => a + b, 0);
      return { x: normal(1, S, D), w: normal(1 / Math.sqrt(D), sizes.length, D, N), g: normal(1, S, N) };
    }
    case "moe":
      return layerInputs(task, normal);
    default:
      return {};
  }
}

function layerInputs(
  { T, D, F, E }: MoETask,
  normal: (scale: number, ...shape: number[]) => Array32,
): Readonly<Record<"x" | "wr" | "w1" | "w2" | "g", Array32>> {
  return {
    x: normal(1, T, D),
    wr: normal(1 / Math.sqrt(D), D, E),
    w1: normal(1 / Math.sqrt(D), E, D, F),
    w2: normal(1 / Math.sqrt(F), E, F, D),
    g: normal(1, T, D),
  };
}

/** A task with its inputs and what must come out, as they lie in a folder. */
export interface Problem {
  readonly task: Task;
  readonly inputs: Inputs;
  /** The exact results, rounded once to float32. */
  readonly expected: Readonly<Record<string, Float32Array>>;
}

interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: "float32" | "int32";
}

/** Writes a problem to a folder: task.json, and one file for each array. */
export function saveProblem(folder: string, { task, inputs, expected }: Problem): void {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, { buffer, byteOffset, byteLength }: Float32Array | Int32Array) =>
    writeFileSync(join(folder, `${name}.bin`), new Uint8Array(buffer, byteOffset, byteLength));
  const entries = Object.entries(inputs).map(([name, { shape, data }]): Entry => {
    write(name, data);
    return { name, shape, type: data instanceof Int32Array ? "int32" : "float32" };
  });
  for (const [name, data] of Object.entries(expected)) write(`expected-${name}`, data);
  const description = { task, inputs: entries, expected: Object.keys(expected) };
  writeFileSync(join(folder, "task.json"), `${JSON.stringify(description, null, 1)}\n`);
}

export function loadProblem(folder: string): Problem {
  const description = JSON.parse(readFileSync(join(folder, "task.json"), "utf8"));
  const bytes = (name: string): ArrayBuffer => new Uint8Array(readFileSync(join(folder, `${name}.bin`))).buffer;
  const inputs = description.inputs.map(({ name, shape, type }: Entry) => [
    name,
    { shape, data: type === "int32" ? new Int32Array(bytes(name)) : new Float32Array(bytes(name)) },
  ]);
  const expected = description.expected.map((name: string) => [name, new Float32Array(bytes(`expected-${name}`))]);
  return { task: description.task, inputs: Object.fromEntries(inputs), expected: Object.fromEntries(expected) };
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
