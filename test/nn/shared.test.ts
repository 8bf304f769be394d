/** What a MoE layer has beside routed experts: shared ones, a jittered router, and gated activations. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Activation,
  combine,
  dispatch,
  Experts,
  FeedForward,
  Generator,
  gradcheck,
  MoE,
  type MoEOptions,
  type RouterContext,
  rand,
  randn,
  type Tensor,
  tensor,
  topKRouter,
} from "../../src/index.ts";
import { general, numbers, tensorOf } from "../arbitraries.ts";
import { rowsOf } from "../routing/table.ts";

const D = 3;
const layer = (options: Partial<MoEOptions> = {}): MoE =>
  new MoE({ dim: D, hidden: 4, numExperts: 3, rng: new Generator(2), ...options });
const features = (T: number, seed = 1): Tensor => randn([T, D], { rng: new Generator(seed) });

/** The tensors of a state dict whose names begin alike, without that beginning. */
const part = (dict: Record<string, Tensor>, prefix: string): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(dict).flatMap(([name, x]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), x]] : [])),
  );

describe("shared experts", () => {
  const variants: [name: string, options: Partial<MoEOptions>][] = [
    ["one", { numShared: 1 }],
    ["two, with biases", { numShared: 2, bias: true }],
    ["three, gated", { numShared: 3, activation: "swiglu" }],
  ];

  test.each(variants)("%s: the layer is the routed one plus a dense network of numShared · hidden", (_, options) => {
    const moe = layer(options);
    const { numShared = 0, bias = false, activation } = options;
    const dense = new FeedForward({ dim: D, hidden: 4 * numShared, bias, activation });
    dense.loadStateDict(part(moe.stateDict(), "shared."));
    const routed = layer({ ...options, numShared: 0 });
    routed.loadStateDict(
      Object.fromEntries(Object.entries(moe.stateDict()).filter(([name]) => !name.startsWith("shared."))),
    );
    fc.assert(
      fc.property(tensorOf([5, D], general), (x) => {
        const expected = routed.forward(x).output.add(dense.forward(x));
        expect(numbers(moe.forward(x).output)).toEqual(numbers(expected));
      }),
      { numRuns: 10 },
    );
  });

  test("n of them in one network are the sum of n networks", () => {
    const moe = layer({ numShared: 2, dtype: "float64" });
    const { up, down } = moe.shared as FeedForward;
    const x = features(4).to("float64");
    const one = (n: number): Tensor => {
      const dense = new FeedForward({ dim: D, hidden: 4, bias: false, dtype: "float64" });
      const cut = { start: 4 * n, end: 4 * n + 4 };
      dense.loadStateDict({
        "up.weight": up.weight.slice({ dim: 1, ...cut }).detach(),
        "down.weight": down.weight.slice({ dim: 0, ...cut }).detach(),
      });
      return dense.forward(x);
    };
    const expected = numbers(one(0).add(one(1)));
    numbers((moe.shared as FeedForward).forward(x)).forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 14);
    });
  });

  test("a masked token comes out as zeros, and teaches them nothing", () => {
    const moe = layer({ numShared: 1, bias: true });
    const x = features(4);
    const mask = [true, false, true, false];
    const { output, routing } = moe.forward(x, { mask });
    output.square().sum().backward();
    const rows = rowsOf(output);
    expect([rows[1], rows[3]]).toEqual([
      [0, 0, 0],
      [0, 0, 0],
    ]);
    const gradients = () => (moe.shared as FeedForward).parameters().map((p) => numbers(p.grad as Tensor));
    const masked = gradients();
    moe.zeroGrad();
    const kept = x.indexSelect(0, tensor(Int32Array.of(0, 2)));
    const alone = moe.forward(kept).output;
    alone.square().sum().backward();
    expect(rowsOf(alone)).toEqual([rows[0], rows[2]]);
    gradients().forEach((list, i) => {
      list.forEach((g, j) => {
        expect(masked[i][j]).toBeCloseTo(g, 5);
      });
    });
    // A replay has the routing's mask.
    expect(numbers(moe.forward(x, { routing }).output)).toEqual(numbers(output));
  });

  test("serve a token that no expert took", () => {
    const moe = layer({ numShared: 1, router: topKRouter({ k: 1, capacityFactor: 0.5 }) });
    const x = features(1).expand([6, D]);
    const rows = rowsOf(moe.forward(x).output);
    const shared = rowsOf((moe.shared as FeedForward).forward(x));
    // Six equal tokens, one expert with room for one.
    expect(rows.slice(1)).toEqual(shared.slice(1));
    expect(rows[0]).not.toEqual(shared[0]);
  });

  test("stand last in the state dict, and are none by default", () => {
    expect(layer().shared).toBeNull();
    expect(Object.keys(layer({ numShared: 1, bias: true }).stateDict())).toEqual([
      ...["router.weight", "experts.w1", "experts.b1", "experts.w2", "experts.b2"],
      ...["shared.up.weight", "shared.up.bias", "shared.down.weight", "shared.down.bias"],
    ]);
    expect(() => layer({ numShared: -1 })).toThrow(
      new RangeError("MoE: numShared has -1, expected an integer of at least 0"),
    );
  });
});

describe("jitter", () => {
  const listening = (options: Partial<MoEOptions> = {}) => {
    const heard: RouterContext[] = [];
    const inner = topKRouter({ k: 1 });
    const moe = layer({
      jitter: 0.25,
      router: (logits, ctx = {}) => {
        heard.push(ctx);
        return inner(logits, ctx);
      },
      ...options,
    });
    return { moe, heard };
  };

  test("multiplies every number that the router sees by its own u ~ U[1 − ε, 1 + ε]", () => {
    const { moe } = listening();
    const T = 3000;
    // Tokens with one feature each: their logits are that feature's row of the weights, times u.
    const x = tensor(Float32Array.from({ length: T * D }, (_, i) => (Math.floor(i / D) % D === i % D ? 1 : 0)));
    const W = rowsOf(moe.router.weight);
    const factors = rowsOf(moe.forward(x.reshape([T, D])).routing.logits).map((row, t) => {
      const us = row.map((logit, e) => logit / W[t % D][e]);
      for (const u of us) expect(u).toBeCloseTo(us[0], 4);
      return us[0];
    });
    expect(Math.min(...factors)).toBeGreaterThan(0.75 - 1e-4);
    expect(Math.max(...factors)).toBeLessThan(1.25 + 1e-4);
    // Mean 1 and variance ε²/3, each within four standard deviations.
    const mean = factors.reduce((a, b) => a + b, 0) / T;
    const variance = factors.reduce((a, u) => a + (u - mean) ** 2, 0) / T;
    expect(Math.abs(mean - 1)).toBeLessThan(4 * (0.25 / Math.sqrt(3 * T)));
    expect(Math.abs(variance - 0.25 ** 2 / 3)).toBeLessThan(4 * 0.25 ** 2 * Math.sqrt(4 / 45 / T));
  });

  test("leaves what the experts see as it is, and what other parts of a router look at", () => {
    const { moe, heard } = listening({ numShared: 1 });
    const x = features(6);
    const { output, routing } = moe.forward(x);
    expect(numbers(routing.logits)).not.toEqual(numbers(x.matmul(moe.router.weight)));
    const h = moe.experts.forward(dispatch(x, routing), routing.offsets);
    const expected = combine(h, routing.gate, routing).add((moe.shared as FeedForward).forward(x));
    expect(numbers(output)).toEqual(numbers(expected));
    expect(numbers(heard[0].x as Tensor)).toEqual(numbers(x));
  });

  test("is in training only, and draws from the layer's stream or from the generator that is passed", () => {
    const { moe } = listening();
    const x = features(6);
    const logits = (options?: Parameters<MoE["forward"]>[1]) => numbers(moe.forward(x, options).routing.logits);
    const clean = numbers(x.matmul(moe.router.weight));
    expect(logits()).not.toEqual(logits());
    const passed = () => logits({ rng: new Generator(4) });
    expect(passed()).toEqual(passed());
    const u = rand([6, D], { rng: new Generator(4) })
      .mul(2)
      .sub(1)
      .mul(0.25)
      .add(1);
    expect(passed()).toEqual(numbers(x.mul(u).matmul(moe.router.weight)));
    moe.eval();
    const rng = new Generator(4);
    expect(logits({ rng })).toEqual(clean);
    expect(rng.bits()).toBe(new Generator(4).bits());
    const calm = layer({ jitter: 0 });
    expect(numbers(calm.forward(x, { rng }).routing.logits)).toEqual(numbers(x.matmul(calm.router.weight)));
  });

  test("layers made with the same generator have noise of their own", () => {
    const rng = new Generator(3);
    const x = features(6);
    const [a, b] = [0, 1].map(() => {
      const moe = layer({ jitter: 0.5, rng });
      moe.loadStateDict(layer().stateDict());
      return numbers(moe.forward(x).routing.logits);
    });
    expect(b).not.toEqual(a);
  });

  test.each([-0.1, 1, Number.NaN])("refuses %d", (jitter) => {
    expect(() => layer({ jitter })).toThrow(
      new RangeError(`MoE: jitter has ${jitter}, expected a number from 0 to below 1`),
    );
  });
});

describe("gated experts", () => {
  test("compute (silu(x · w1 + b1) ⊙ (x · w3 + b3)) · w2 + b2 for the rows of their group", () => {
    const experts = new Experts({
      dim: 1,
      hidden: 1,
      numExperts: 2,
      activation: "swiglu",
      bias: true,
      dtype: "float64",
    });
    const of = (a: number, b: number, rank: number): Tensor =>
      tensor([a, b], { dtype: "float64" }).reshape([2, ...new Array<number>(rank).fill(1)]);
    experts.loadStateDict({
      ...{ w1: of(1, -2, 2), b1: of(0.5, 0, 1), w3: of(3, 1, 2), b3: of(0, -1, 1), w2: of(2, 4, 2), b2: of(0, 7, 1) },
    });
    const silu = (z: number): number => z / (1 + Math.exp(-z));
    const y = experts.forward(
      tensor([1, 2, 3, 4], { dtype: "float64" }).reshape([4, 1]),
      tensor(Int32Array.of(0, 1, 3)),
    );
    const expected = [2 * silu(1.5) * 3, 4 * silu(-4) * (2 - 1) + 7, 4 * silu(-6) * (3 - 1) + 7, 0];
    numbers(y).forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 12);
    });
  });

  test("have a third weight, started as the first, and the gradient that differences give", () => {
    const moe = layer({ activation: "swiglu", bias: true, dtype: "float64", router: topKRouter({ k: 2 }) });
    const shapes = Object.entries(part(moe.stateDict(), "experts.")).map(([name, x]) => [name, x.shape]);
    expect(shapes).toEqual([
      ["w1", [3, 3, 4]],
      ["b1", [3, 4]],
      ["w3", [3, 3, 4]],
      ["b3", [3, 4]],
      ["w2", [3, 4, 3]],
      ["b2", [3, 3]],
    ]);
    const { w1, w3 } = moe.experts;
    const largest = (w: Tensor): number => Math.max(...numbers(w).map(Math.abs));
    for (const w of [w1, w3 as Tensor]) {
      expect(largest(w)).toBeLessThanOrEqual(1 / Math.sqrt(3));
      expect(largest(w)).toBeGreaterThan(0.8 / Math.sqrt(3));
    }
    expect(numbers(w3 as Tensor)).not.toEqual(numbers(w1));
    const x = features(2).to("float64");
    const { routing } = moe.forward(x);
    const f = (input: Tensor, weight: Tensor): Tensor => {
      Object.assign(moe.experts, { w3: weight });
      return moe.forward(input, { routing }).output;
    };
    gradcheck(f, [x, w3 as Tensor], { atol: 1e-8, rtol: 1e-6 });
  });

  test.each<Activation>(["swiglu", "gelu", "cubic"])(
    "a layer with one expert, of gate 1, is the dense %s network",
    (activation) => {
      const moe = layer({ numExperts: 1, activation, bias: true, dtype: "float64" });
      const dense = new FeedForward({ dim: D, hidden: 4, activation, dtype: "float64" });
      const flat = (name: string): Tensor => {
        const w = moe.stateDict()[`experts.${name}`];
        return w.reshape(w.shape.slice(1));
      };
      dense.loadStateDict({
        ...{ "up.weight": flat("w1"), "up.bias": flat("b1"), "down.weight": flat("w2"), "down.bias": flat("b2") },
        ...(activation === "swiglu" ? { "gated.weight": flat("w3"), "gated.bias": flat("b3") } : {}),
      });
      const x = features(5).to("float64");
      const expected = numbers(dense.forward(x));
      numbers(moe.forward(x).output).forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i], 13);
      });
    },
  );
});
