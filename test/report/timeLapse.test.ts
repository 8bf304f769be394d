/** Time-lapse: saturation by its formula, the numbers of each checkpoint, and figures for all of them. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expertChoiceRouter, Generator, type Routing, randn, type Tensor, topKRouter } from "../../src/index.ts";
import {
  page,
  routerSaturation,
  routingReport,
  type Snapshot,
  timeLapse,
  timeLapseSections,
} from "../../src/report/index.ts";
import { tensorOf } from "../arbitraries.ts";

const rng = new Generator(1);
const T = 40;
const E = 6;
const final = randn([T, E], { rng });
/** Logits that come nearer to the final ones. */
const towards = (share: number): Tensor =>
  final.mul(share).add(randn([T, E], { rng: new Generator(2) }).mul(1 - share));
const route = topKRouter({ k: 2 });
const lapseOf = (shares: readonly number[]): Snapshot[] =>
  shares.map((share, i) => ({ step: 100 * i, routing: route(towards(share)) }));

const askedBy = (routing: Routing, t: number): number[] =>
  [...routing.expertOfSlot.data].filter((_, s) => routing.tokenOfSlot.data[s] === t);

describe("router saturation", () => {
  test("is the mean over tokens of |A ∩ Z| / k, dropped slots included", () => {
    fc.assert(
      fc.property(tensorOf([5, 4]), tensorOf([5, 4]), fc.integer({ min: 1, max: 4 }), (a, z, k) => {
        const router = topKRouter({ k, normalize: k > 1, capacityFactor: 0.5 });
        const [before, last] = [router(a), router(z)];
        const parts = [0, 1, 2, 3, 4].map((t) => {
          const [own, end] = [askedBy(before, t), askedBy(last, t)];
          return own.filter((e) => end.includes(e)).length / k;
        });
        expect(routerSaturation(before, last)).toBeCloseTo(parts.reduce((x, y) => x + y, 0) / 5, 12);
        expect(routerSaturation(last, last)).toBe(1);
      }),
    );
  });

  test("of choices that have nothing to do with one another is k / E", () => {
    const draw = () => topKRouter({ k: 2 })(randn([20_000, 8], { rng }));
    // Its deviation is below √(0.25 / 40,000) = 0.0025.
    expect(Math.abs(routerSaturation(draw(), draw()) - 2 / 8)).toBeLessThan(0.0125);
  });

  test("counts routings in several batches like one, and tokens with any number of experts", () => {
    const [a, z] = [towards(0.5), final];
    const parts = (x: Tensor) => [route(x.slice({ end: 15 })), route(x.slice({ start: 15 }))];
    expect(routerSaturation(parts(a), parts(z))).toBe(routerSaturation(route(a), route(z)));
    const choice = expertChoiceRouter({ capacityFactor: 1 })(z);
    expect(routerSaturation(choice, choice)).toBe(1);
    const nobody = { mask: new Array<boolean>(T).fill(false) };
    expect(routerSaturation(route(a, nobody), route(z, nobody))).toBe(1);
  });
});

describe("timeLapse", () => {
  const snapshots = lapseOf([0, 0.3, 0.6, 0.9, 1]);
  const labels = { half: { of: Array.from({ length: T }, (_, t) => t % 2), names: ["even", "odd"] } };
  const lapse = timeLapse(snapshots, { labels });

  test("has the numbers of each checkpoint's report", () => {
    expect(lapse.steps).toEqual([0, 100, 200, 300, 400]);
    for (const [i, { routing }] of snapshots.entries()) {
      const report = routingReport(routing, { labels });
      expect(lapse.load[i]).toEqual(report.load.map((n) => n / report.granted));
      expect(lapse.effectiveExperts[i]).toBeCloseTo(Math.exp(report.loadEntropy.nats), 12);
      expect(lapse.labels.half.share[i]).toBe(report.labels.half.share);
      expect(lapse.labels.half.dispatchEntropy[i]).toBe(report.labels.half.dispatchEntropy);
      expect(lapse.saturation[i]).toBe(routerSaturation(routing, snapshots[4].routing));
    }
    expect(lapse.saturationByChance).toBeCloseTo(2 / 6, 12);
    expect(JSON.parse(JSON.stringify(lapse))).toEqual(lapse);
  });

  test("ends at 1, and rises as the router comes nearer to its end", () => {
    expect(lapse.saturation.at(-1)).toBe(1);
    expect([...lapse.saturation].sort((a, b) => a - b)).toEqual(lapse.saturation);
    expect(lapse.saturation[0]).toBeLessThan(0.6);
  });

  test("is drawn: load, saturation, and specialisation where there are labels", () => {
    expect(timeLapseSections(lapse).map(({ title }) => title)).toEqual([
      "Load over training",
      "Specialisation over training",
      "Router saturation",
    ]);
    const plain = timeLapseSections(timeLapse(snapshots));
    expect(plain).toHaveLength(2);
    const html = page({ title: "A training", sections: plain });
    expect(html).toContain("expert 5");
    expect(html).toContain("chance");
    expect(html).not.toContain("NaN");
  });

  test("leaves out what a mask leaves out", () => {
    const keep = Array.from({ length: T }, (_, t) => t < 10);
    const masked = [0, 1].map((share, i) => ({ step: i, routing: route(towards(share), { mask: keep }) }));
    const alone = [0, 1].map((share, i) => ({ step: i, routing: route(towards(share).slice({ end: 10 })) }));
    expect(timeLapse(masked, { mask: keep })).toEqual(timeLapse(alone));
  });

  test.each<[string, unknown, string]>([
    ["no list", null, "timeLapse: snapshots has null, expected a list of { step, routing }"],
    ["one snapshot", snapshots.slice(0, 1), "snapshots has 1 entries, expected at least 2"],
    [
      "steps that do not rise",
      [snapshots[1], snapshots[0]],
      "snapshots[1].step has 0, expected a number above the one",
    ],
    ["a step that is no number", [{ ...snapshots[0], step: "0" }, snapshots[1]], 'snapshots[0].step has "0"'],
    ["null among them", [null, snapshots[1]], "snapshots[0] has null"],
    [
      "other tokens",
      [{ step: -1, routing: route(randn([3, E], { rng })) }, snapshots[1]],
      "3 tokens and 6 experts, expected 40",
    ],
    ["other experts", [{ step: -1, routing: route(randn([T, 5], { rng })) }, snapshots[1]], "40 tokens and 5 experts"],
  ])("refuses %s", (_, list, message) => {
    expect(() => timeLapse(list as Snapshot[])).toThrow(message);
  });
});
