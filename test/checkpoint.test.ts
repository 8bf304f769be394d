/** checkpoint: the same numbers, less memory, and the same draws again. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkpoint,
  Dropout,
  Generator,
  grad,
  gshardRouter,
  Linear,
  MoE,
  manualSeed,
  noGrad,
  noisyTopKRouter,
  rand,
  SGD,
  type Tensor,
  tensor,
  topKRouter,
  vjp,
} from "../src/index.ts";
import { general, numbers, plainNumbers, tensorOf } from "./arbitraries.ts";
import { integersOf } from "./routing/table.ts";
import { hasRightGradient } from "./suite.ts";

const leaf = (data: number | number[]): Tensor => tensor(data, { requiresGrad: true });
const precise = (data: number | number[]): Tensor => tensor(data, { dtype: "float64" });
const gradOf = (x: Tensor): number[] | null => (x.grad === null ? null : plainNumbers(x.grad));

/** How many calls of ops a backward from y would walk, and how many numbers they keep alive. */
function keptBehind(y: Tensor): { records: number; numbers: number } {
  const seen = new Set<Tensor>();
  const stack = [y];
  for (let x = stack.pop(); x !== undefined; x = stack.pop()) {
    if (seen.has(x)) continue;
    seen.add(x);
    stack.push(...(x.record?.inputs ?? []));
  }
  const list = [...seen];
  return {
    records: list.filter((x) => x.record !== null).length,
    numbers: list.reduce((sum, x) => sum + x.size, 0),
  };
}

/** The same numbers every time: features of T tokens. */
const features = (T: number, D: number): Tensor =>
  tensor(Float32Array.from({ length: T * D }, (_, i) => Math.sin(3 * i + 1))).reshape([T, D]);

type Block = (x: Tensor) => Tensor;

/** What to wrap, and the leaves besides the block's argument that it depends on. */
interface Model {
  /** The block of one step; what it closes over may be computed for it. */
  readonly block: () => Block;
  readonly leaves: readonly Tensor[];
  /** What a backward has to reach of the outside: default the leaves themselves. */
  readonly outside?: { readonly records: number; readonly numbers: number };
}

function moeModel(router: "dropless" | "gshard" | "noisy"): Model {
  const rng = new Generator(4);
  const routers = {
    dropless: () => topKRouter(),
    gshard: () => gshardRouter(),
    noisy: () => noisyTopKRouter({ dim: 3, numExperts: 4 }),
  };
  const moe = new MoE({ dim: 3, hidden: 4, numExperts: 4, bias: true, router: routers[router](), jitter: 0.1, rng });
  return { block: () => (x) => moe.forward(x).output, leaves: moe.parameters() };
}

const models: Record<string, () => Model> = {
  "ops on the argument alone": () => ({ block: () => (x) => x.tanh().mul(x).exp(), leaves: [] }),
  "a layer": () => {
    const layer = new Linear(3, 3, { rng: new Generator(2) });
    return { block: () => (x) => layer.forward(x).gelu(), leaves: layer.parameters() };
  },
  "tensors from outside that are no leaves": () => {
    const w = leaf([0.5, -1, 2]);
    const block = (): Block => {
      const [h, other] = [w.exp(), w.sin()];
      return (x) => x.mul(h).add(h.square()).add(other.detach());
    };
    // w, exp(w) and the call between them.
    return { block, leaves: [w], outside: { records: 1, numbers: 6 } };
  },
  "a MoE": () => moeModel("dropless"),
  "a MoE with random second choices": () => moeModel("gshard"),
  "a MoE with learned noise": () => moeModel("noisy"),
  dropout: () => {
    const dropout = new Dropout(0.4, { rng: new Generator(9) });
    return { block: () => (x) => dropout.forward(x.mul(2)).square(), leaves: [] };
  },
  "a checkpoint inside": () => {
    const { block, leaves } = moeModel("gshard");
    const w = leaf([1, 2, 3]);
    const inner = checkpoint((x: Tensor) => block()(x.mul(w)).sin());
    return { block: () => (x) => inner(x.mul(2)).add(inner(x)), leaves: [w, ...leaves] };
  },
};

describe("checkpoint", () => {
  describe.each(Object.entries(models))("of %s", (_, make) => {
    /** Two steps through the block, one after the other, so that its generator has moved on before the second. */
    function run(wrap: (block: Block) => Block) {
      const { block, leaves } = make();
      const x = features(5, 3);
      x.requiresGrad = true;
      return [0, 1].map(() => {
        for (const p of [x, ...leaves]) p.grad = null;
        const y = wrap(block())(x.add(1));
        y.square().sum().backward();
        return [y, ...[x, ...leaves].map((p) => p.grad as Tensor)].map((t) => numbers(t));
      });
    }

    test("gives the same value and every gradient, to the last bit, step after step", () => {
      const plain = run((block) => block);
      expect(run((block) => checkpoint(block))).toEqual(plain);
      expect(run((block) => checkpoint(checkpoint(block)))).toEqual(plain);
    });

    test("keeps its input, its output and what it read from outside, nothing in between", () => {
      const { block, leaves, outside } = make();
      const x = features(5, 3);
      x.requiresGrad = true;
      const [kept, plain] = [checkpoint(block())(x), block()(x)].map(keptBehind);
      const read = outside ?? { records: 0, numbers: leaves.reduce((sum, p) => sum + p.size, 0) };
      expect(kept).toEqual({ records: 1 + read.records, numbers: 2 * x.size + read.numbers });
      expect(plain.records).toBeGreaterThan(kept.records);
    });
  });

  test("runs once forward and once more in backward, with the same routing and the same mask", () => {
    const moe = new MoE({ dim: 3, hidden: 4, numExperts: 4, router: gshardRouter(), rng: new Generator(4) });
    const seen: unknown[] = [];
    const block = checkpoint((x: Tensor) => {
      const { output, routing } = moe.forward(x);
      seen.push(integersOf(routing));
      return output;
    });
    const x = features(30, 3);
    const [first, second] = [block(x), block(x)];
    expect(seen).toHaveLength(2);
    expect(seen[1]).not.toEqual(seen[0]);
    second.sum().backward();
    first.sum().backward();
    expect(seen).toHaveLength(4);
    expect([seen[2], seen[3]]).toEqual([seen[1], seen[0]]);
  });

  test("leaves every generator where it was, the default one too", () => {
    const rngs = [manualSeed(3), new Generator(5)];
    const block = checkpoint((x: Tensor) => {
      const noise = rand([3]).add(rand([3], { rng: rngs[1] }));
      return x.mul(noise).mul(rngs[1].normal());
    });
    const run = (backward: boolean): number[] => {
      rngs[0] = manualSeed(3);
      rngs[1] = new Generator(5);
      const y = block(leaf([1, 2, 3]));
      // They have gone on by the time of the backward pass.
      const between = [...rngs.map((rng) => rng.bits()), rngs[1].normal()];
      if (backward) y.sum().backward();
      return [...between, ...rngs.map((rng) => rng.bits()), rngs[1].normal()];
    };
    expect(run(true)).toEqual(run(false));
  });

  test("draws from the generator of the first run, also when manualSeed has put another in its place", () => {
    manualSeed(3);
    const x = leaf([1, 1, 1]);
    const y = checkpoint((z: Tensor) => z.mul(rand([3])))(x);
    manualSeed(4);
    y.sum().backward();
    expect(gradOf(x)).toEqual(numbers(y));
    // The new stream has not been touched.
    const next = numbers(rand([2]));
    manualSeed(4);
    expect(next).toEqual(numbers(rand([2])));
  });

  describe("has gradients of gradients", () => {
    const w = precise([0.7, -0.3]);
    hasRightGradient(
      "a checkpoint",
      fc.tuple(tensorOf([2], general), tensorOf([2], general)).map((inputs) => ({
        f: checkpoint((x: Tensor, y: Tensor) => x.sin().mul(y).add(x.mul(w).tanh())),
        inputs: [...inputs],
      })),
      { numRuns: 5 },
    );

    test("which are those of the block itself, by what it closes over too, to the third order", () => {
      const third = (wrap: (f: Block) => Block) =>
        grad((v: Tensor) =>
          grad((u: Tensor) => grad((x: Tensor) => wrap((y) => y.mul(u).sin().mul(v))(x).sum())(precise([0.4])).sum())(
            v,
          ).sum(),
        )(precise([1.5]));
      expect(numbers(third((f) => checkpoint(f)))).toEqual(numbers(third((f) => f)));
      expect(numbers(third((f) => f))[0]).not.toBe(0);
    });

    test("and backward through a gradient reaches the leaves", () => {
      const run = (wrap: (f: Block) => Block) => {
        const [x, v] = [leaf([0.5, 2]), leaf([3, -1])];
        const dx = grad((y: Tensor) => wrap((z) => z.square().mul(v).sin())(y).sum())(x);
        dx.square().sum().backward();
        return [gradOf(x), gradOf(v)];
      };
      expect(run((f) => checkpoint(f))).toEqual(run((f) => f));
    });
  });

  test("adds up both ways to a tensor that is an argument and closed over as well", () => {
    const x = leaf([2, 3]);
    const y = checkpoint((z: Tensor) => z.mul(x).mul(10))(x);
    y.sum().backward();
    expect(gradOf(x)).toEqual([40, 60]);
    const [, pull] = vjp((a: Tensor, b: Tensor) => checkpoint((p: Tensor, q: Tensor) => p.mul(q))(a, b))(x, x);
    expect(pull(tensor([1, 1])).map(plainNumbers)).toEqual([
      [2, 3],
      [2, 3],
    ]);
  });

  test("takes integers and anything else beside its tensors", () => {
    const x = leaf([1, 2, 4]);
    const pick = checkpoint((y: Tensor, index: Tensor, scale: number, { add }: { add: number }) =>
      y.indexSelect(0, index).mul(scale).add(add),
    );
    const y = pick(x, tensor(Int32Array.of(2, 2, 0)), 10, { add: 1 });
    expect(numbers(y)).toEqual([41, 41, 11]);
    y.sum().backward();
    expect(gradOf(x)).toEqual([10, 0, 20]);
  });

  test("passes on an argument, a closed-over tensor, a part of either, and integers", () => {
    const [x, w] = [leaf([1, 2]), leaf([3, 4])];
    checkpoint((y: Tensor) => y)(x)
      .sum()
      .backward();
    checkpoint((_: Tensor) => w)(x)
      .sum()
      .backward();
    checkpoint((y: Tensor) => y.reshape([2, 1]))(x)
      .sum()
      .backward();
    expect([gradOf(x), gradOf(w)]).toEqual([
      [2, 2],
      [1, 1],
    ]);
    const places = checkpoint((y: Tensor) => y.argsort({ descending: true }))(x);
    expect([numbers(places), places.requiresGrad]).toEqual([[1, 0], false]);
  });

  test("of what needs no gradient is a constant, with arguments or without", () => {
    const constant = checkpoint(() => tensor([1, 2]))();
    expect([numbers(constant), constant.requiresGrad]).toEqual([[1, 2], false]);
    const index = checkpoint((i: Tensor) => tensor([5, 6]).indexSelect(0, i))(tensor(Int32Array.of(1)));
    expect([numbers(index), index.requiresGrad]).toEqual([[6], false]);
    const float = checkpoint((x: Tensor) => x.exp())(tensor([0]));
    expect([numbers(float), float.requiresGrad]).toEqual([[1], false]);
    const w = leaf([3]);
    checkpoint(() => w.square())()
      .sum()
      .backward();
    expect(gradOf(w)).toEqual([6]);
  });

  test("inside noGrad just runs", () => {
    const x = leaf([1, 2]);
    let runs = 0;
    const y = noGrad(() =>
      checkpoint((z: Tensor) => {
        runs++;
        return z.mul(2);
      })(x),
    );
    expect([numbers(y), y.requiresGrad, runs]).toEqual([[2, 4], false, 1]);
  });

  test("can be walked twice, when the graph is retained", () => {
    const { block, leaves } = models["a MoE with random second choices"]();
    const y = checkpoint(block())(features(6, 3)).sum();
    y.backward(undefined, { retainGraph: true });
    const once = leaves.map(gradOf);
    y.backward();
    expect(leaves.map(gradOf)).toEqual(once.map((list) => list?.map((v) => v + v)));
    expect(() => y.backward()).toThrow("been freed by an earlier backward");
  });

  test("refuses a backward after step() has changed what it read", () => {
    const { block, leaves } = models["a layer"]();
    const y = checkpoint(block())(features(5, 3)).sum();
    y.backward(undefined, { retainGraph: true });
    new SGD(leaves, { lr: 0.1 }).step();
    expect(() => y.backward()).toThrow(/been changed by step\(\)/);
  });

  test("refuses a function whose result is no tensor, or a promise, and restores its state when it throws", () => {
    const x = leaf([1]);
    expect(() => checkpoint((() => 5) as unknown as Block)(x)).toThrow(
      new TypeError("checkpoint: fn has 5 as its result, expected a tensor"),
    );
    expect(() => checkpoint((async () => x) as unknown as Block)(x)).toThrow(
      new TypeError(
        "checkpoint: fn has a promise as its result, expected a synchronous function (state is restored when it returns)",
      ),
    );
    const rng = new Generator(1);
    const failing = checkpoint((_: Tensor): Tensor => {
      rng.bits();
      throw new Error("inside");
    });
    expect(() => failing(x)).toThrow("inside");
    // Neither tensors nor draws are tracked any more: a plain run beside it goes as ever.
    const y = checkpoint((z: Tensor) => z.mul(rng.uniform()))(x);
    y.backward();
    expect(gradOf(x)).toEqual(numbers(y));
  });
});
