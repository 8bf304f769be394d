/** Linear, Embedding, LayerNorm, FeedForward and Sequential. */
import fc from "fast-check";
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  type Activation,
  Embedding,
  FeedForward,
  Generator,
  gradcheck,
  type Layer,
  LayerNorm,
  Linear,
  MoE,
  type Routed,
  Sequential,
  type Tensor,
  tensor,
  zeros,
} from "../../src/index.ts";
import { dyadic, fullShapes, general, numbers, shapes, some, tensorOf } from "../arbitraries.ts";

const rng = (): Generator => new Generator(11);

/** Mean, largest size, and standard deviation. */
function spread(x: Tensor): { mean: number; largest: number; deviation: number } {
  const list = numbers(x);
  const mean = list.reduce((a, b) => a + b, 0) / list.length;
  const deviation = Math.sqrt(list.reduce((sum, v) => sum + (v - mean) ** 2, 0) / list.length);
  return { mean, largest: Math.max(...list.map(Math.abs)), deviation };
}

/** Puts numbers into a module's parameters, in order of declaration. */
function fill(
  module: { stateDict(): Record<string, Tensor>; loadStateDict(d: Record<string, Tensor>): void },
  lists: number[][],
) {
  const entries = Object.entries(module.stateDict());
  module.loadStateDict(
    Object.fromEntries(
      entries.map(([name, x], i) => [name, tensor(lists[i], { dtype: x.dtype }).reshape([...x.shape])]),
    ),
  );
}

describe("Linear", () => {
  test("is x · W + b over the last dim, for any leading dims", () => {
    const cases = fc.tuple(shapes(3), some, some).chain(([lead, n, m]) =>
      fc.record({
        x: tensorOf([...lead, n], dyadic),
        w: fc.array(dyadic, { minLength: n * m, maxLength: n * m }),
        b: fc.array(dyadic, { minLength: m, maxLength: m }),
        bias: fc.boolean(),
      }),
    );
    fc.assert(
      fc.property(cases, ({ x, w, b, bias }) => {
        const n = x.shape[x.shape.length - 1];
        const m = b.length;
        const layer = new Linear(n, m, { bias });
        fill(layer, bias ? [w, b] : [w]);
        const y = layer.forward(x);
        expect(y.shape).toEqual([...x.shape.slice(0, -1), m]);
        const data = numbers(x);
        numbers(y).forEach((value, i) => {
          const [row, j] = [Math.floor(i / m), i % m];
          let sum = bias ? b[j] : 0;
          for (let d = 0; d < n; d++) sum += data[row * n + d] * w[d * m + j];
          expect(value + 0).toBe(sum + 0);
        });
      }),
    );
  });

  test("weight is [in, out] and both parameters start uniform in ±1/√in", () => {
    const layer = new Linear(64, 100, { rng: rng() });
    expect(layer.weight.shape).toEqual([64, 100]);
    expect(layer.bias?.shape).toEqual([100]);
    for (const p of layer.parameters()) {
      const { mean, largest, deviation } = spread(p);
      expect(largest).toBeLessThanOrEqual(1 / 8);
      expect(largest).toBeGreaterThan(0.95 / 8);
      // The bound times 1/√3, and a mean of 0, within four deviations of each.
      expect(Math.abs(mean)).toBeLessThan((4 * 0.072) / Math.sqrt(p.size));
      expect(deviation).toBeGreaterThan(0.062);
      expect(deviation).toBeLessThan(0.083);
    }
  });

  test("a seed repeats the weights, whatever has been drawn elsewhere", () => {
    const [a, b] = [new Linear(3, 4, { rng: rng() }), new Linear(3, 4, { rng: rng() })];
    expect(numbers(a.weight)).toEqual(numbers(b.weight));
    expect(numbers(a.weight)).not.toEqual(numbers(new Linear(3, 4, { rng: new Generator(12) }).weight));
  });

  test("has no bias key without a bias, and takes a dtype", () => {
    const layer = new Linear(2, 2, { bias: false, dtype: "float64" });
    expect(Object.keys(layer.stateDict())).toEqual(["weight"]);
    expect(layer.weight.dtype).toBe("float64");
  });

  test("has the gradient that differences give", () => {
    const layer = new Linear(3, 2, { rng: rng(), dtype: "float64" });
    const x = tensor(
      [
        [1, 2, -1],
        [0.5, 0, 3],
      ],
      { dtype: "float64" },
    );
    gradcheck(
      (input, weight, bias) => Object.assign(layer, { weight, bias }).forward(input),
      [x, layer.weight, layer.bias as Tensor],
    );
  });

  test("refuses sizes and options that it does not have, and inputs of other widths", () => {
    expect(() => new Linear(0, 2)).toThrow(
      new RangeError("Linear: inFeatures has 0, expected an integer of at least 1"),
    );
    expect(() => new Linear(2, 1.5)).toThrow(
      new RangeError("Linear: outFeatures has 1.5, expected an integer of at least 1"),
    );
    expect(() => new Linear(2, 2, { biases: true } as object)).toThrow(
      new TypeError('Linear: options has the name "biases", expected bias, dtype, rng'),
    );
    expect(() => new Linear(2, 3).forward(zeros([4, 3]))).toThrow(
      new RangeError("Linear: x has shape [4, 3], expected a last dim of 2 (its features)"),
    );
    expect(() => new Linear(2, 3).forward(zeros([]))).toThrow(
      new RangeError("Linear: x has shape [], expected a last dim of 2 (its features)"),
    );
    expect(() => new Linear(2, 3).forward([1, 2] as unknown as Tensor)).toThrow(
      new TypeError("Linear: x has [1, 2], expected a tensor (make one with tensor())"),
    );
    expect(() => new Linear(2, 3).forward(zeros([1, 2], { dtype: "float64" }))).toThrow(TypeError);
  });
});

describe("Embedding", () => {
  test("gives the rows that the index names, in its shape", () => {
    const layer = new Embedding(5, 3, { rng: rng() });
    const index = tensor(Int32Array.from([4, 0, 0, 2])).reshape([2, 2]);
    const y = layer.forward(index);
    expect(y.shape).toEqual([2, 2, 3]);
    const rows = layer.weight.toArray() as number[][];
    expect(y.toArray()).toEqual([
      [rows[4], rows[0]],
      [rows[0], rows[2]],
    ]);
    expect(layer.forward(tensor(1, { dtype: "int32" })).toArray()).toEqual(rows[1]);
    expect(layer.forward(tensor(new Int32Array(0)).reshape([0, 4])).shape).toEqual([0, 4, 3]);
  });

  test("adds up the gradient of a row over the places that used it", () => {
    const layer = new Embedding(4, 2);
    layer
      .forward(tensor(Int32Array.from([3, 1, 3])))
      .sum()
      .backward();
    expect(layer.weight.grad?.toArray()).toEqual([
      [0, 0],
      [1, 1],
      [0, 0],
      [2, 2],
    ]);
  });

  test("starts normal with mean 0 and variance 1, repeated by a seed", () => {
    const layer = new Embedding(100, 50, { rng: rng() });
    const { mean, deviation } = spread(layer.weight);
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(5000));
    expect(Math.abs(deviation - 1)).toBeLessThan(4 / Math.sqrt(2 * 5000));
    expect(numbers(new Embedding(100, 50, { rng: rng() }).weight)).toEqual(numbers(layer.weight));
  });

  test("refuses what is no int32 index, and places that are not there", () => {
    const layer = new Embedding(4, 2);
    expect(() => layer.forward(tensor([1, 2]))).toThrow(
      new TypeError("Embedding: index has dtype float32, expected int32 (convert with to())"),
    );
    expect(() => layer.forward(tensor(Int32Array.from([0, 4])))).toThrow(
      new RangeError("Embedding: index has 4 at flat index 1, expected indices from 0 to 3"),
    );
    expect(() => layer.forward(tensor(Int32Array.from([-1])))).toThrow(RangeError);
    expect(() => new Embedding(0, 2)).toThrow(
      new RangeError("Embedding: numEmbeddings has 0, expected an integer of at least 1"),
    );
    expect(() => new Embedding(2, 0)).toThrow(
      new RangeError("Embedding: dim has 0, expected an integer of at least 1"),
    );
    expect(() => new Embedding(2, 2, { bias: true } as object)).toThrow(
      new TypeError('Embedding: options has the name "bias", expected dtype, rng'),
    );
  });
});

describe("LayerNorm", () => {
  test("starts as plain normalisation: mean 0, variance 1 over the last dim", () => {
    fc.assert(
      fc.property(fullShapes(2), (lead) => {
        const D = 5;
        const layer = new LayerNorm(D, { dtype: "float64", eps: 0 });
        const x = tensor(
          Float64Array.from({ length: D * lead.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i) * 3 + 1),
        ).reshape([...lead, D]);
        const y = layer.forward(x);
        expect(y.shape).toEqual(x.shape);
        for (const m of numbers(y.mean({ dim: -1 }))) expect(m).toBeCloseTo(0, 12);
        for (const v of numbers(y.square().mean({ dim: -1 }))) expect(v).toBeCloseTo(1, 12);
      }),
      { numRuns: 20 },
    );
  });

  test("scales and shifts by its parameters, which start at 1 and 0", () => {
    const layer = new LayerNorm(2);
    expect([numbers(layer.weight), numbers(layer.bias), layer.eps]).toEqual([[1, 1], [0, 0], 1e-5]);
    fill(layer, [
      [2, 3],
      [10, 20],
    ]);
    const y = numbers(layer.forward(tensor([[-1, 1]])));
    expect(y[0]).toBeCloseTo(10 - 2 / Math.sqrt(1 + 1e-5), 5);
    expect(y[1]).toBeCloseTo(20 + 3 / Math.sqrt(1 + 1e-5), 5);
  });

  test("refuses bad widths and options", () => {
    expect(() => new LayerNorm(0)).toThrow(new RangeError("LayerNorm: dim has 0, expected an integer of at least 1"));
    expect(() => new LayerNorm(2, { epsilon: 1 } as object)).toThrow(
      new TypeError('LayerNorm: options has the name "epsilon", expected eps, dtype'),
    );
    expect(() => new LayerNorm(2).forward(zeros([2, 3]))).toThrow(
      new RangeError("LayerNorm: x has shape [2, 3], expected a last dim of 2 (its features)"),
    );
  });
});

/** The activations, written with other ops than the library's own. */
const formulas: Record<Exclude<Activation, "swiglu">, (z: number) => number> = {
  linear: (z) => z,
  cubic: (z) => z ** 3,
  relu: (z) => Math.max(0, z),
  // The normal distribution function at ±1 and ±2, from tables.
  gelu: (z) =>
    z *
    (new Map([
      [-2, 0.022750131948179],
      [-1, 0.158655253931457],
      [0, 0.5],
      [1, 0.841344746068543],
      [2, 0.977249868051821],
    ]).get(z) ?? Number.NaN),
  geluTanh: (z) => (z / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))),
  silu: (z) => z / (1 + Math.exp(-z)),
};

describe("FeedForward", () => {
  test.each(Object.keys(formulas) as (keyof typeof formulas)[])(
    "is act(x · W₁ + b₁) · W₂ + b₂ with act = %s",
    (activation) => {
      const layer = new FeedForward({ dim: 2, hidden: 3, activation, dtype: "float64" });
      // The hidden units see x[0], x[1] and x[0] − x[1] + 1: whole numbers from −2 to 2.
      fill(layer, [
        [1, 0, 1, 0, 1, -1],
        [0, 0, 1],
        [1, 0, 0, 1, 2, 3],
        [0.5, -0.5],
      ]);
      const act = formulas[activation];
      for (const [a, b] of [
        [1, 2],
        [-1, 0],
        [0, 1],
        [1, 1],
      ]) {
        const [h0, h1, h2] = [act(a), act(b), act(a - b + 1)];
        const y = numbers(layer.forward(tensor([a, b], { dtype: "float64" })));
        expect(y[0]).toBeCloseTo(h0 + 2 * h2 + 0.5, 13);
        expect(y[1]).toBeCloseTo(h1 + 3 * h2 - 0.5, 13);
      }
    },
  );

  test("has keys up and down, gelu and biases by default", () => {
    const layer = new FeedForward({ dim: 4, hidden: 8 });
    expect(layer.activation).toBe("gelu");
    expect(Object.entries(layer.stateDict()).map(([name, x]) => [name, x.shape])).toEqual([
      ["up.weight", [4, 8]],
      ["up.bias", [8]],
      ["down.weight", [8, 4]],
      ["down.bias", [4]],
    ]);
    expect(Object.keys(new FeedForward({ dim: 4, hidden: 8, bias: false }).stateDict())).toEqual([
      "up.weight",
      "down.weight",
    ]);
  });

  test("with swiglu multiplies silu(x · W₁ + b₁) by x · W₃ + b₃", () => {
    const layer = new FeedForward({ dim: 1, hidden: 1, activation: "swiglu", dtype: "float64" });
    expect(Object.keys(layer.stateDict()).filter((name) => name.endsWith("weight"))).toEqual([
      "up.weight",
      "gated.weight",
      "down.weight",
    ]);
    fill(layer, [[2], [1], [3], [-1], [4], [5]]);
    for (const x of [-1, 0, 1.5]) {
      const z = 2 * x + 1;
      const y = layer.forward(tensor([x], { dtype: "float64" })).item();
      expect(y).toBeCloseTo(4 * (z / (1 + Math.exp(-z))) * (3 * x - 1) + 5, 12);
    }
  });

  test("refuses unknown activations and options", () => {
    expect(() => new FeedForward({ dim: 2, hidden: 2, activation: "tanh" as Activation })).toThrow(
      new TypeError(
        'FeedForward: activation has "tanh", expected "linear", "cubic", "relu", "gelu", "geluTanh", "silu", "swiglu"',
      ),
    );
    expect(() => new FeedForward({ dim: 2, hidden: 2, activation: "toString" as Activation })).toThrow(TypeError);
    expect(() => new FeedForward({ dim: 2, hidden: 2, dropout: 0.1 } as never)).toThrow(
      new TypeError('FeedForward: options has the name "dropout", expected dim, hidden, activation, bias, dtype, rng'),
    );
  });
});

describe("Sequential", () => {
  const moe = (): MoE => new MoE({ dim: 2, hidden: 3, numExperts: 2, rng: rng() });

  test("without a MoE inside gives the output itself", () => {
    const [first, second] = [new Linear(2, 3), new Linear(3, 1)];
    const model = new Sequential(first, second);
    const x = tensor([[1, 2]]);
    const y = model.forward(x);
    expectTypeOf(y).toEqualTypeOf<Tensor>();
    expect(numbers(y)).toEqual(numbers(second.forward(first.forward(x))));
  });

  test("with MoEs inside gives the output and their routings in order, however deep they are", () => {
    const model = new Sequential(new Linear(2, 2), moe(), new Sequential(new LayerNorm(2), moe()), new Linear(2, 1));
    const x = tensor([
      [1, 2],
      [0, -1],
    ]);
    const y = model.forward(x);
    expectTypeOf(y).toEqualTypeOf<Routed>();
    expect(y.output.shape).toEqual([2, 1]);
    expect(y.routings).toHaveLength(2);
    const [up, one, inner, down] = model.layers;
    const a = one.forward(up.forward(x));
    const b = inner.forward(a.output);
    expectTypeOf(b).toEqualTypeOf<Routed>();
    expect(numbers(y.output)).toEqual(numbers(down.forward(b.output)));
    expect(numbers(y.routings[0].gate)).toEqual(numbers(a.routing.gate));
    expect(numbers(y.routings[1].gate)).toEqual(numbers(b.routings[0].gate));
  });

  test("nested without a MoE stays a tensor, in type and value", () => {
    const model = new Sequential(new Sequential(new Linear(2, 2)), new LayerNorm(2));
    const y = model.forward(tensor([[1, 2]]));
    expectTypeOf(y).toEqualTypeOf<Tensor>();
    expect(y.shape).toEqual([1, 2]);
  });

  test("of no layers is the identity", () => {
    const x = tensor([1, 2]);
    expect(new Sequential().forward(x)).toBe(x);
  });

  test("names its layers by index", () => {
    const model = new Sequential(new Linear(2, 2, { bias: false }), moe());
    expect(Object.keys(model.stateDict())).toEqual([
      "layers.0.weight",
      "layers.1.router.weight",
      "layers.1.experts.w1",
      "layers.1.experts.w2",
    ]);
    model.eval();
    expect(model.layers[1].training).toBe(false);
  });

  test("refuses what has no forward", () => {
    expect(() => new Sequential(new Linear(1, 1), null as unknown as Layer)).toThrow(
      new TypeError("Sequential: layer 1 has null, expected a module"),
    );
    expect(() => new Sequential({} as Layer)).toThrow(
      new TypeError("Sequential: layer 0 has a Object, expected a module"),
    );
  });
});

test("a chain of layers has the gradient that differences give", () => {
  const model = new Sequential(
    new Linear(2, 3, { rng: rng(), dtype: "float64" }),
    new LayerNorm(3, { dtype: "float64" }),
    new FeedForward({ dim: 3, hidden: 4, rng: rng(), dtype: "float64" }),
  );
  fc.assert(
    fc.property(tensorOf([2, 2], general, "float64"), (x) => {
      gradcheck((input) => model.forward(input), [x], { atol: 1e-6, rtol: 1e-4 });
    }),
    { numRuns: 10 },
  );
});
