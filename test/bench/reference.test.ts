/** What the bench holds all libraries against, held against the library's own float64 references. */
import { describe, expect, test } from "vitest";
import { worstError } from "../../bench/agreement.ts";
import type { MoETask, Task } from "../../bench/cases.ts";
import { inputsOf } from "../../bench/data.ts";
import { choose, expectedOf } from "../../bench/reference.ts";
import { open } from "../../bench/sides/moegrad.ts";

const layer: MoETask = { kind: "moe", T: 24, D: 5, F: 7, E: 4, router: "top2", gelu: "tanh", backward: true };

const tasks: readonly Task[] = [
  { kind: "matmul", M: 3, K: 4, N: 5, backward: false },
  { kind: "matmul", M: 3, K: 4, N: 5, backward: true },
  { kind: "topk", rows: 6, width: 9 },
  { kind: "softmax", rows: 6, width: 9 },
  { kind: "gather", rows: 6, width: 4 },
  { kind: "scatterAdd", rows: 6, width: 4 },
  ...(["exp", "tanh", "gelu tanh", "gelu exact"] as const).map((fn): Task => ({ kind: "unary", fn, n: 50 })),
  { kind: "grouped", sizes: [3, 0, 4], D: 3, N: 5, backward: false },
  { kind: "grouped", sizes: [3, 0, 4], D: 3, N: 5, backward: true },
  { ...layer, backward: false },
  layer,
  { ...layer, gelu: "exact" },
  { ...layer, gelu: "exact", backward: false },
  { ...layer, router: "choice" },
  { kind: "tiny" },
];

describe("the exact results", () => {
  test.each(tasks)("%j: the library agrees with them", async (task) => {
    const side = await open({ device: "loops", threads: 1 });
    const inputs = inputsOf(task);
    const expected = Object.entries(expectedOf(task, inputs)).map(([name, x]) => [name, Float32Array.from(x)]);
    const job = await side.prepare(task, inputs);
    // Twice: gradients must not add up from call to call.
    await job.call();
    const outputs = await job.read(await job.call());
    expect(worstError(outputs, Object.fromEntries(expected)).error).toBeLessThan(2e-6);
  });

  test("a choice says how near it was to another one", () => {
    const data = (...numbers: number[]) => ({ shape: [numbers.length], data: Float32Array.from(numbers) });
    const task: MoETask = { ...layer, T: 2, D: 1, E: 3 };
    const { tokens, margin } = choose(task, { x: data(1, 2), wr: data(1, 0.5, 0.25) });
    expect(tokens).toEqual([[0, 1], [0, 1], []]);
    expect(margin).toBe(0.25);
  });

  test("a wrong, missing or undefined number is seen", () => {
    const expected = { y: Float32Array.of(1, -4) };
    expect(worstError({ y: [1, -4] }, expected).error).toBe(0);
    expect(worstError({ y: [1, -3] }, expected)).toEqual({ error: 0.25, where: "y" });
    expect(worstError({ y: [Number.NaN, -4] }, expected).error).toBe(Infinity);
    expect(worstError({ y: [1] }, expected).error).toBe(Infinity);
    expect(worstError({}, expected)).toEqual({ error: Infinity, where: "y (missing)" });
  });
});
