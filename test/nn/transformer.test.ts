/** The transformer: what it is made of, what a position can see, and which routers a causal one refuses. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  expertChoiceRouter,
  Generator,
  gradcheck,
  hashRouter,
  type MoE,
  RMSNorm,
  SGD,
  type Tensor,
  Transformer,
  type TransformerMoE,
  type TransformerOptions,
  tensor,
  topKRouter,
} from "../../src/index.ts";
import { general, intTensor, numbers, tensorOf } from "../arbitraries.ts";
import { slotsOf } from "../routing/table.ts";

const V = 5;
const rng = (seed = 1): Generator => new Generator(seed);
const sizes = { vocab: V, dim: 8, numLayers: 2, numHeads: 2, hidden: 6 };
const model = (options: Partial<TransformerOptions> = {}): Transformer =>
  new Transformer({ ...sizes, rng: rng(), ...options });
const moe: TransformerMoE = { numExperts: 3, layers: "all" };

/** Token ids [B, L]. */
const ids = (B: number, L: number, seed = 1): Tensor => {
  const draw = rng(seed);
  return tensor(Int32Array.from({ length: B * L }, () => draw.integer(V))).reshape([B, L]);
};
const prefix = (y: Tensor, end: number): number[] => numbers(y.slice({ dim: 1, end }));

describe("shapes and routings", () => {
  test("logits [B, L, V], in the dtype of the weights, and one routing per MoE layer, in order", () => {
    const cases: [layers: TransformerMoE["layers"], routed: number[]][] = [
      ["all", [0, 1, 2]],
      ["odd", [1]],
      [undefined, [1]],
      [
        [2, 0],
        [0, 2],
      ],
    ];
    for (const [layers, routed] of cases) {
      const transformer = model({ numLayers: 3, dtype: "float64", moe: { numExperts: 3, layers } });
      const { output, routings } = transformer.forward(ids(2, 4));
      expect([output.dtype, ...output.shape]).toEqual(["float64", 2, 4, V]);
      expect(routings.map(({ numTokens, numExperts }) => [numTokens, numExperts])).toEqual(routed.map(() => [8, 3]));
      const isMoE = transformer.blocks.map(({ ff }) => "router" in ff);
      expect(isMoE).toEqual([0, 1, 2].map((l) => routed.includes(l)));
      // Each is of a layer of its own: no two have the same logits.
      expect(new Set(routings.map(({ logits }) => numbers(logits).join())).size).toBe(routed.length);
    }
    expect(model().forward(ids(1, 3)).routings).toEqual([]);
  });

  test("with a MoE it never goes without one: of a single layer it is that one, and none is refused", () => {
    const routed = (options: Partial<TransformerOptions>) => model(options).forward(ids(1, 3)).routings.length;
    expect(routed({ numLayers: 1, moe: { numExperts: 3 } })).toBe(1);
    expect(routed({ numLayers: 2, moe: { numExperts: 3 } })).toBe(1);
    const none = (layers: TransformerMoE["layers"], numLayers: number, shown: string) => {
      const why = "a model without a MoE is made by leaving moe out";
      expect(() => model({ numLayers, moe: { numExperts: 3, layers } })).toThrow(
        new RangeError(
          `Transformer: moe.layers has ${shown}, none of ${numLayers}, expected at least one layer (${why})`,
        ),
      );
    };
    none("odd", 1, '"odd"');
    none([], 3, "[]");
  });

  test("takes no sequences, sequences of one, and routers that look at token ids", () => {
    const transformer = model({ moe: { ...moe, router: hashRouter() } });
    expect(transformer.forward(ids(0, 4)).output.shape).toEqual([0, 4, V]);
    expect(transformer.forward(ids(3, 1)).output.shape).toEqual([3, 1, V]);
    const tokens = ids(2, 4);
    for (const routing of transformer.forward(tokens).routings) {
      for (const { token, expert } of slotsOf(routing)) expect(expert).toBe(tokens.data[token] % 3);
    }
  });

  test("positions: rotary ones need no table, learned ones one up to maxLength", () => {
    const lengthOf = (transformer: Transformer) => transformer.position?.weight.shape;
    expect(lengthOf(model())).toBeUndefined();
    const learned = model({ positions: "learned", maxLength: 4 });
    expect(lengthOf(learned)).toEqual([4, 8]);
    expect(learned.forward(ids(2, 4)).output.shape).toEqual([2, 4, V]);
    expect(() => learned.forward(ids(2, 5))).toThrow(
      new RangeError("Transformer: tokens has 5 positions, expected at most maxLength = 4"),
    );
    // Either kind tells equal tokens apart by where they stand, once a position sees others.
    const same = tensor(Int32Array.of(1, 1, 2, 1)).reshape([1, 4]);
    for (const transformer of [model(), learned]) {
      const rows = transformer.forward(same).output.toArray() as number[][][];
      expect(rows[0][3]).not.toEqual(rows[0][0]);
    }
    // Learned positions are added to the embeddings.
    const bare = model({ positions: "learned", maxLength: 4, numLayers: 1 });
    const moved = numbers(bare.forward(same).output);
    bare.loadStateDict({
      ...bare.stateDict(),
      "position.weight": (bare.position as { weight: Tensor }).weight.zerosLike(),
    });
    expect(numbers(bare.forward(same).output)).not.toEqual(moved);
  });

  test("layer or root-mean-square norms, at their starts", () => {
    expect(model({ norm: "rms" }).norm).toBeInstanceOf(RMSNorm);
    expect(numbers(model({ norm: "rms" }).forward(ids(1, 3)).output)).not.toEqual(
      numbers(model().forward(ids(1, 3)).output),
    );
    fc.assert(
      fc.property(tensorOf([3, 4], general, "float64"), (x) => {
        const norm = new RMSNorm(4, { dtype: "float64" });
        numbers(norm.forward(x)).forEach((y, i) => {
          const row = numbers(x).slice(4 * Math.floor(i / 4), 4 * Math.floor(i / 4) + 4);
          const mean = row.reduce((sum, v) => sum + v * v, 0) / 4;
          expect(y).toBeCloseTo(x.data[i] / Math.sqrt(mean + 1e-6), 12);
        });
      }),
      { numRuns: 20 },
    );
  });
});

test("is its formula: h + attention(norm(h)), then h + ff(norm(h)), layer by layer; logits of the last norm", () => {
  for (const options of [{ moe: { numExperts: 3 } }, { positions: "learned", maxLength: 4, norm: "rms" } as const]) {
    const transformer = model(options);
    const tokens = ids(2, 4);
    let h = transformer.embedding.forward(tokens);
    if (transformer.position !== null) h = h.add(transformer.position.weight);
    for (const { norm1, attention, norm2, ff } of transformer.blocks) {
      h = h.add(attention.forward(norm1.forward(h)));
      const y = ff.forward(norm2.forward(h));
      h = h.add("output" in y ? y.output : y);
    }
    const expected = transformer.head.forward(transformer.norm.forward(h));
    expect(numbers(transformer.forward(tokens).output)).toEqual(numbers(expected));
  }
});

describe("a causal model does not see the future", () => {
  const transformers: [name: string, options: Partial<TransformerOptions>][] = [
    ["dense", {}],
    ["learned positions, rms norm", { positions: "learned", maxLength: 8, norm: "rms" }],
    ["top-1", { moe: { ...moe, router: topKRouter({ k: 1 }) } }],
    ["dropless top-2", { moe }],
    ["hash", { moe: { ...moe, router: hashRouter() } }],
  ];

  test.each(transformers)("%s: to the last bit, whatever comes later, and with less of it", (_, options) => {
    const transformer = model({ ...options });
    const cases = fc.integer({ min: 2, max: 7 }).chain((L) =>
      fc.record({
        tokens: intTensor(2 * L, 0, V - 1).map((x) => x.reshape([2, L])),
        other: intTensor(2 * L, 0, V - 1).map((x) => x.reshape([2, L])),
        cut: fc.integer({ min: 1, max: L - 1 }),
      }),
    );
    fc.assert(
      fc.property(cases, ({ tokens, other, cut }) => {
        const L = tokens.shape[1];
        const mixed = tensor(Int32Array.from(tokens.data, (id, i) => (i % L < cut ? id : other.data[i]))).reshape([
          2,
          L,
        ]);
        const [whole, changed, short] = [tokens, mixed, tokens.slice({ dim: 1, end: cut })].map((x) =>
          prefix(transformer.forward(x).output, cut),
        );
        expect(changed).toEqual(whole);
        expect(short).toEqual(whole);
      }),
      { numRuns: 10 },
    );
  });

  test("one that is not causal does", () => {
    const transformer = model({ causal: false });
    const [a, b] = [0, 1].map((last) => tensor(Int32Array.of(1, 2, last)).reshape([1, 3]));
    expect(prefix(transformer.forward(a).output, 2)).not.toEqual(prefix(transformer.forward(b).output, 2));
  });

  test("expert choice looks at later tokens: refused, unless the leak is wanted, and then it is seen", () => {
    const router = expertChoiceRouter({ capacityFactor: 1 });
    const leaking = (options: Partial<TransformerOptions>) => () => model({ moe: { ...moe, router }, ...options });
    expect(leaking({})).toThrow(
      new RangeError(
        "Transformer: router has one that looks at later tokens, expected one that does not, in a causal model (it would let a position learn of its future; say allowLeak: true to see it happen)",
      ),
    );
    expect(leaking({ causal: false })).not.toThrow();
    const transformer = leaking({ allowLeak: true })();
    // Six tokens, and each expert takes the two that it likes best: other last ones push earlier ones out.
    const outputs = Array.from({ length: V }, (_, last) => {
      const tokens = tensor(Int32Array.of(1, 2, 3, 4, last, last)).reshape([1, 6]);
      return prefix(transformer.forward(tokens).output, 4).join();
    });
    expect(new Set(outputs).size).toBeGreaterThan(1);
    // Attention and norms alone would not tell: the same model with dense layers gives one answer.
    const dense = model({});
    const plain = Array.from({ length: V }, (_, last) =>
      prefix(dense.forward(tensor(Int32Array.of(1, 2, 3, 4, last, last)).reshape([1, 6])).output, 4).join(),
    );
    expect(new Set(plain).size).toBe(1);
  });
});

describe("padding", () => {
  test("a masked position is not seen, nor routed: whatever stands there, the others come out the same", () => {
    const transformer = model({ moe });
    const mask = [
      [true, true, true, false],
      [true, false, false, false],
    ];
    const kept = (y: Tensor): number[] => {
      const rows = y.toArray() as number[][][];
      return rows.flatMap((sequence, b) => sequence.filter((_, l) => mask[b][l]).flat());
    };
    const [first, second] = [ids(2, 4, 1), ids(2, 4, 2)].map((other) => {
      const tokens = ids(2, 4, 3);
      return tensor(Int32Array.from(tokens.data, (id, i) => (mask.flat()[i] ? id : other.data[i]))).reshape([2, 4]);
    });
    const [a, b] = [first, second].map((tokens) => transformer.forward(tokens, { mask }));
    expect(numbers(second)).not.toEqual(numbers(first));
    expect(kept(b.output)).toEqual(kept(a.output));
    for (const { keptTokens } of a.routings) expect(numbers(keptTokens as Tensor)).toEqual([0, 1, 2, 4]);
  });
});

describe("parameters", () => {
  const block = (l: number, ff: string[], norm = ["weight", "bias"]) => [
    ...norm.map((name) => `blocks.${l}.norm1.${name}`),
    ...["query", "key", "value", "out"].flatMap((name) =>
      ["weight", "bias"].map((part) => `blocks.${l}.attention.${name}.${part}`),
    ),
    ...norm.map((name) => `blocks.${l}.norm2.${name}`),
    ...ff.map((name) => `blocks.${l}.ff.${name}`),
  ];
  const dense = ["up.weight", "up.bias", "down.weight", "down.bias"];
  const experts = ["router.weight", "experts.w1", "experts.w2"];

  test("have the names of the fields, in order of declaration", () => {
    expect(Object.keys(model({ moe: { numExperts: 3 } }).stateDict())).toEqual([
      "embedding.weight",
      ...block(0, dense),
      ...block(1, experts),
      "norm.weight",
      "norm.bias",
      "head.weight",
    ]);
    expect(Object.keys(model({ positions: "learned", maxLength: 4, norm: "rms", numLayers: 1 }).stateDict())).toEqual([
      "embedding.weight",
      "position.weight",
      ...block(0, dense, ["weight"]),
      "norm.weight",
      "head.weight",
    ]);
  });

  test("dense layers are 4 · dim wide, experts as wide as those, unless other widths are given", () => {
    const widths = (options: Partial<TransformerOptions>) => {
      const { blocks } = model({ hidden: undefined, ...options, moe: { numExperts: 2, ...options.moe } });
      const [first, second] = blocks.map(({ ff }) => ff);
      return ["up" in first && first.up.weight.shape[1], (second as MoE).experts.w1.shape[2]];
    };
    expect(widths({})).toEqual([32, 32]);
    expect(widths({ hidden: 6 })).toEqual([6, 6]);
    expect(widths({ hidden: 6, moe: { numExperts: 2, hidden: 3 } })).toEqual([6, 3]);
  });

  test("a seed repeats the model, and a state dict carries it over", () => {
    const tokens = ids(2, 4);
    const [a, b, other] = [1, 1, 2].map((seed) => model({ moe, rng: rng(seed) }));
    const outputs = (transformer: Transformer) => numbers(transformer.forward(tokens).output);
    expect(outputs(b)).toEqual(outputs(a));
    expect(outputs(other)).not.toEqual(outputs(a));
    other.loadStateDict(a.stateDict());
    expect(outputs(other)).toEqual(outputs(a));
  });

  test("all get a gradient, with learned positions and every layer routed", () => {
    const transformer = model({ positions: "learned", maxLength: 6, moe });
    transformer.forward(ids(3, 6)).output.square().sum().backward();
    for (const [name, p] of transformer.namedParameters()) {
      const largest = Math.max(...numbers(p.grad as Tensor).map(Math.abs));
      // A bias on the keys adds the same to all scores of a query, and the softmax takes it off again.
      if (name.endsWith("key.bias")) expect(largest).toBeLessThan(1e-4);
      else expect([name, largest > 1e-4]).toEqual([name, true]);
    }
  });

  test("have the gradient that differences give", () => {
    const transformer = model({
      ...{ vocab: 3, dim: 4, numHeads: 1, hidden: 3, numLayers: 1, dtype: "float64" },
      moe: { numExperts: 3, layers: "all" },
    });
    const tokens = tensor(Int32Array.of(0, 2, 1)).reshape([1, 3]);
    const [{ attention, ff, norm1 }] = transformer.blocks;
    const places: [owner: object, name: string, weight: Tensor][] = [
      [transformer.embedding, "weight", transformer.embedding.weight],
      [attention.query, "weight", attention.query.weight],
      [norm1, "weight", norm1.weight],
      [(ff as MoE).router, "weight", (ff as MoE).router.weight],
      [(ff as MoE).experts, "w2", (ff as MoE).experts.w2],
    ];
    const f = (...weights: Tensor[]): Tensor => {
      for (const [i, [owner, name]] of places.entries()) Object.assign(owner, { [name]: weights[i] });
      return transformer.forward(tokens).output;
    };
    const report = gradcheck(
      f,
      places.map(([, , weight]) => weight),
      { atol: 1e-7, rtol: 1e-5 },
    );
    expect(report.crossed).toEqual([]);
  });
});

test("learns: after some steps it tells what comes next", () => {
  const transformer = model({ numLayers: 1, moe });
  const tokens = tensor(Int32Array.from({ length: 12 }, (_, i) => i % V)).reshape([1, 12]);
  const [inputs, targets] = [tokens.slice({ dim: 1, end: -1 }), tokens.slice({ dim: 1, start: 1 }).reshape([11])];
  const optimizer = new SGD(transformer.parameters(), { lr: 0.2, momentum: 0.9 });
  const losses = Array.from({ length: 15 }, () => {
    optimizer.zeroGrad();
    const loss = transformer.forward(inputs).output.reshape([11, V]).crossEntropy(targets);
    loss.backward();
    optimizer.step();
    return loss.item();
  });
  expect(losses[14]).toBeLessThan(0.2 * losses[0]);
});

test("dropout: in training only", () => {
  const transformer = model({ dropout: 0.5 });
  const tokens = ids(2, 4);
  const outputs = () => numbers(transformer.forward(tokens).output);
  expect(outputs()).not.toEqual(outputs());
  transformer.eval();
  expect(outputs()).toEqual(outputs());
  expect(outputs()).toEqual(numbers(model().forward(tokens).output));
});

test("refuses options that it does not have or that do not fit, and tokens that are none", () => {
  const refused: [call: () => unknown, error: Error][] = [
    [
      () => model({ positions: "learned" }),
      new TypeError(
        "Transformer: maxLength has undefined, expected an integer of at least 1 (learned positions need it)",
      ),
    ],
    [
      () => model({ positions: "none" as "rotary" }),
      new TypeError('Transformer: positions has "none", expected "learned" or "rotary"'),
    ],
    [
      () => model({ norm: "batch" as "layer" }),
      new TypeError('Transformer: norm has "batch", expected "layer" or "rms"'),
    ],
    [() => model({ numLayers: 0 }), new RangeError("Transformer: numLayers has 0, expected an integer of at least 1")],
    [
      () => model({ moe: { numExperts: 2, layers: [2] } }),
      new RangeError("Transformer: moe.layers has 2, expected an integer from 0 to 1"),
    ],
    [
      () => model({ moe: { numExperts: 2, layers: "even" as "odd" } }),
      new TypeError('Transformer: moe.layers has "even", expected "all", "odd" or a list of layers'),
    ],
    [
      () => model().forward(ids(1, 3).reshape([3])),
      new RangeError("Transformer: tokens has shape [3], expected 2 dims (batch and positions)"),
    ],
    [
      () => model().forward(ids(1, 3).to("float32")),
      new TypeError("Transformer: tokens has dtype float32, expected int32 (token ids)"),
    ],
  ];
  for (const [call, error] of refused) expect(call).toThrow(error);
  expect(() => model({ depth: 2 } as object)).toThrow(TypeError);
  expect(() => model({ moe: { numExperts: 2, k: 1 } as TransformerMoE })).toThrow(TypeError);
  expect(() => model({ dim: 6, numHeads: 2 })).toThrow(RangeError);
});
