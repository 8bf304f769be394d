import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { shared } from "../src/device/state.ts";
import { Generator, manualSeed } from "../src/index.ts";
import { trackDraws } from "../src/random.ts";

const draw = (n: number, next: () => number): number[] => Array.from({ length: n }, next);
const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
const moment = (list: readonly number[], center: number, power: number): number =>
  mean(list.map((x) => (x - center) ** power));

/** Labels that make paths of one another. */
const slashed = fc.string({ unit: fc.constantFrom("a", "/", "\\"), maxLength: 3 });

/** Σ (observed − expected)² / expected over cells of the same chance. */
function chiSquare(cells: readonly number[], numCells: number): number {
  const counts = new Array<number>(numCells).fill(0);
  for (const c of cells) counts[c]++;
  const expected = cells.length / numCells;
  return counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
}

/** What χ² stays below with a chance of 0.9999: its mean and variance are k and 2k (Wilson and Hilferty's cube). */
function chiSquareBound(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.719 * Math.sqrt(spread)) ** 3;
}

const label = fc.oneof(fc.string(), fc.integer());

describe("streams", () => {
  test("the same seed gives the same numbers of every kind", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const [a, b] = [new Generator(seed), new Generator(seed)];
        for (const kind of ["uniform", "normal", "bits", "gumbel"] as const) {
          expect(draw(5, () => a[kind]())).toEqual(draw(5, () => b[kind]()));
        }
        expect(a.integer(7)).toBe(b.integer(7));
        expect(a.permutation(7)).toEqual(b.permutation(7));
      }),
    );
  });

  test("other seeds give other numbers", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 9 }), (seed, step) => {
        const [a, b] = [new Generator(seed), new Generator(seed + step)];
        expect(draw(4, () => a.bits())).not.toEqual(draw(4, () => b.bits()));
      }),
    );
  });

  test("a split depends on seed and label alone, not on what was drawn before or is drawn after", () => {
    fc.assert(
      fc.property(fc.integer(), label, fc.nat(9), (seed, name, numDrawn) => {
        const fresh = new Generator(seed).split(name);
        const used = new Generator(seed);
        draw(numDrawn, () => used.normal());
        const late = used.split(name);
        draw(numDrawn, () => used.bits());
        used.split("another");
        expect(draw(4, () => late.bits())).toEqual(draw(4, () => fresh.bits()));
      }),
    );
  });

  test("splitting does not disturb the stream that is split", () => {
    fc.assert(
      fc.property(fc.integer(), label, (seed, name) => {
        const [a, b] = [new Generator(seed), new Generator(seed)];
        a.split(name).bits();
        expect(a.bits()).toBe(b.bits());
      }),
    );
  });

  test("other labels give other streams, and none is that of the seed itself", () => {
    fc.assert(
      fc.property(fc.integer(), fc.string(), fc.string(), (seed, p, q) => {
        fc.pre(p !== q);
        const rng = new Generator(seed);
        const streams = [rng.split(p), rng.split(q), rng].map((stream) => draw(4, () => stream.bits()).join());
        expect(new Set(streams).size).toBe(3);
      }),
    );
  });

  test("a label with a slash is one label, not two", () => {
    fc.assert(
      fc.property(fc.integer(), slashed, slashed, slashed, (seed, p, q, r) => {
        const rng = new Generator(seed);
        const paths = [[p], [p, q], [p, q, r], [`${p}/${q}`], [`${p}/${q}/${r}`], [`${p}/${q}`, r], [p, `${q}/${r}`]];
        const streams = paths.map((path) => path.reduce((stream, name) => stream.split(name), rng).bits());
        const names = paths.map((path) => JSON.stringify(path));
        expect(new Set(streams).size).toBe(new Set(names).size);
      }),
    );
  });

  test("two splits of one generator are not correlated", () => {
    const rng = new Generator(11);
    const [a, b] = [rng.split("init"), rng.split("noise")];
    const products = draw(20_000, () => a.normal() * b.normal());
    expect(Math.abs(mean(products))).toBeLessThan(4 / Math.sqrt(20_000));
  });

  // From xoshiro128** written down in another language. Other numbers would be another run for every saved seed.
  test("the numbers of a seed are those of xoshiro128** and stay what they are", () => {
    const rng = new Generator(7);
    expect(draw(4, () => rng.bits())).toEqual([1690350628, 3585083834, 2089622723, 846868997]);
    const split = rng.split("init");
    expect(draw(2, () => split.bits())).toEqual([1318769279, 1004623491]);
  });
});

describe("uniform", () => {
  test("is a multiple of 2⁻²⁴ in [0, 1), and so exact in float32", () => {
    const rng = new Generator(1);
    const list = draw(10_000, () => rng.uniform());
    expect(list.filter((x) => !(x >= 0 && x < 1))).toEqual([]);
    expect(list.filter((x) => Math.fround(x) !== x || !Number.isInteger(x * 2 ** 24))).toEqual([]);
  });

  test("has mean ½, variance 1⁄12 and even cells", () => {
    const rng = new Generator(2);
    const n = 50_000;
    const list = draw(n, () => rng.uniform());
    // Four standard errors.
    expect(Math.abs(mean(list) - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(moment(list, 0.5, 2) - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n));
    expect(
      chiSquare(
        list.map((x) => Math.floor(x * 64)),
        64,
      ),
    ).toBeLessThan(chiSquareBound(63));
  });

  test("does not depend on the number before", () => {
    const rng = new Generator(3);
    const pairs = draw(50_000, () => Math.floor(rng.uniform() * 8) * 8 + Math.floor(rng.uniform() * 8));
    expect(chiSquare(pairs, 64)).toBeLessThan(chiSquareBound(63));
  });

  test("every bit is 1 half of the time", () => {
    const rng = new Generator(4);
    const n = 20_000;
    const list = draw(n, () => rng.bits());
    for (let bit = 0; bit < 32; bit++) {
      const numOnes = list.filter((x) => (x >>> bit) & 1).length;
      expect(Math.abs(numOnes - n / 2)).toBeLessThan((4 * Math.sqrt(n)) / 2);
    }
  });
});

describe("normal", () => {
  test("has mean 0, variance 1, skewness 0 and kurtosis 3", () => {
    const rng = new Generator(5);
    const n = 50_000;
    const list = draw(n, () => rng.normal());
    // Four standard errors; the moments of order 2, 4, 6 and 8 of a normal number are 1, 3, 15 and 105.
    expect(Math.abs(mean(list))).toBeLessThan(4 * Math.sqrt(1 / n));
    expect(Math.abs(moment(list, 0, 2) - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    expect(Math.abs(moment(list, 0, 3))).toBeLessThan(4 * Math.sqrt(15 / n));
    expect(Math.abs(moment(list, 0, 4) - 3)).toBeLessThan(4 * Math.sqrt(96 / n));
  });

  test("comes in pairs that are not correlated", () => {
    const rng = new Generator(6);
    const products = draw(20_000, () => rng.normal() * rng.normal());
    expect(Math.abs(mean(products))).toBeLessThan(4 / Math.sqrt(20_000));
  });
});

describe("gumbel", () => {
  test("has Euler's constant as its mean and π²/6 as its variance", () => {
    const rng = new Generator(7);
    const n = 50_000;
    const list = draw(n, () => rng.gumbel());
    const [euler, variance] = [0.5772156649015329, Math.PI ** 2 / 6];
    expect(Math.abs(mean(list) - euler)).toBeLessThan(4 * Math.sqrt(variance / n));
    // Its excess kurtosis is 12⁄5.
    expect(Math.abs(moment(list, euler, 2) - variance)).toBeLessThan(4 * variance * Math.sqrt(4.4 / n));
  });

  test("added to logits, its argmax is a draw from their softmax", () => {
    const rng = new Generator(8);
    const probs = [0.1, 0.2, 0.7];
    const n = 30_000;
    const counts = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      const scores = probs.map((p) => Math.log(p) + rng.gumbel());
      counts[scores.indexOf(Math.max(...scores))]++;
    }
    const distance = probs.reduce((sum, p, i) => sum + (counts[i] - n * p) ** 2 / (n * p), 0);
    expect(distance).toBeLessThan(chiSquareBound(2));
  });
});

describe("integer", () => {
  test("lies in [0, n)", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 2 ** 32 }), (seed, n) => {
        const rng = new Generator(seed);
        for (const x of draw(20, () => rng.integer(n))) {
          expect(Number.isInteger(x) && x >= 0 && x < n).toBe(true);
        }
      }),
    );
  });

  test.each([2, 3, 7, 10])("below %i is even", (n) => {
    const rng = new Generator(n);
    const list = draw(20_000, () => rng.integer(n));
    expect(chiSquare(list, n)).toBeLessThan(chiSquareBound(n - 1));
  });

  // Without throwing draws back, 2³² mod n would make the lower third of the range come twice as often.
  test("below ¾ · 2³² is as even as below 3", () => {
    const rng = new Generator(9);
    const n = 3 * 2 ** 30;
    const list = draw(20_000, () => Math.floor(rng.integer(n) / 2 ** 30));
    expect(chiSquare(list, 3)).toBeLessThan(chiSquareBound(2));
  });

  test("below 2³² takes all 32 bits", () => {
    const [a, b] = [new Generator(10), new Generator(10)];
    expect(draw(9, () => a.integer(2 ** 32))).toEqual(draw(9, () => b.bits()));
  });
});

describe("permutation", () => {
  test("holds every number below n once", () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(50), (seed, n) => {
        const order = new Generator(seed).permutation(n);
        expect(order).toBeInstanceOf(Int32Array);
        expect(Array.from(order).sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
      }),
    );
  });

  test("gives each of the 24 orders of four the same chance", () => {
    const rng = new Generator(12);
    const orders = new Map<string, number>();
    const list = draw(12_000, () => {
      const order = rng.permutation(4).join();
      if (!orders.has(order)) orders.set(order, orders.size);
      return orders.get(order) as number;
    });
    expect(orders.size).toBe(24);
    expect(chiSquare(list, 24)).toBeLessThan(chiSquareBound(23));
  });
});

describe("trackDraws", () => {
  const kinds = fc.array(fc.constantFrom("uniform", "normal", "bits", "gumbel"), { maxLength: 6 });

  test("replays the numbers that a function drew, and leaves every generator where it was", () => {
    fc.assert(
      fc.property(fc.integer(), kinds, kinds, (seed, before, inside) => {
        const [rng, other] = [new Generator(seed), new Generator(seed + 1)];
        for (const kind of before) rng[kind]();
        const run = () => inside.map((kind) => [rng[kind](), other[kind]()]);
        const [first, replay] = trackDraws(shared(), run);
        // What comes next, and that it comes whether or not there was a replay.
        const next = rng.normal();
        expect(replay(run)).toEqual(first);
        const after = rng.normal();
        const plain = new Generator(seed);
        for (const kind of [...before, ...inside]) plain[kind]();
        expect([next, after]).toEqual([plain.normal(), plain.normal()]);
      }),
    );
  });

  test("tracks from the start: in a process that has not run an op yet", () => {
    const holder = globalThis as { [key: symbol]: unknown };
    const key = Symbol.for("moegrad");
    const before = holder[key];
    delete holder[key];
    try {
      const rng = new Generator(5);
      const [first, replay] = trackDraws(shared(), () => rng.bits());
      expect(replay(() => rng.bits())).toBe(first);
    } finally {
      holder[key] = before;
    }
  });

  test("nests: the outer one replays what the inner one drew", () => {
    const rng = new Generator(3);
    const [[a, b, c], replay] = trackDraws(shared(), () => {
      const first = rng.bits();
      const [second] = trackDraws(shared(), () => rng.bits());
      return [first, second, rng.bits()];
    });
    expect(replay(() => draw(3, () => rng.bits()))).toEqual([a, b, c]);
  });
});

describe("what is refused", () => {
  test.each([
    [
      () => new Generator(0.5),
      new RangeError("Generator: seed has 0.5, expected an integer (of at most 2⁵³ − 1 in size)"),
    ],
    [
      () => new Generator(2 ** 53),
      new RangeError("Generator: seed has 9007199254740992, expected an integer (of at most 2⁵³ − 1 in size)"),
    ],
    [() => new Generator(undefined as never), new TypeError("Generator: seed has undefined, expected an integer")],
    [
      () => manualSeed(0.5),
      new RangeError("manualSeed: seed has 0.5, expected an integer (of at most 2⁵³ − 1 in size)"),
    ],
    [
      () => new Generator(1).split(undefined as never),
      new TypeError("split: label has undefined, expected a text or a number"),
    ],
    [() => new Generator(1).integer(0), new RangeError("integer: n has 0, expected an integer from 1 to 4294967296")],
    [
      () => new Generator(1).integer(1.5),
      new RangeError("integer: n has 1.5, expected an integer from 1 to 4294967296"),
    ],
    [
      () => new Generator(1).permutation(-1),
      new RangeError("permutation: n has -1, expected an integer from 0 to 2147483647"),
    ],
  ])("%s", (call, error) => {
    expect(call).toThrow(error);
  });
});
