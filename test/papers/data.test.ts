import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  CLUSTERS,
  DIM,
  dataset,
  directions,
  dot,
  drawSamples,
  PATCHES,
  patchSums,
  SCALE,
  type SettingName,
  settings,
} from "../../bench/papers/understanding/data.ts";
import { Generator } from "../../src/index.ts";

const seeds = fc.integer({ min: 0, max: 1e6 });
const names = fc.constantFrom<SettingName[]>("1", "2", "3", "4", "same");

describe("directions", () => {
  test("signals and centres are orthonormal", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { signals, centres } = directions(new Generator(seed));
        const all = [...signals, ...centres];
        expect(all.length).toBe(2 * CLUSTERS);
        all.forEach((a, i) => {
          all.forEach((b, j) => {
            expect(dot(a, b)).toBeCloseTo(i === j ? 1 : 0, 12);
          });
        });
      }),
      { numRuns: 20 },
    );
  });
});

/** What each patch of a sample is made of: its products with all eight directions, and the length of what is left. */
function parts(name: SettingName, seed: number, count: number) {
  const rng = new Generator(seed);
  const found = directions(rng.split("directions"));
  const samples = drawSamples(count, settings[name], found, rng);
  const all = [...found.signals, ...found.centres];
  const patchesOf = (i: number) =>
    Array.from({ length: PATCHES }, (_, p) => {
      const patch = samples.x.subarray((i * PATCHES + p) * DIM, (i * PATCHES + p + 1) * DIM);
      const along = all.map((direction) => dot(patch, direction));
      const rest = patch.map((value, d) => value - all.reduce((sum, b, j) => sum + along[j] * b[d], 0));
      return { along, rest: Math.sqrt(dot(rest, rest)), length: Math.sqrt(dot(patch, patch)) };
    });
  return { samples, patchesOf };
}

describe("samples", () => {
  test("each has one patch along its centre, its signal with the label's sign, another signal, and noise", () => {
    fc.assert(
      fc.property(names, seeds, (name, seed) => {
        const { alpha, beta, gamma } = settings[name];
        const { samples, patchesOf } = parts(name, seed, 20);
        for (let i = 0; i < samples.count; i++) {
          const [k, k2, y] = [samples.cluster[i], samples.other[i], 2 * samples.label[i] - 1];
          expect(k).not.toBe(k2);
          const patches = patchesOf(i);
          const plain = patches.filter(({ rest }) => rest < 1e-4);
          expect(plain.length).toBe(PATCHES - 1);
          const along = (j: number) => plain.map((patch) => patch.along[j]).filter((x) => Math.abs(x) > 1e-3);
          const within = (x: number, [low, high]: readonly [number, number]) => {
            expect(x).toBeGreaterThan(SCALE * low - 1e-4);
            expect(x).toBeLessThan(SCALE * high + 1e-4);
          };
          const [signal, centre, noise] = [along(k), along(CLUSTERS + k), along(k2)];
          expect([signal.length, centre.length, noise.length]).toEqual([1, 1, 1]);
          within(y * signal[0], alpha);
          within(centre[0], beta);
          within(Math.abs(noise[0]), gamma);
        }
      }),
      { numRuns: 20 },
    );
  });

  test("label, cluster, patch order and the sign of the feature noise are as chance has them", () => {
    const count = 4000;
    const { samples, patchesOf } = parts("1", 7, count);
    // Four standard deviations of a count of coins or of one of four faces.
    const fair = (found: number, p: number) =>
      expect(Math.abs(found - count * p)).toBeLessThan(4 * Math.sqrt(count * p * (1 - p)));
    fair(samples.label.filter((y) => y === 1).length, 1 / 2);
    for (let k = 0; k < CLUSTERS; k++) fair(samples.cluster.filter((x) => x === k).length, 1 / 4);
    let [agree, firstIsNoise] = [0, 0];
    let power = 0;
    for (let i = 0; i < count; i++) {
      const patches = patchesOf(i);
      const noisy = patches.findIndex(({ rest }) => rest > 1e-3);
      firstIsNoise += Number(noisy === 0);
      power += patches[noisy].length ** 2 / count;
      const borrowed = patches.find(({ along, rest }) => rest < 1e-3 && Math.abs(along[samples.other[i]]) > 1e-3);
      agree += Number((borrowed?.along[samples.other[i]] ?? 0) > 0 === (samples.label[i] === 1));
    }
    fair(agree, 1 / 2);
    fair(firstIsNoise, 1 / PATCHES);
    // E|ξ|² = σ² · 100 with a deviation of σ² · 100 · √(2 / 50) for each.
    expect(Math.abs(power - 100)).toBeLessThan((4 * 100 * Math.sqrt(2 / DIM)) / Math.sqrt(count));
  });

  test("setting 2 has four times the noise power of setting 1", () => {
    const power = (name: SettingName) => {
      const { samples, patchesOf } = parts(name, 3, 500);
      const noisy = Array.from({ length: samples.count }, (_, i) => patchesOf(i).find(({ rest }) => rest > 1e-3));
      return noisy.reduce((sum, patch) => sum + (patch?.length ?? 0) ** 2, 0);
    };
    expect(power("2") / power("1")).toBeCloseTo(4, 1);
  });

  test("sums are those of the patches, and a setting's data are the same every time", () => {
    const [one, two] = [dataset(settings[3], 50), dataset(settings[3], 50)];
    expect(one.train.x).toEqual(two.train.x);
    expect(one.train.x).not.toEqual(one.test.x);
    const sums = patchSums(one.test);
    for (let d = 0; d < DIM; d++) {
      const own = [0, 1, 2, 3].reduce((sum, p) => sum + one.test.x[(5 * PATCHES + p) * DIM + d], 0);
      expect(sums[5 * DIM + d]).toBeCloseTo(own, 4);
    }
  });
});
