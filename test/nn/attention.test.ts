/** Attention is its formula, sees what it may, and tells distances. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type AttentionOptions,
  concat,
  type DType,
  Generator,
  gradcheck,
  MultiHeadAttention,
  type NestedArray,
  randn,
  rotate,
  type Tensor,
  tensor,
  zeros,
} from "../../src/index.ts";
import { dyadic, general, numbers, tensorOf } from "../arbitraries.ts";

type Matrix = number[][];

const rng = (seed = 1): Generator => new Generator(seed);
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
const dot = (a: readonly number[], b: readonly number[]): number => sum(a.map((x, i) => x * b[i]));

/** x · W + b by rows. */
const linear = (x: Matrix, { weight, bias }: MultiHeadAttention["query"]): Matrix => {
  const W = weight.toArray() as Matrix;
  const b = bias === null ? W[0].map(() => 0) : numbers(bias);
  return x.map((row) => b.map((start, j) => start + sum(row.map((v, i) => v * W[i][j]))));
};

/** A head's feature pairs (i, i + d/2) turned by l · 10000^(−2i/d). */
const turned = (x: Matrix): Matrix =>
  x.map((row, l) => {
    const half = row.length / 2;
    return row.map((v, j) => {
      const angle = l * 10000 ** (-(j % half) / half);
      return j < half
        ? v * Math.cos(angle) - row[j + half] * Math.sin(angle)
        : row[j - half] * Math.sin(angle) + v * Math.cos(angle);
    });
  });

/** One sequence of the formula, in loops: position l sees the positions that `sees(l)` lists. */
function plainAttention(attention: MultiHeadAttention, x: Matrix, sees: (l: number) => number[]): Matrix {
  const { numHeads: H, rotary } = attention;
  const d = x[0].length / H;
  const [q, k, v] = [attention.query, attention.key, attention.value].map((layer) => linear(x, layer));
  const mixed = x.map(() => [] as number[]);
  for (let h = 0; h < H; h++) {
    const cut = (rows: Matrix): Matrix => rows.map((row) => row.slice(h * d, (h + 1) * d));
    const [queries, keys] = [q, k].map((rows) => (rotary ? turned(cut(rows)) : cut(rows)));
    const values = cut(v);
    for (const l of range(x.length)) {
      const seen = sees(l);
      const weights = seen.map((m) => Math.exp(dot(queries[l], keys[m]) / Math.sqrt(d)));
      for (const j of range(d)) {
        mixed[l].push(sum(seen.map((m, i) => weights[i] * values[m][j])) / sum(weights));
      }
    }
  }
  return linear(mixed, attention.out);
}

/** Layers and inputs: heads, rotary or not, causal or not, masks that leave at least one position in. */
const cases = fc
  .record({
    B: fc.integer({ min: 1, max: 2 }),
    L: fc.integer({ min: 1, max: 5 }),
    numHeads: fc.integer({ min: 1, max: 3 }),
    width: fc.constantFrom(2, 4),
    causal: fc.boolean(),
    rotary: fc.boolean(),
    bias: fc.boolean(),
    seed: fc.integer(),
  })
  .chain(({ B, L, seed, numHeads, width, ...options }) => {
    const dim = numHeads * width;
    const flags = fc
      .array(fc.boolean(), { minLength: L, maxLength: L })
      .map((row) => (options.causal ? [true, ...row.slice(1)] : row))
      .filter((row) => row.includes(true));
    return fc.record({
      options: fc.constant<AttentionOptions>({ dim, numHeads, ...options, dtype: "float64", rng: rng(seed) }),
      x: tensorOf([B, L, dim], general, "float64"),
      mask: fc.option(fc.array(flags, { minLength: B, maxLength: B }), { nil: undefined }),
    });
  });

describe("MultiHeadAttention", () => {
  test("is the formula in loops, with heads, causal or not, masked, rotary", () => {
    fc.assert(
      fc.property(cases, ({ options, x, mask }) => {
        const attention = new MultiHeadAttention(options);
        const y = attention.forward(x, { mask });
        expect(y.shape).toEqual(x.shape);
        const rows = x.toArray() as Matrix[];
        const expected = rows.map((sequence, b) =>
          plainAttention(attention, sequence, (l) =>
            range(sequence.length).filter((m) => (mask?.[b][m] ?? true) && (!options.causal || m <= l)),
          ),
        );
        const flat = expected.flat(2);
        numbers(y).forEach((value, i) => {
          expect(Math.abs(value - flat[i])).toBeLessThan(1e-10);
        });
      }),
      { numRuns: 60 },
    );
  });

  test("in float32 is within 1e-5 of float64, at features below 1", () => {
    const make = (dtype: DType) =>
      new MultiHeadAttention({ dim: 8, numHeads: 2, rotary: true, causal: true, dtype, rng: rng() });
    const x = tensor(Float32Array.from({ length: 2 * 7 * 8 }, (_, i) => Math.sin(i * i))).reshape([2, 7, 8]);
    const [rough, precise] = [make("float32"), make("float64")];
    precise.loadStateDict(
      Object.fromEntries(Object.entries(rough.stateDict()).map(([name, w]) => [name, w.to("float64")])),
    );
    const exact = numbers(precise.forward(x.to("float64")));
    numbers(rough.forward(x)).forEach((value, i) => {
      expect(Math.abs(value - exact[i])).toBeLessThan(1e-5);
    });
  });

  test.each([
    { causal: false, rotary: false },
    { causal: true, rotary: true },
  ])("has the gradient that differences give, by input and weights: %o", (flags) => {
    const attention = new MultiHeadAttention({ dim: 4, numHeads: 2, ...flags, dtype: "float64", rng: rng() });
    const x = randn([1, 3, 4], { dtype: "float64", rng: rng(2) });
    const mask = [[true, true, flags.causal]];
    const names = ["query", "key", "value", "out"] as const;
    const f = (input: Tensor, ...weights: Tensor[]): Tensor => {
      for (const [i, name] of names.entries()) Object.assign(attention[name], { weight: weights[i] });
      return attention.forward(input, { mask });
    };
    gradcheck(f, [x, ...names.map((name) => attention[name].weight)], { atol: 1e-8, rtol: 1e-6 });
  });

  test.each(["float32", "float64"] as const)(
    "causal: later positions change nothing before them, to the last bit, in %s",
    (dtype) => {
      const attention = new MultiHeadAttention({ dim: 8, numHeads: 2, causal: true, rotary: true, dtype, rng: rng() });
      const length = fc.integer({ min: 2, max: 9 });
      fc.assert(
        fc.property(
          length.chain((L) =>
            fc.tuple(tensorOf([2, L, 8], general, dtype), tensorOf([2, L, 8], general, dtype), fc.nat(L - 1)),
          ),
          ([x, other, cut]) => {
            const prefix = (y: Tensor): number[] => numbers(y.slice({ dim: 1, end: cut }));
            const whole = attention.forward(x);
            expect(prefix(attention.forward(x.slice({ dim: 1, end: Math.max(1, cut) })))).toEqual(prefix(whole));
            // The same beginning with another end.
            const parts = [x.slice({ dim: 1, end: cut }), other.slice({ dim: 1, start: cut })];
            const joined = concat(parts, { dim: 1 });
            expect(prefix(attention.forward(joined))).toEqual(prefix(whole));
          },
        ),
        { numRuns: 25 },
      );
    },
  );

  test("without causal, every position sees every other", () => {
    const attention = new MultiHeadAttention({ dim: 4, numHeads: 2, rng: rng() });
    const x = randn([1, 3, 4], { rng: rng(2), requiresGrad: true });
    const first = attention.forward(x).slice({ dim: 1, end: 1 });
    first.sum().backward();
    const perPosition = (x.grad as Tensor).abs().sum({ dim: 2 });
    for (const g of numbers(perPosition)) expect(g).toBeGreaterThan(0);
  });

  test("a masked position is not seen: whatever is there, the others come out the same, and it gets no gradient", () => {
    const attention = new MultiHeadAttention({ dim: 4, numHeads: 2, rng: rng() });
    const mask = [[true, false, true]];
    fc.assert(
      fc.property(tensorOf([1, 3, 4], dyadic), tensorOf([1, 1, 4], dyadic), (x, y) => {
        const changed = x.add(tensor([0, 1, 0]).reshape([1, 3, 1]).mul(y));
        const kept = (z: Tensor) =>
          (attention.forward(z, { mask }).toArray() as NestedArray[][])[0].filter((_, l) => l !== 1);
        expect(kept(changed)).toEqual(kept(x));
      }),
      { numRuns: 20 },
    );
    const x = randn([1, 3, 4], { rng: rng(2), requiresGrad: true });
    attention.forward(x, { mask }).slice({ dim: 1, end: 1 }).sum().backward();
    expect(numbers((x.grad as Tensor).slice({ dim: 1, start: 1, end: 2 })).map(Math.abs)).toEqual([0, 0, 0, 0]);
  });

  test("one without any position to see gives finite numbers", () => {
    const attention = new MultiHeadAttention({ dim: 4, numHeads: 1, causal: true, rng: rng() });
    const y = attention.forward(randn([1, 2, 4], { rng: rng(2) }), { mask: [[false, false]] });
    expect(numbers(y).filter((v) => !Number.isFinite(v))).toEqual([]);
  });

  test("drops weights in training only", () => {
    const attention = new MultiHeadAttention({ dim: 4, numHeads: 2, dropout: 0.5, rng: rng() });
    const plain = new MultiHeadAttention({ dim: 4, numHeads: 2, rng: rng() });
    const x = randn([2, 5, 4], { rng: rng(3) });
    expect(numbers(attention.forward(x))).not.toEqual(numbers(plain.forward(x)));
    expect(numbers(attention.eval().forward(x))).toEqual(numbers(plain.forward(x)));
  });

  test("has four maps, with biases unless they are left out, and takes empty batches", () => {
    const names = (bias?: boolean) => Object.keys(new MultiHeadAttention({ dim: 2, numHeads: 1, bias }).stateDict());
    const weights = ["query.weight", "key.weight", "value.weight", "out.weight"];
    expect(names(false)).toEqual(weights);
    expect(names()).toEqual(weights.flatMap((name) => [name, name.replace("weight", "bias")]));
    expect(new MultiHeadAttention({ dim: 2, numHeads: 1 }).forward(zeros([0, 3, 2])).shape).toEqual([0, 3, 2]);
  });

  test("a mask of an empty batch is an empty list, and one of empty sequences has empty rows", () => {
    const attention = new MultiHeadAttention({ dim: 4, numHeads: 2 });
    expect(attention.forward(zeros([0, 3, 4]), { mask: [] }).shape).toEqual([0, 3, 4]);
    expect(attention.forward(zeros([2, 0, 4]), { mask: [[], []] }).shape).toEqual([2, 0, 4]);
    expect(() => attention.forward(zeros([2, 0, 4]), { mask: [] })).toThrow(
      new RangeError("MultiHeadAttention: mask has shape [0], expected [2, 0] (one entry per token, true = keep)"),
    );
  });

  test("refuses heads that are not whole, and inputs and masks of other shapes", () => {
    const make = (options: object) => () => new MultiHeadAttention({ dim: 6, numHeads: 2, ...options });
    const attention = make({})();
    const x = zeros([2, 3, 6]);
    const refused: [() => unknown, Error][] = [
      [make({ numHeads: 4 }), new RangeError("MultiHeadAttention: dim has 6, expected a multiple of 4 (whole heads)")],
      [make({ rotary: true }), new RangeError("MultiHeadAttention: dim has 6, expected a multiple of 4 (whole heads)")],
      [make({ numHeads: 0 }), new RangeError("MultiHeadAttention: numHeads has 0, expected an integer from 1 to 6")],
      [
        () => attention.forward(zeros([3, 6])),
        new RangeError("MultiHeadAttention: x has shape [3, 6], expected 3 dims (batch, positions and features)"),
      ],
      [
        () => attention.forward(zeros([2, 3, 4])),
        new RangeError("MultiHeadAttention: x has shape [2, 3, 4], expected a last dim of 6 (its features)"),
      ],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
    expect(make({ heads: 2 })).toThrow(TypeError);
    expect(make({ dropout: 1 })).toThrow(RangeError);
    expect(() => attention.forward(x, { mask: [[true, true, true]] })).toThrow(RangeError);
    expect(() => attention.forward(x, { mask: [[true], [true]] })).toThrow(RangeError);
  });
});

describe("rotate", () => {
  const shape = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.constantFrom(2, 4, 6));

  test("turns: the norm of every position stays, and position 0 stays as it is", () => {
    fc.assert(
      fc.property(
        shape.chain(([L, d]) => tensorOf([2, 1, L, d], general, "float64")),
        (x) => {
          const y = rotate(x);
          expect(y.shape).toEqual(x.shape);
          const norms = (z: Tensor) => numbers(z.square().sum({ dim: -1 }));
          norms(y).forEach((norm, i) => {
            expect(norm).toBeCloseTo(norms(x)[i], 12);
          });
          const first = (z: Tensor) => numbers(z.slice({ dim: 2, end: 1 }));
          expect(first(y).map((v) => v + 0)).toEqual(first(x).map((v) => v + 0));
        },
      ),
      { numRuns: 40 },
    );
  });

  test("products depend on the distance alone", () => {
    fc.assert(
      fc.property(
        fc
          .tuple(fc.constantFrom(2, 4, 6), fc.integer({ min: 1, max: 6 }), fc.constantFrom(10, 10000))
          .chain(([d, L, base]) =>
            fc.tuple(
              tensorOf([d], general, "float64"),
              tensorOf([d], general, "float64"),
              fc.constant(L),
              fc.constant(base),
            ),
          ),
        ([q, k, L, base]) => {
          const everywhere = (x: Tensor) => rotate(x.expand([1, 1, L, x.size]), { base }).reshape([L, x.size]);
          const products = everywhere(q).matmul(everywhere(k).transpose()).toArray() as Matrix;
          for (let l = 1; l < L; l++) {
            for (let m = 1; m < L; m++) expect(products[l][m]).toBeCloseTo(products[l - 1][m - 1], 11);
          }
        },
      ),
      { numRuns: 40 },
    );
    // And they do depend on it.
    const one = tensor([1, 0], { dtype: "float64" }).expand([1, 1, 3, 2]);
    const y = rotate(one).reshape([3, 2]).toArray() as Matrix;
    y.forEach(([a, b], l) => {
      expect(a).toBeCloseTo(Math.cos(l), 15);
      expect(b).toBeCloseTo(Math.sin(l), 15);
    });
  });

  test("refuses an odd number of features and a base that is not above 1", () => {
    expect(() => rotate(zeros([1, 1, 2, 3]))).toThrow(
      new RangeError("rotate: x has 3 features, expected an even number (they are turned in pairs)"),
    );
    expect(() => rotate(zeros([1, 1, 2, 2]), { base: 1 })).toThrow(RangeError);
  });
});
