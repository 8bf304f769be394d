/**
 * Conventions in which published systems silently differ: one test for each row of the table in docs/routers/README.md.
 *
 * Ours is what the library gives. The others are formulas written out beside it, so that the difference stands in numbers.
 */
import { expect, test } from "vitest";
import {
  expertChoiceRouter,
  Generator,
  gshardRouter,
  MoE,
  noisyTopKRouter,
  squaredVariation,
  type Tensor,
  tensor,
  topKRouter,
  zeros,
} from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";
import { loadOf, ranking, rowsOf, slotsOf } from "./table.ts";

const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
const mean = (list: readonly number[]): number => total(list) / list.length;
const dot = (a: readonly number[], b: readonly number[]): number => total(a.map((x, i) => x * b[i]));

/** Logits in float64 whose softmax is the given table. */
const logitsOf = (probs: readonly (readonly number[])[]): Tensor =>
  tensor(
    probs.map((row) => row.map(Math.log)),
    { dtype: "float64" },
  );

const softmax = (row: readonly number[]): number[] => {
  const sum = total(row.map(Math.exp));
  return row.map((x) => Math.exp(x) / sum);
};

/** Mean probability of each expert. */
const importanceOf = (logits: Tensor): number[] => {
  const probs = rowsOf(logits.softmax());
  return probs[0].map((_, e) => mean(probs.map((row) => row[e])));
};

/** How often each of E experts is in a list. */
const counts = (experts: readonly number[], E: number): number[] =>
  Array.from({ length: E }, (_, e) => experts.filter((x) => x === e).length);

test("scale of the balance loss: 1 at balance for every k", () => {
  // Token t prefers expert t, then t + 1: every expert is asked for twice, and all have the same mean probability.
  const [T, E, k] = [4, 4, 2];
  const rows = Array.from({ length: T }, (_, t) => Array.from({ length: E }, (_, e) => 3 - ((e - t + E) % E)));
  const logits = tensor(rows, { dtype: "float64" });
  const P = importanceOf(logits);
  const choices = rows.map((row) => ranking(row).slice(0, k));
  const asked = counts(choices.flat(), E);
  const first = counts(
    choices.map(([e]) => e),
    E,
  );
  const shareOf = (n: readonly number[], of: number): number[] => n.map((x) => x / of);

  expect(topKRouter({ k })(logits).losses.balance.item()).toBeCloseTo(1, 14);
  const megatron = E * dot(shareOf(asked, T * k), P);
  expect(megatron).toBeCloseTo(1, 14);
  const huggingFace =
    E *
    total(
      [0, 1].map((c) =>
        dot(
          shareOf(
            counts(
              choices.map((list) => list[c]),
              E,
            ),
            T,
          ),
          P,
        ),
      ),
    );
  expect(huggingFace).toBeCloseTo(k, 14);
  const flaxformer = E ** 2 * mean(shareOf(asked, T).map((f, e) => f * P[e]));
  expect(flaxformer).toBeCloseTo(k, 14);
  const algorithm1 = mean(shareOf(first, T).map((f, e) => f * P[e]));
  expect(algorithm1).toBeCloseTo(1 / E ** 2, 14);
  expect(gshardRouter()(logits).losses.balance.item()).toBeCloseTo(E ** 2 * algorithm1, 14);
  // Raw scores in place of probabilities: adding a constant to all logits, which changes no routing, moves the loss.
  const raw = (shift: number): number =>
    E ** 2 * mean(shareOf(first, T).map((f, e) => f * (mean(rows.map((row) => row[e])) + shift)));
  expect([raw(0), raw(1)]).toEqual([6, 10]);
});

test("what the balance loss counts: what was asked for", () => {
  const table = [
    [0.9, 0.1],
    [0.8, 0.2],
    [0.7, 0.3],
    [0.4, 0.6],
  ];
  const full = topKRouter({ k: 1, capacityFactor: 0.5 })(logitsOf(table));
  expect(loadOf(full)).toEqual([1, 1]);
  expect(full.losses.balance.item()).toBeCloseTo(2 * (0.75 * 0.7 + 0.25 * 0.3), 14); // 1.2
  // Granted slots, and probabilities over their number: at full experts the same for any probabilities.
  const granted = (rows: readonly (readonly number[])[]): number =>
    2 * total([0, 1].map((e) => (1 / 2) * (total(rows.map((row) => row[e])) / 2)));
  expect(granted(table)).toBeCloseTo(2, 14);
  expect(granted(table.map(() => [0.99, 0.01]))).toBeCloseTo(2, 14);

  const same = logitsOf([
    [0.5, 0.3, 0.2],
    [0.5, 0.3, 0.2],
  ]);
  expect(topKRouter({ k: 2 })(same).losses.balance.item()).toBeCloseTo(3 * (0.5 * 0.5 + 0.5 * 0.3), 14); // 1.2
  const firstChoices = 3 * 0.5;
  expect(gshardRouter()(same).losses.balance.item()).toBeCloseTo(firstChoices, 14);
});

test("capacity of token choice: ⌈f · T · K / E⌉", () => {
  const [f, T, K, E] = [1.25, 10, 2, 4];
  const wanted = tensor(Array.from({ length: T }, () => [2, 1, 0, 0]));
  const ours = topKRouter({ k: K, capacityFactor: f })(wanted);
  expect([ours.capacity, loadOf(ours)]).toEqual([7, [7, 7, 0, 0]]);
  const published = {
    megatron: Math.ceil((f * T * K) / E),
    deepspeed: Math.max(4, Math.ceil((f * T * K) / E)),
    megablocks: Math.trunc((f * T * K) / E),
    vmoe: Math.round((f * T * K) / E),
    tutel: K * Math.trunc(f * Math.ceil(T / E)),
    flaxformer: Math.max(4, Math.round((f * T) / E)),
    tensor2tensor: Math.max(4, Math.min(T, Math.trunc((f * T) / E))),
    labml: Math.trunc((f * T) / E),
  };
  expect(published).toEqual({
    ...{ megatron: 7, deepspeed: 7, megablocks: 6, vmoe: 6, tutel: 6 },
    ...{ flaxformer: 4, tensor2tensor: 4, labml: 3 },
  });
});

test("tokens per expert in expert choice: ⌊c · T / E⌋", () => {
  const [c, T, E] = [1.5, 10, 4];
  const ours = expertChoiceRouter({ capacityFactor: c })(zeros([T, E]));
  expect([ours.capacity, loadOf(ours)]).toEqual([3, [3, 3, 3, 3]]);
  const flaxformer = Math.max(4, Math.round((c * T) / E));
  expect(flaxformer).toBe(4);
});

test("order of softmax and top-k: softmax last when normalised, first when not", () => {
  const p = [0.07, 0.31, 0.06, 0.05, 0.28, 0.08, 0.09, 0.06];
  const gates = (normalize: boolean): number[] => numbers(topKRouter({ k: 2, normalize })(logitsOf([p])).gate);
  const chosen = softmax([Math.log(0.31), Math.log(0.28)]);
  gates(true).forEach((gate, i) => {
    expect(gate).toBeCloseTo(chosen[i], 14); // 0.525, 0.475: Mixtral, Megatron, Qwen3
  });
  gates(false).forEach((gate, i) => {
    expect(gate).toBeCloseTo([0.31, 0.28][i], 14); // OLMoE, Qwen1.5-MoE, DeepSeek-V2
  });
});

test("renormalising and dropping: gates are normalised before", () => {
  // C = 1: both tokens get their first choice, neither its second.
  const logits = logitsOf([
    [0.8, 0.2],
    [0.2, 0.8],
  ]);
  const ours = topKRouter({ k: 2, capacityFactor: 0.5 })(logits);
  expect(slotsOf(ours).filter(({ granted }) => granted)).toHaveLength(2);
  numbers(ours.gate).forEach((gate, s) => {
    expect(gate).toBeCloseTo([0.8, 0.8, 0, 0][s], 14);
  });
  const [kept1, kept2] = [1, 0];
  const deepspeedTop2 = (0.8 * kept1) / (0.8 * kept1 + 0.2 * kept2);
  expect(deepspeedTop2).toBe(1);
});

test("noise: in the choice, and in the gate of noisy top-k only", () => {
  const [T, E] = [6, 3];
  const rows = Array.from({ length: T }, (_, t) => [t / 4, 1, 0]);
  const logits = tensor(rows, { dtype: "float64" });
  const drawn = (seed: number): number[][] => {
    const rng = new Generator(seed);
    return rows.map((row) => row.map(() => rng.normal()));
  };
  const noisy = (scale: number): number[][] => drawn(3).map((noise, t) => noise.map((z, e) => rows[t][e] + scale * z));

  const ours = topKRouter({ k: 1, noise: "gaussian" })(logits, { training: true, rng: new Generator(3) });
  const gates = slotsOf(ours);
  for (const { token, expert, gate } of gates) {
    expect(expert).toBe(ranking(noisy(1)[token])[0]);
    expect(gate).toBeCloseTo(softmax(rows[token])[expert], 14);
  }
  // V-MoE gates with the softmax of the noisy logits: for the same choices, other numbers.
  const vmoe = gates.map(({ token, expert }) => softmax(noisy(1)[token])[expert]);
  expect(Math.max(...gates.map(({ gate }, s) => Math.abs(gate - vmoe[s])))).toBeGreaterThan(0.1);

  // So does Shazeer et al. 2017, whose noise is N(0, 1) · softplus(x · W_noise) = N(0, 1) · ln 2 at the start.
  const router = noisyTopKRouter({ dim: 1, numExperts: E, dtype: "float64" });
  const x = zeros([T, 1], { dtype: "float64" });
  const shazeer = router(logits, { training: true, rng: new Generator(3), x });
  for (const { token, expert, gate } of slotsOf(shazeer)) {
    const row = noisy(Math.LN2)[token];
    const two = ranking(row).slice(0, 2);
    expect(gate).toBeCloseTo(softmax(two.map((e) => row[e]))[two.indexOf(expert)], 14);
  }
});

test("second choices by chance: min(1, 2·g₂), and those passed over take no room", () => {
  const T = 4000;
  const [p1, p2] = [0.85, 0.15];
  const logits = logitsOf(Array.from({ length: T }, () => [p1, p2]));
  const ours = gshardRouter({ capacityFactor: Infinity })(logits, { training: true, rng: new Generator(1) });
  const frequency = loadOf(ours)[1] / T;
  expect(Math.abs(frequency - 2 * p2)).toBeLessThan(0.02); // 0.30; √(0.3 · 0.7 / 4000) is 0.007
  const tensor2tensor = Math.min(1, p2 / 0.2);
  expect(tensor2tensor).toBeCloseTo(0.75, 14);

  // C = 1, and expert 2 is the second choice of both tokens. Chance passes token 0 over: its g₂ is next to nothing.
  const two = tensor([
    [20, -20, 0],
    [-20, 1, 0.9],
  ]);
  const routing = gshardRouter({ capacityFactor: 0.75 })(two, { training: true, rng: new Generator(1) });
  expect(routing.capacity).toBe(1);
  const seconds = slotsOf(routing).filter(({ expert }) => expert === 2);
  expect(seconds.map(({ token, granted }) => [token, granted])).toEqual([
    [1, true],
    [0, false],
  ]);
  // As Algorithm 1 is printed, c[e₂] ← c + 1 stands outside the if: token 0 takes the room that it does not use.
  let c = 0;
  const asPrinted = [false, true].map((lucky) => {
    const position = c++;
    return lucky && position < 1;
  });
  expect(asPrinted).toEqual([false, false]);
});

test("what a dropped token gets: exactly nothing", () => {
  const router = topKRouter({ k: 1, capacityFactor: 0.5 });
  const moe = new MoE({ dim: 2, hidden: 3, numExperts: 2, router, bias: true, rng: new Generator(1) });
  const x = tensor([
    [1, 2],
    [1, 2],
  ]);
  const { output, routing } = moe.forward(x);
  expect(loadOf(routing).toSorted()).toEqual([0, 1]);
  expect(rowsOf(output)[1]).toEqual([0, 0]);
  expect(rowsOf(output)[0].every((y) => y !== 0)).toBe(true);
  // labml passes p · x through the layer, beside the residual connection around it.
  const p = Math.max(...rowsOf(routing.probs)[1]);
  const labml = [1, 2].map((v) => p * v);
  expect(labml[0]).toBeGreaterThan(0.5);
});

test("meaning of a mask: true = keep, and what is not kept is in no loss", () => {
  const rows = [
    [1, 0],
    [0, 2],
    [5, 5],
  ];
  const logits = tensor(rows, { dtype: "float64" });
  const mask = [true, true, false];
  const routing = topKRouter({ k: 1 })(logits, { mask });
  expect(numbers(routing.keptTokens as Tensor)).toEqual([0, 1]);
  const squares = rows.map((row) => Math.log(total(row.map(Math.exp))) ** 2);
  expect(routing.losses.z.item()).toBeCloseTo((squares[0] + squares[1]) / 2, 14);
  // Where true means padding, the same mask keeps the other token.
  const inverted = topKRouter({ k: 1 })(logits, { mask: mask.map((keep) => !keep) });
  expect(inverted.losses.z.item()).toBeCloseTo(squares[2], 12);
  // flaxformer sets padded logits to 0, and averages over them too.
  const flaxformer = (squares[0] + squares[1] + Math.LN2 ** 2) / 3;
  expect(Math.abs(routing.losses.z.item() - flaxformer)).toBeGreaterThan(0.1);
});

test("CV²: with the population's variance, n − 1 for all in one", () => {
  const ours = (list: number[]): number => squaredVariation(tensor(list, { dtype: "float64" })).item();
  const sample = (list: number[]): number =>
    total(list.map((x) => (x - mean(list)) ** 2)) / (list.length - 1) / mean(list) ** 2;
  expect([ours([8, 0, 0, 0]), sample([8, 0, 0, 0])]).toEqual([3, 4]);
  expect(ours([1, 2, 3, 4])).toBeCloseTo(0.2, 14);
  expect(sample([1, 2, 3, 4])).toBeCloseTo(0.2 * (4 / 3), 14);
});

test("jitter: multiplies the router's input", () => {
  const moe = new MoE({ dim: 1, hidden: 2, numExperts: 2, jitter: 0.1, rng: new Generator(1) });
  moe.loadStateDict({ ...moe.stateDict(), "router.weight": tensor([[1, -1]]) });
  const factors = Array.from({ length: 20 }, () => {
    const [up, down] = numbers(moe.forward(tensor([[100]])).routing.logits);
    expect(down).toBe(-up); // one factor for the number that both logits are made of
    return up / 100;
  });
  expect(Math.min(...factors)).toBeGreaterThanOrEqual(0.9);
  expect(Math.max(...factors)).toBeLessThanOrEqual(1.1);
  expect(Math.max(...factors) - Math.min(...factors)).toBeGreaterThan(0.1);
  // FastMoE adds u ~ U[0.9, 1.1] to every logit: of logits ±100, noise of a thousandth.
  const fastmoe = [100 + 0.9, 100 + 1.1].map((logit) => logit / 100);
  expect(fastmoe[1] - fastmoe[0]).toBeCloseTo(0.002, 12);
});
