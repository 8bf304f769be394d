/** GShard's router, against its algorithm as the paper prints it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Generator, gshardRouter, manualSeed, tensor } from "../../src/index.ts";
import { general, numbers, tensorOf } from "../arbitraries.ts";
import { contentOf, slotsOf } from "./table.ts";

/**
 * Algorithm 1 of Lepikhin et al. 2020, one token after the other: combine weights G [S, E], and the auxiliary loss
 * times E², which makes it 1 at balance. `uniforms` are the draws of the second loop, null to try all second choices.
 *
 * As in the authors' code, a second choice that chance passes over does not use up room.
 */
function algorithm1(rows: readonly number[][], C: number, uniforms: readonly number[] | null) {
  const [S, E] = [rows.length, rows[0].length];
  const g = rows.map((row) => {
    const sum = row.reduce((total, x) => total + Math.exp(x), 0);
    return row.map((x) => Math.exp(x) / sum);
  });
  const G = rows.map(() => new Array<number>(E).fill(0));
  const c = new Array<number>(E).fill(0);
  const top2 = rows.map((row) => {
    const e1 = row.indexOf(Math.max(...row));
    const rest = row.map((x, e) => (e === e1 ? -Infinity : x));
    return [e1, rest.indexOf(Math.max(...rest))];
  });
  const share = (s: number, e: number): number => g[s][e] / (g[s][top2[s][0]] + g[s][top2[s][1]]);
  top2.forEach(([e1], s) => {
    if (c[e1] < C) G[s][e1] = share(s, e1);
    c[e1]++;
  });
  const m = Array.from({ length: E }, (_, e) => g.reduce((sum, p) => sum + p[e], 0) / S);
  const loss = E * m.reduce((sum, mean, e) => sum + (c[e] / S) * mean, 0);
  top2.forEach(([, e2], s) => {
    if (uniforms !== null && 2 * share(s, e2) <= uniforms[s]) return;
    if (c[e2] < C) G[s][e2] = share(s, e2);
    c[e2]++;
  });
  return { G, loss };
}

describe.each([true, false])("training %s", (training) => {
  test("gives the combine weights and the loss of Algorithm 1, with the same uniform draws", () => {
    const cases = fc
      .record({ T: fc.integer({ min: 1, max: 12 }), E: fc.integer({ min: 2, max: 5 }), over: fc.constantFrom(1, 2, 3) })
      .chain(({ T, E, over }) =>
        fc.record({
          logits: tensorOf([T, E], general, "float64"),
          factor: fc.constant(over / 2),
          C: fc.constant(Math.min(T, Math.ceil((over * T) / E))),
          seed: fc.integer(),
        }),
      );
    fc.assert(
      fc.property(cases, ({ logits, factor, C, seed }) => {
        const rng = new Generator(seed);
        const [T, E] = logits.shape;
        const uniforms = training ? Array.from({ length: T }, () => rng.uniform()) : null;
        const rows = logits.toArray() as number[][];
        const { G, loss } = algorithm1(rows, C, uniforms);
        const routing = gshardRouter({ capacityFactor: factor })(logits, { training, rng: new Generator(seed) });
        const actual = rows.map(() => new Array<number>(E).fill(0));
        for (const { token, expert, gate } of slotsOf(routing)) actual[token][expert] = gate;
        actual.flat().forEach((gate, i) => {
          expect(gate).toBeCloseTo(G.flat()[i], 13);
        });
        expect(routing.losses.balance.item()).toBeCloseTo(loss, 12);
      }),
    );
  });
});

test("second choices are taken with frequency min(1, 2·g₂)", () => {
  const T = 20_000;
  for (const [gap, seed] of [
    [0, 1],
    [0.5, 2],
    [2, 3],
    [4, 4],
  ]) {
    const g2 = 1 / (1 + Math.exp(gap));
    const logits = tensor(Float32Array.from({ length: 2 * T }, (_, i) => (i % 2 === 0 ? gap : 0))).reshape([T, 2]);
    const router = gshardRouter({ capacityFactor: Infinity });
    const routing = router(logits, { training: true, rng: new Generator(seed) });
    const expected = Math.min(1, 2 * g2);
    const frequency = (numbers(routing.offsets)[2] - T) / T;
    const deviation = Math.sqrt((expected * (1 - expected)) / T);
    expect(Math.abs(frequency - expected)).toBeLessThanOrEqual(4 * deviation);
  }
});

test("a second choice that chance passes over takes no room", () => {
  // Both tokens have expert 1 second; g₂ of token 0 is next to 0, so that it is passed over. C = 1.
  const logits = tensor([
    [40, 0, -50, -50],
    [-50, 1, 1.5, -50],
  ]);
  const routing = gshardRouter()(logits, { training: true, rng: new Generator(3) });
  expect(routing.capacity).toBe(1);
  expect(slotsOf(routing).map(({ token, expert, granted }) => [token, expert, granted])).toEqual([
    [0, 0, true],
    [1, 1, true],
    [1, 2, true],
    [0, 1, false],
  ]);
});

test("evaluation leaves nothing to chance: every second choice is tried", () => {
  const logits = tensor([
    [40, 0],
    [0, 40],
  ]);
  const routing = gshardRouter({ capacityFactor: Infinity })(logits);
  expect(numbers(routing.offsets)).toEqual([0, 2, 4]);
});

test("training draws from the context's generator, else from the shared one, and a seed repeats it", () => {
  const logits = tensor(Float32Array.from({ length: 40 }, (_, i) => (i % 2) * 2)).reshape([20, 2]);
  const router = gshardRouter();
  const draw = (seed: number) => contentOf(router(logits, { training: true, rng: new Generator(seed) }));
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
  const rng = new Generator(1);
  const first = contentOf(router(logits, { training: true, rng }));
  // One number for each token, no more.
  const beside = new Generator(1);
  for (let t = 0; t < 20; t++) beside.uniform();
  expect(rng.bits()).toBe(beside.bits());
  expect(contentOf(router(logits, { training: true, rng }))).not.toEqual(first);
  manualSeed(9);
  const shared = contentOf(router(logits, { training: true }));
  manualSeed(9);
  expect(contentOf(router(logits, { training: true }))).toEqual(shared);
});
