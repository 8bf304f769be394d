/** Dropout: who is left out, how the others are scaled, and when. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Dropout, Generator, grad, manualSeed, ones, type Tensor, tensor } from "../../src/index.ts";
import { general, numbers, shapes, tensorOf } from "../arbitraries.ts";

const seeded = (p: number, seed = 1): Dropout => new Dropout(p, { rng: new Generator(seed) });

describe("in training", () => {
  test("every number is either 0 or x / (1 − p), in shape and dtype of x", () => {
    const cases = fc.constantFrom<("float32" | "float64")[]>("float32", "float64").chain((dtype) =>
      fc.record({
        x: shapes().chain((shape) => tensorOf(shape, general, dtype)),
        p: fc.constantFrom(0, 0.25, 0.5, 0.75),
        seed: fc.integer(),
      }),
    );
    fc.assert(
      fc.property(cases, ({ x, p, seed }) => {
        const y = seeded(p, seed).forward(x);
        expect([y.dtype, ...y.shape]).toEqual([x.dtype, ...x.shape]);
        const round = x.dtype === "float32" ? Math.fround : (v: number) => v;
        const kept = round(1 / (1 - p));
        numbers(y).forEach((value, i) => {
          expect([0, round(x.data[i] * kept)]).toContain(value + 0 === 0 ? 0 : value);
          if (p === 0) expect(value).toBe(x.data[i]);
        });
      }),
    );
  });

  test.each([0.1, 0.5, 0.9])("leaves out a share of %d, so that the mean stays", (p) => {
    const n = 20_000;
    const y = numbers(seeded(p).forward(ones([n])));
    const left = y.filter((v) => v === 0).length / n;
    // Four standard deviations of a frequency; the mean of y is (1 − left) / (1 − p).
    const width = 4 * Math.sqrt((p * (1 - p)) / n);
    expect(Math.abs(left - p)).toBeLessThan(width);
    expect(Math.abs(y.reduce((a, b) => a + b, 0) / n - 1)).toBeLessThan(width / (1 - p) + 1e-6);
    // Neighbours are left out independently: both with chance p².
    const pairs = y.filter((v, i) => v === 0 && y[(i + 1) % n] === 0).length / n;
    expect(Math.abs(pairs - p * p)).toBeLessThan(5 * Math.sqrt((p * p * (1 - p * p)) / n));
  });

  test("the gradient goes through the same mask", () => {
    const x = tensor(Float32Array.from({ length: 50 }, (_, i) => i + 1));
    const y = numbers(seeded(0.5).forward(x));
    const dropout = seeded(0.5);
    const dx = grad((z: Tensor) => dropout.forward(z).sum())(x);
    expect(numbers(dx)).toEqual(y.map((v) => (v === 0 ? 0 : 2)));
  });

  test("a seed repeats its masks, which go on from call to call; init and dropout do not share a stream", () => {
    const masks = (dropout: Dropout) => [0, 1].map(() => numbers(dropout.forward(ones([64]))));
    const [first, second] = masks(seeded(0.5));
    expect(second).not.toEqual(first);
    expect(masks(seeded(0.5))).toEqual([first, second]);
    expect(masks(seeded(0.5, 2))[0]).not.toEqual(first);
    // What else is drawn from the generator does not matter.
    const rng = new Generator(1);
    const dropout = new Dropout(0.5, { rng });
    rng.bits();
    expect(masks(dropout)).toEqual([first, second]);
  });

  test("layers made with the same generator have masks of their own", () => {
    const rng = new Generator(1);
    const masks = [0, 1, 2].map(() => numbers(new Dropout(0.5, { rng }).forward(ones([64]))));
    expect(new Set(masks.map((mask) => mask.join())).size).toBe(3);
    // The first one's do not depend on how many follow.
    expect(numbers(seeded(0.5).forward(ones([64])))).toEqual(masks[0]);
    // What they ask for: a stream of its own at every call, the first of which is split's.
    const bits = ["a", "b", "a", "a"].map((label) => rng.fork(label).bits());
    expect(new Set(bits).size).toBe(4);
    expect(bits.slice(0, 2)).toEqual(["a", "b"].map((label) => rng.split(label).bits()));
  });

  test("draws from the generator that is passed, or from that of manualSeed", () => {
    const draw = (seed: number) => numbers(seeded(0.5, 7).forward(ones([64]), { rng: new Generator(seed) }));
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3)).not.toEqual(draw(4));
    const byDefault = (seed: number) => {
      manualSeed(seed);
      return numbers(new Dropout(0.5).forward(ones([64])));
    };
    expect(byDefault(5)).toEqual(byDefault(5));
    expect(byDefault(5)).not.toEqual(byDefault(6));
  });
});

test("in evaluation gives x itself, and draws nothing", () => {
  const dropout = seeded(0.5);
  const x = ones([8]);
  expect(dropout.eval().forward(x)).toBe(x);
  const rng = new Generator(2);
  dropout.forward(x, { rng });
  expect(rng.bits()).toBe(new Generator(2).bits());
  expect(numbers(dropout.train().forward(x))).toEqual(numbers(seeded(0.5).forward(x)));
});

test("leaves out half by default, and refuses a share that is not from 0 to below 1", () => {
  expect(new Dropout().p).toBe(0.5);
  for (const p of [-0.1, 1, 1.5, Number.NaN]) {
    expect(() => new Dropout(p)).toThrow(new RangeError(`Dropout: p has ${p}, expected a number from 0 to below 1`));
  }
  expect(() => new Dropout("0.5" as unknown as number)).toThrow(TypeError);
  expect(() => new Dropout(0.5, { inplace: true } as object)).toThrow(
    new TypeError('Dropout: options has the name "inplace", expected rng'),
  );
});
