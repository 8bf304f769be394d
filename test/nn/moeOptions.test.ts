/** How a MoE layer is made, what it passes to its router, and what it refuses. */
import { describe, expect, test } from "vitest";
import {
  type Activation,
  Experts,
  Generator,
  gshardRouter,
  type Mask,
  MoE,
  type MoEOptions,
  type Router,
  type RouterContext,
  SGD,
  type Tensor,
  tensor,
  topKRouter,
  zeros,
} from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";
import { contentOf } from "../routing/table.ts";

const sizes = { dim: 16, hidden: 64, numExperts: 4 };
const rng = (): Generator => new Generator(21);

describe("parameters", () => {
  test("have the names and shapes of the state-dict contract", () => {
    const shapes = (moe: MoE) => Object.entries(moe.stateDict()).map(([name, x]) => [name, x.shape]);
    expect(shapes(new MoE(sizes))).toEqual([
      ["router.weight", [16, 4]],
      ["experts.w1", [4, 16, 64]],
      ["experts.w2", [4, 64, 16]],
    ]);
    expect(shapes(new MoE({ ...sizes, bias: true }))).toEqual([
      ["router.weight", [16, 4]],
      ["experts.w1", [4, 16, 64]],
      ["experts.b1", [4, 64]],
      ["experts.w2", [4, 64, 16]],
      ["experts.b2", [4, 16]],
    ]);
  });

  test("start uniform in ±1/√inputs, every expert with draws of its own", () => {
    const { w1, b1, w2, b2 } = new Experts({ ...sizes, bias: true, rng: rng() });
    for (const [w, inputs] of [
      [w1, 16],
      [b1, 16],
      [w2, 64],
      [b2, 64],
    ] as [Tensor, number][]) {
      const bound = 1 / Math.sqrt(inputs);
      const list = numbers(w);
      const size = list.length / 4;
      const experts = [0, 1, 2, 3].map((e) => list.slice(e * size, (e + 1) * size));
      for (const expert of experts) {
        const largest = Math.max(...expert.map(Math.abs));
        expect(largest).toBeLessThanOrEqual(bound);
        expect(largest).toBeGreaterThan(0.8 * bound);
        // The mean of n draws from ±bound deviates by bound/√(3n).
        const mean = expert.reduce((a, b) => a + b, 0) / size;
        expect(Math.abs(mean)).toBeLessThan((4 * bound) / Math.sqrt(3 * size));
      }
      for (const [i, a] of experts.entries()) {
        for (const b of experts.slice(i + 1)) expect(a.filter((x, j) => x === b[j])).toEqual([]);
      }
    }
    expect(numbers(b1 as Tensor).some((x) => x !== 0)).toBe(true);
  });

  test("a seed repeats all of them, another one none", () => {
    const values = (seed: number) =>
      Object.values(new MoE({ ...sizes, bias: true, rng: new Generator(seed) }).stateDict()).map(numbers);
    expect(values(1)).toEqual(values(1));
    values(1).forEach((list, i) => {
      expect(list).not.toEqual(values(2)[i]);
    });
  });

  test("take the dtype, which the output then has", () => {
    const moe = new MoE({ ...sizes, dtype: "float64" });
    for (const p of moe.parameters()) expect(p.dtype).toBe("float64");
    expect(moe.forward(zeros([2, 16], { dtype: "float64" })).output.dtype).toBe("float64");
    expect(() => moe.forward(zeros([2, 16]))).toThrow(TypeError);
  });
});

test("a layer can be trained: steps along its gradient lower the loss", () => {
  const moe = new MoE({ dim: 2, hidden: 8, numExperts: 2, rng: rng() });
  const x = tensor([
    [1, 0],
    [0, 1],
    [1, 1],
    [-1, 0.5],
  ]);
  const target = tensor([
    [0, 1],
    [1, 0],
    [0.5, -0.5],
    [1, 1],
  ]);
  const optimizer = new SGD(moe.parameters(), { lr: 0.1, momentum: 0.9 });
  const losses = Array.from({ length: 60 }, () => {
    optimizer.zeroGrad();
    const loss = moe.forward(x).output.mseLoss(target);
    loss.backward();
    optimizer.step();
    return loss.item();
  });
  expect(losses[59]).toBeLessThan(0.1 * losses[0]);
});

test("idle experts have a gradient of exact zeros, not null", () => {
  const moe = new MoE({ dim: 2, hidden: 3, numExperts: 3, bias: true, router: topKRouter({ k: 1 }), rng: rng() });
  // The logits are x · W: a single feature that speaks for expert 1 alone.
  moe.loadStateDict({
    ...moe.stateDict(),
    "router.weight": tensor([
      [0, 9, 0],
      [0, 0, 0],
    ]),
  });
  moe
    .forward(
      tensor([
        [1, 0],
        [2, 1],
      ]),
    )
    .output.sum()
    .backward();
  for (const p of [moe.experts.w1, moe.experts.b1, moe.experts.w2, moe.experts.b2] as Tensor[]) {
    const size = p.size / 3;
    const gradient = numbers(p.grad as Tensor);
    expect(gradient.slice(0, size)).toEqual(new Array(size).fill(0));
    expect(gradient.slice(2 * size)).toEqual(new Array(size).fill(0));
    expect(gradient.slice(size, 2 * size).some((g) => g !== 0)).toBe(true);
  }
});

test("the default router is dropless top-2, or top-1 for a single expert", () => {
  const two = new MoE(sizes).forward(zeros([3, 16])).routing;
  expect([two.router, two.numSlots, two.capacity, two.rule.normalize]).toEqual(["topKRouter", 6, 3, true]);
  const one = new MoE({ ...sizes, numExperts: 1 }).forward(zeros([3, 16])).routing;
  expect([one.numSlots, one.rule.normalize]).toEqual([3, false]);
});

describe("what the router is given", () => {
  function listening() {
    const heard: { logits: Tensor; ctx: RouterContext }[] = [];
    const inner = topKRouter({ k: 1 });
    const router: Router = (logits, ctx = {}) => {
      heard.push({ logits, ctx });
      return inner(logits, ctx);
    };
    return { heard, router };
  }

  test("logits x · W, the flat tokens, ids and mask, its mode and a generator", () => {
    const { heard, router } = listening();
    const moe = new MoE({ ...sizes, router, rng: rng() });
    const x = tensor(Float32Array.from({ length: 4 * 16 }, (_, i) => Math.cos(i))).reshape([2, 2, 16]);
    const tokenIds = tensor(Int32Array.from([5, 6, 7, 8])).reshape([2, 2]);
    const own = new Generator(2);
    moe.forward(x, {
      mask: [
        [true, false],
        [true, true],
      ],
      tokenIds,
      rng: own,
    });
    moe.eval().forward(x);
    const [first, second] = heard;
    // Token 1 is padding: the router gets its row as zeros.
    const cleared = x.data.map((v: number, i: number) => (Math.floor(i / 16) === 1 ? 0 : v)) as Float32Array;
    const tokens = tensor(cleared).reshape([4, 16]);
    expect(numbers(first.logits)).toEqual(numbers(tokens.matmul(moe.router.weight)));
    expect(numbers(first.ctx.x as Tensor)).toEqual(numbers(tokens));
    expect(numbers(second.ctx.x as Tensor)).toEqual(numbers(x));
    expect(first.ctx.tokenIds?.toArray()).toEqual([5, 6, 7, 8]);
    expect(first.ctx.mask).toEqual([true, false, true, true]);
    expect(first.ctx.rng).toBe(own);
    expect([first.ctx.training, second.ctx.training]).toEqual([true, false]);
    expect(second.ctx.rng).toBeInstanceOf(Generator);
    expect([second.ctx.mask, second.ctx.tokenIds]).toEqual([undefined, undefined]);
  });

  test("noise of a seeded layer: a stream that goes on from call to call and is repeated by the seed", () => {
    const x = tensor(Float32Array.from({ length: 40 * 16 }, (_, i) => Math.sin(i))).reshape([40, 16]);
    const make = (): MoE => new MoE({ ...sizes, router: gshardRouter(), rng: rng() });
    const [a, b] = [make(), make()];
    const runs = (moe: MoE) => [0, 1].map(() => contentOf(moe.forward(x).routing));
    const [first, second] = runs(a);
    expect(second).not.toEqual(first);
    expect(runs(b)).toEqual([first, second]);
    const [still, again] = runs(a.eval());
    expect(again).toEqual(still);
  });
});

describe("experts", () => {
  test("compute groups of neighbouring rows, and exact zeros beyond the last group", () => {
    const experts = new Experts({ dim: 1, hidden: 1, numExperts: 3, activation: "cubic", bias: true });
    experts.loadStateDict({
      w1: tensor([1, 2, 3]).reshape([3, 1, 1]),
      b1: tensor([0, 1, 0]).reshape([3, 1]),
      w2: tensor([1, 1, 2]).reshape([3, 1, 1]),
      b2: tensor([0, 0, 1]).reshape([3, 1]),
    });
    const y = experts.forward(tensor([1, 2, 3, 4]).reshape([4, 1]), tensor(Int32Array.from([0, 1, 1, 3])));
    // Expert 0: 1³; expert 1 has no rows; expert 2: 2·(3·2)³ + 1 and 2·(3·3)³ + 1; the last row belongs to nobody.
    expect(numbers(y)).toEqual([1, 433, 1459, 0]);
  });

  test("refuse sizes that are no integers of at least 1, unknown activations and options", () => {
    for (const name of ["numExperts", "dim", "hidden"] as const) {
      for (const bad of [0, -1, 2.5, Number.NaN]) {
        expect(() => new Experts({ ...sizes, [name]: bad })).toThrow(
          new RangeError(`Experts: ${name} has ${bad}, expected an integer of at least 1`),
        );
      }
    }
    expect(() => new Experts({ ...sizes, activation: "swish" as Activation })).toThrow(
      new TypeError(
        'Experts: activation has "swish", expected "linear", "cubic", "relu", "gelu", "geluTanh", "silu", "swiglu"',
      ),
    );
    expect(() => new Experts({ ...sizes, k: 2 } as MoEOptions)).toThrow(
      new TypeError(
        'Experts: options has the name "k", expected numExperts, dim, hidden, activation, bias, dtype, rng',
      ),
    );
  });
});

describe("refusals", () => {
  const moe = new MoE(sizes);
  const x = zeros([3, 16]);
  const refusals: [what: string, call: () => unknown, error: Error][] = [
    [
      "options that it does not have",
      () => new MoE({ ...sizes, topK: 2 } as MoEOptions),
      new TypeError(
        'MoE: options has the name "topK", expected numExperts, dim, hidden, activation, bias, dtype, rng, router, numShared, jitter',
      ),
    ],
    [
      "no experts",
      () => new MoE({ ...sizes, numExperts: 0 }),
      new RangeError("MoE: numExperts has 0, expected an integer of at least 1"),
    ],
    [
      "a router that is no function",
      () => new MoE({ ...sizes, router: "top-2" as unknown as Router }),
      new TypeError(
        'MoE: router has "top-2", expected a function from logits to a Routing (such as topKRouter({ k: 2 }))',
      ),
    ],
    [
      "an input of another width",
      () => moe.forward(zeros([3, 8])),
      new RangeError("MoE: x has shape [3, 8], expected a last dim of 16 (its features)"),
    ],
    [
      "what is no tensor",
      () => moe.forward([[1]] as unknown as Tensor),
      new TypeError("MoE: x has [[1]], expected a tensor (make one with tensor())"),
    ],
    [
      "unknown forward options",
      () => moe.forward(x, { training: true } as object),
      new TypeError('MoE: options has the name "training", expected mask, rng, tokenIds, routing'),
    ],
    [
      "a mask of another length",
      () => moe.forward(x, { mask: [true] }),
      new RangeError("MoE: mask has shape [1], expected [3] (one entry per token, true = keep)"),
    ],
    [
      "a mask of numbers",
      () => moe.forward(x, { mask: [1, 1, 1] as unknown as Mask }),
      new TypeError("MoE: the entry of mask at [0] has 1, expected true or false (depth 1, as the first)"),
    ],
    [
      "more experts per token than it has",
      () => new MoE({ ...sizes, router: topKRouter({ k: 5 }) }).forward(x),
      new RangeError("topKRouter: k has 5, expected at most 4 (the number of experts)"),
    ],
    [
      "NaN in the input, by way of the logits",
      () => moe.forward(tensor(new Float32Array(48).fill(Number.NaN)).reshape([3, 16])),
      new RangeError("topKRouter: logits has NaN at [0, 0], expected finite numbers"),
    ],
  ];
  test.each(refusals)("refuses %s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});
