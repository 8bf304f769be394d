import { describe, expect, test } from "vitest";
import { DIM, dataset, dot, PATCHES, settings } from "../../bench/papers/understanding/data.ts";
import { batchOf, cube, Model, type ModelParams, rightOf } from "../../bench/papers/understanding/model.ts";
import { type MoeParams, moeTask, usual } from "../../bench/papers/understanding/moe.ts";
import { dispatchTable, errorTable, innerProducts } from "../../bench/papers/understanding/observe.ts";
import { SINGLE_STEPS, singleTask } from "../../bench/papers/understanding/single.ts";
import { Generator, gradcheck, tensor } from "../../src/index.ts";

const data = dataset(settings[1], 40);
const context = { seed: 3, progress() {} };
const tiny: MoeParams = { ...usual, samples: 300, steps: 8, snapshots: [0, 4] };

/** A model whose router is not at its start, all zeros. */
function made(changes: Partial<ModelParams>) {
  const params: ModelParams = { ...usual, experts: 3, filters: 4, ...changes };
  const model = new Model(params, new Generator(1));
  const { router, filters } = model.weights;
  const rng = new Generator(2);
  for (const p of [filters, ...router]) {
    const numbers = Float32Array.from({ length: p.size }, () => 0.1 * rng.normal());
    p.assign(tensor(numbers).reshape(p.shape));
  }
  return { params, model };
}

describe.each([
  { form: "official", activation: "cubic" },
  { form: "official", activation: "linear" },
  { form: "paper", activation: "cubic" },
] as const)("the model, $form, $activation", (changes) => {
  const { model, params } = made(changes);
  const batch = batchOf(data.train, params.form);
  const noise = model.drawNoise(batch.size, new Generator(4));
  const { output, routing, scores } = model.forward(batch, noise);
  const { filters, biases, router } = model.weights;
  const [E, , F] = filters.shape;
  const classes = output.shape[1];

  /** The formula, sample by sample. */
  const expected = (i: number): number[] => {
    const patch = (p: number) => data.train.x.subarray((i * PATCHES + p) * DIM, (i * PATCHES + p + 1) * DIM);
    const sum = Float64Array.from({ length: DIM }, (_, d) => [0, 1, 2, 3].reduce((s, p) => s + patch(p)[d], 0));
    const column = (data: ArrayLike<number>, at: number, stride: number) =>
      Float64Array.from({ length: DIM }, (_, d) => data[at + d * stride]);
    const h = Array.from({ length: E }, (_, e) => dot(sum, column(router[0].data, e, E)));
    const noisy = h.map((x, e) => x + (noise?.data[i * E + e] ?? 0));
    const m = noisy.indexOf(Math.max(...noisy));
    const share = Math.exp(h[m]) / h.reduce((s, x) => s + Math.exp(x), 0);
    const f = new Array<number>(classes).fill(0);
    for (let j = 0; j < F; j++) {
      for (let p = 0; p < PATCHES; p++) {
        const z = dot(patch(p), column(filters.data, m * DIM * F + j, F)) + (biases?.data[m * F + j] ?? 0);
        f[classes === 1 ? 0 : Math.floor((2 * j) / F)] += params.activation === "cubic" ? z ** 3 : z;
      }
    }
    return f.map((x) => x * (params.form === "official" ? noisy[m] : share));
  };

  test("gives what the formula says, computing the rows that were sent only", () => {
    for (let i = 0; i < batch.size; i++) {
      const row = Array.from(output.data.slice(i * classes, (i + 1) * classes));
      const size = Math.max(1, ...expected(i).map(Math.abs));
      expected(i).forEach((y, c) => {
        expect(Math.abs(row[c] - y) / size).toBeLessThan(1e-4);
      });
    }
  });

  test("sends each sample to the highest score, and every expert alone is the same function", () => {
    const table = dispatchTable(routing, data.train.cluster);
    expect(table.flat().reduce((a, b) => a + b, 0)).toBe(batch.size);
    const all = model.everyExpert(batch);
    const gate = routing.gate.size;
    expect(gate).toBe(batch.size);
    const errors = errorTable(model, batch);
    expect(errors.flat().every((share) => share >= 0 && share <= 1)).toBe(true);
    // The sample in slot 0, at its expert: the output without its gate.
    const [token, expert] = [routing.tokenOfSlot.data[0], routing.expertOfSlot.data[0]];
    const alone = all.data[(token * E + expert) * classes];
    const logits = model.logits(batch);
    const weight =
      params.form === "official" ? scores.data[token * E + expert] : logits.softmax().data[token * E + expert];
    expect(output.data[token * classes]).toBeCloseTo(alone * weight, 2);
  });
});

describe("a training", () => {
  test("gives the same digits again, and other ones with another seed", async () => {
    const [one, two] = [await moeTask.run(tiny, context), await moeTask.run(tiny, context)];
    expect(two).toEqual(one);
    expect(JSON.parse(JSON.stringify(one))).toEqual(one);
    const other = await moeTask.run(tiny, { ...context, seed: 4 });
    expect(other.entropies).not.toEqual(one.entropies);
  });

  test("starts at ln 2 with even experts, and looks when it was told to", async () => {
    const { losses, entropies, snapshots, steps } = await moeTask.run(tiny, context);
    expect(losses[0]).toBeCloseTo(Math.LN2, 4);
    expect(losses[7]).toBeLessThan(losses[0]);
    expect(entropies[0]).toBeGreaterThan(1.3);
    expect([steps, losses.length, entropies.length]).toEqual([8, 8, 8]);
    expect(snapshots.map(({ step }) => step)).toEqual([0, 4, 8]);
  });

  test("moves each expert in use by one length, and others not at all", async () => {
    const before = new Model(tiny, new Generator(3).split("start"));
    const one = await moeTask.run({ ...tiny, steps: 1, form: "paper" }, context);
    const [start, end] = [one.snapshots[0], one.snapshots[1]];
    // A step of length 0.001 changes no product with a unit vector by more.
    end.expertSignals.forEach((row, e) => {
      row.forEach((x, k) => {
        expect(Math.abs(x - start.expertSignals[e][k])).toBeLessThanOrEqual(0.001 + 1e-9);
      });
    });
    const products = innerProducts(before.weights, dataset(settings[1], 1));
    expect(products.expertSignals.flat()).toEqual(start.expertSignals.flat());
  });

  test.each<Partial<MoeParams>>([
    { noise: "none" },
    { noise: "fixed" },
    { router: "relu" },
    { router: "tanh", routerRate: 0.01 },
    { start: "identical" },
    { balance: "scores" },
    { balance: "probs" },
    { descent: "plain" },
    { form: "paper", activation: "linear", earlyStop: false },
    { choices: 5 },
  ])("runs with %o", async (changes) => {
    const record = await moeTask.run({ ...tiny, steps: 3, ...changes }, context);
    expect(record.losses.every(Number.isFinite)).toBe(true);
    expect(record.dispatch.flat().reduce((a, b) => a + b, 0)).toBe(300);
    if (changes.choices) expect(record.snapshots.map(({ choices }) => choices?.length)).toEqual([5, 5]);
  });
});

describe("a single network", () => {
  test.each(["linear", "cubic", "relu", "celu", "gelu", "tanh"] as const)("%s learns", async (activation) => {
    const params = { setting: "3", samples: 200, activation, filters: 4, steps: 12 } as const;
    const { losses, accuracy } = await singleTask.run(params, context);
    expect(losses[11]).toBeLessThan(losses[0]);
    expect(accuracy).toBeGreaterThan(0.4);
    expect(SINGLE_STEPS).toBeGreaterThan(losses.length);
  });
});

test("the cube has its derivative", () => {
  const report = gradcheck(cube, [tensor([-2, 0, 0.5, 3], { dtype: "float64" })]);
  expect(report.ok).toBe(true);
  expect(cube(tensor([-2, 3])).toArray()).toEqual([-8, 27]);
});

test("an output is right when the label's score is higher", () => {
  expect(rightOf(tensor([1, 2, 3, -4]).reshape([2, 2]), [1, 1])).toEqual(Uint8Array.of(1, 0));
  expect(rightOf(tensor([0.5, -1]).reshape([2, 1]), [1, 0])).toEqual(Uint8Array.of(1, 1));
});
