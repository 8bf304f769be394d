/** The MoE layer equals the sum over experts that its formula is, for every router and load. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Activation,
  type DType,
  expertChoiceRouter,
  Generator,
  grad,
  gradcheck,
  MoE,
  type MoEOptions,
  type Router,
  type Routing,
  rand,
  type Tensor,
  tensor,
  topKRouter,
  vjp,
} from "../../src/index.ts";
import { dyadic, general, numbers, tensorOf } from "../arbitraries.ts";
import { contentOf, integersOf, loadOf, named, type RouterCase, routers, runs, slotsOf } from "../routing/table.ts";
import { asWeights, naiveMoE, weightsOf, withWeights } from "./naive.ts";

const D = 3;
const F = 4;

const layer = (options: Partial<MoEOptions> & { numExperts: number }): MoE =>
  new MoE({ dim: D, hidden: F, bias: true, dtype: "float64", rng: new Generator(3), ...options });

/** Router weights that spread the tokens, tie all experts, or send everything to one of them. */
const routerWeights = (E: number) =>
  fc.oneof(
    { weight: 3, arbitrary: tensorOf([D, E], general, "float64") },
    { weight: 1, arbitrary: fc.constant(tensor(new Float64Array(D * E)).reshape([D, E])) },
    {
      weight: 1,
      // The last feature of x is 1: its row of the weights is a bias on the logits.
      arbitrary: fc
        .nat(E - 1)
        .map((e) =>
          tensor(Float64Array.from({ length: D * E }, (_, i) => (i === (D - 1) * E + e ? 9 : 0))).reshape([D, E]),
        ),
    },
  );

/** A layer's input and weights, w3 and b3 for gated activations alone, and a cotangent of its output. */
const cases = (c: RouterCase) =>
  drawn(c).map(({ weights, ...rest }) => ({
    ...rest,
    weights: rest.activation === "swiglu" ? weights : weights.slice(0, 5),
  }));

const drawn = (c: RouterCase) =>
  fc.record({ T: fc.integer({ min: 0, max: 6 }), E: fc.integer({ min: c.minExperts, max: 4 }) }).chain(({ T, E }) => {
    const flags = fc.array(fc.boolean(), { minLength: T, maxLength: T });
    return fc.record({
      x: tensorOf([T, D - 1], dyadic, "float64").map((x) => {
        const rows = x.toArray() as number[][];
        return tensor(
          rows.flatMap((row) => [...row, 1]),
          { dtype: "float64" },
        ).reshape([T, D]);
      }),
      weights: fc.tuple(
        routerWeights(E),
        tensorOf([E, D, F], dyadic, "float64"),
        tensorOf([E, F], dyadic, "float64"),
        tensorOf([E, F, D], dyadic, "float64"),
        tensorOf([E, D], dyadic, "float64"),
        tensorOf([E, D, F], dyadic, "float64"),
        tensorOf([E, F], dyadic, "float64"),
      ),
      g: tensorOf([T, D], dyadic, "float64"),
      mask: fc.option(flags, { nil: undefined }),
      activation: fc.constantFrom<Activation>("linear", "cubic", "gelu", "geluTanh", "silu", "swiglu"),
      seed: fc.integer(),
    });
  });

/** Equal in float64: cubic experts reach numbers of 2e4 on the way, whose last place is worth 4e-12. */
const close = (actual: Tensor, expected: Tensor): void => {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = [numbers(actual), numbers(expected)];
  const scale = Math.max(1, ...b.map(Math.abs));
  a.forEach((value, i) => {
    expect(Math.abs(value - b[i])).toBeLessThan(1e-10 * scale);
  });
};

describe.each(named(routers))("%s", (_, c) => {
  test("output and all gradients are those of the naive sum over experts", () => {
    fc.assert(
      fc.property(cases(c), ({ x, weights, g, mask, activation, seed }) => {
        const E = weights[0].shape[1];
        const moe = layer({ numExperts: E, router: c.make(E), activation }).train(c.random);
        const run = (...inputs: Tensor[]) =>
          withWeights(moe, asWeights(inputs.slice(1))).forward(inputs[0], { mask, rng: new Generator(seed) });
        const { routing } = run(x, ...weights);
        const [y, pull] = vjp((...inputs: Tensor[]) => run(...inputs).output)(x, ...weights);
        const [expected, pullExpected] = vjp((...inputs: Tensor[]) =>
          naiveMoE(inputs[0], asWeights(inputs.slice(1)), routing, { normalize: c.normalize, activation }),
        )(x, ...weights);
        close(y, expected);
        const wanted = pullExpected(g);
        pull(g).forEach((dx, i) => {
          close(dx, wanted[i]);
        });

        // Idle experts and tokens that nobody serves: exact zeros.
        const load = loadOf(routing);
        const [, , ...dExperts] = pull(g);
        for (const dw of dExperts) {
          const size = dw.size / E;
          numbers(dw).forEach((value, i) => {
            if (load[Math.floor(i / size)] === 0) expect(value).toBe(0);
          });
        }
        const served = new Set(slotsOf(routing).flatMap((slot) => (slot.granted ? [slot.token] : [])));
        numbers(y).forEach((value, i) => {
          if (!served.has(Math.floor(i / D))) expect(value).toBe(0);
        });
      }),
      runs(0.08),
    );
  });

  test("what padding holds reaches nothing: not the output, the routing, nor any gradient", () => {
    const padded = fc
      .record({ T: fc.integer({ min: 1, max: 6 }), E: fc.integer({ min: c.minExperts, max: 4 }), seed: fc.integer() })
      .chain(({ T, ...rest }) =>
        fc.record({
          ...{ x: tensorOf([T, D], general), g: tensorOf([T, D], general) },
          mask: fc.array(fc.boolean(), { minLength: T, maxLength: T }),
          junk: fc.constantFrom(Number.NaN, Infinity, -Infinity, 3e38),
          sizes: fc.constant(rest),
        }),
      );
    fc.assert(
      fc.property(padded, ({ x, g, mask, junk, sizes: { E, seed } }) => {
        const options = { numExperts: E, router: c.make(E), dtype: "float32", numShared: 1, jitter: 0.1 } as const;
        const moe = layer(options).train(c.random);
        const spoilt = tensor((x.data as Float32Array).map((v, i) => (mask[Math.floor(i / D)] ? v : junk)));
        const run = (input: Tensor, replayed?: Routing) => {
          moe.zeroGrad();
          const tokens = input.reshape(x.shape).detach();
          tokens.requiresGrad = true;
          const options = replayed === undefined ? { mask } : { routing: replayed };
          const { output, routing } = moe.forward(tokens, { ...options, rng: new Generator(seed) });
          const { balance, z } = routing.losses;
          output.mul(g).sum().add(balance).add(z).backward();
          const gradients = [tokens, ...moe.parameters()].map((p) => numbers(p.grad as Tensor));
          return { routing, seen: { output: numbers(output), ...contentOf(routing), gradients } };
        };
        const [clean, padding] = [run(x), run(spoilt)];
        expect(padding.seen).toEqual(clean.seen);
        expect(run(spoilt, clean.routing).seen).toEqual(run(x, clean.routing).seen);
        padding.seen.gradients[0].forEach((value, i) => {
          if (!mask[Math.floor(i / D)]) expect(value).toBe(0);
        });
      }),
      runs(0.06),
    );
  });

  test("float32 and float64 agree: the fast loops compute what the reference forms do", () => {
    // Weights as a layer starts with and features below 1 keep every number on the way below about 30.
    const within = 30 * 16 * 2 ** -24;
    const sizes = fc.record({
      T: fc.integer({ min: 0, max: 8 }),
      E: fc.integer({ min: c.minExperts, max: 5 }),
      activation: fc.constantFrom<Activation>("linear", "cubic", "relu", "gelu", "geluTanh", "silu", "swiglu"),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(sizes, ({ T, E, activation, seed }) => {
        const rng = new Generator(seed);
        const [x, g] = [0, 1].map(() => rand([T, D], { rng }).mul(2).sub(1));
        const rough = layer({ numExperts: E, router: c.make(E), activation, dtype: "float32", rng }).train(c.random);
        const { routing } = rough.forward(x, { rng });
        const own = Object.values(weightsOf(rough)).map((w) => w?.detach() ?? null);
        const run = (dtype: DType): Tensor[] => {
          const moe = layer({ numExperts: E, router: c.make(E), activation, dtype });
          const inputs = [x, ...own.filter((w) => w !== null)].map((input) => input.to(dtype));
          const [y, pull] = vjp(
            (...all: Tensor[]) => withWeights(moe, asWeights(all.slice(1))).forward(all[0], { routing }).output,
          )(...inputs);
          return [y, ...pull(g.to(dtype))];
        };
        const precise = run("float64");
        run("float32").forEach((result, i) => {
          expect([result.dtype, ...result.shape]).toEqual(["float32", ...precise[i].shape]);
          const expected = numbers(precise[i]);
          numbers(result).forEach((value, at) => {
            expect(Math.abs(value - expected[at])).toBeLessThan(within);
          });
        });
      }),
      runs(0.05),
    );
  });

  test("gives its router weights a gradient", () => {
    // Two experts more than one token asks for, and features that tell the tokens apart.
    const E = 5;
    const moe = layer({ numExperts: E, router: c.make(E) }).train(c.random);
    const x = tensor(Float64Array.from({ length: 6 * D }, (_, i) => Math.sin(3 * i + 1))).reshape([6, D]);
    moe
      .forward(x, { rng: new Generator(1) })
      .output.square()
      .sum()
      .backward();
    expect(Math.max(...numbers(moe.router.weight.grad as Tensor).map(Math.abs))).toBeGreaterThan(1e-6);
  });
});

describe("gradients of the whole layer, with the routing frozen", () => {
  const x = tensor(Float64Array.from({ length: 9 }, (_, i) => Math.sin(5 * i + 2))).reshape([3, D]);
  const frozen: [name: string, router: Router][] = [
    ["top-2 of three, renormalised, with drops", topKRouter({ k: 2, capacityFactor: 0.5 })],
    ["top-1", topKRouter({ k: 1 })],
    ["expert choice", expertChoiceRouter({ capacityFactor: 1 })],
  ];

  test.each(frozen)("%s: first and second derivatives are those that differences give", (_, router) => {
    const moe = layer({ numExperts: 3, hidden: 2, router });
    const { routing } = moe.forward(x);
    const inputs = [x, ...Object.values(weightsOf(moe)).filter((w) => w !== null)];
    const f = (...all: Tensor[]): Tensor =>
      withWeights(moe, asWeights(all.slice(1))).forward(all[0], { routing }).output;
    const first = gradcheck(f, inputs, { atol: 1e-8, rtol: 1e-6 });
    expect(first.crossed).toEqual([]);
    // All of x and the router, one of the expert weights: the second derivatives that mix them are among them.
    for (const argnums of [0, 1, 2]) {
      const gradient = grad(
        (...all: Tensor[]) =>
          f(...all)
            .square()
            .sum(),
        { argnums },
      );
      gradcheck((...all: Tensor[]) => gradient(...all), inputs, { atol: 1e-7, rtol: 1e-5 });
    }
  });

  test("without freezing, a tie is reported as a boundary and not as an error", () => {
    const moe = layer({ numExperts: 2, router: topKRouter({ k: 1 }) });
    const zero = tensor(new Float64Array(2 * D)).reshape([D, 2]);
    const weights = { ...weightsOf(moe), router: zero };
    const report = gradcheck((router: Tensor) => withWeights(moe, { ...weights, router }).forward(x).output, [zero]);
    expect(report.ok).toBe(true);
    expect(report.crossed.length).toBe(2 * D);
  });
});

describe("shapes", () => {
  test.each([[[2, 3]], [[1, 2, 3]], [[6]], [[0, 4]], [[]]])("leading dims %j are flattened and restored", (lead) => {
    const T = lead.reduce((a, b) => a * b, 1);
    const moe = new MoE({ dim: D, hidden: F, numExperts: 4, rng: new Generator(1) });
    const flat = tensor(Float32Array.from({ length: T * D }, (_, i) => Math.sin(i))).reshape([T, D]);
    const { output, routing } = moe.forward(flat.reshape([...lead, D]));
    expect(output.shape).toEqual([...lead, D]);
    expect(routing.numTokens).toBe(T);
    expect(numbers(output)).toEqual(numbers(moe.forward(flat).output));
  });

  test("a mask may be nested as the tokens are, or flat", () => {
    const moe = new MoE({ dim: D, hidden: F, numExperts: 4, rng: new Generator(1) });
    const x = tensor(Float32Array.from({ length: 6 * D }, (_, i) => Math.sin(i))).reshape([2, 3, D]);
    const nested = moe.forward(x, {
      mask: [
        [true, true, false],
        [true, false, false],
      ],
    });
    const flat = moe.forward(x, { mask: [true, true, false, true, false, false] });
    expect(contentOf(nested.routing)).toEqual(contentOf(flat.routing));
    expect(numbers(nested.output)).toEqual(numbers(flat.output));
    numbers(nested.output).forEach((value, i) => {
      if ([2, 4, 5].includes(Math.floor(i / D))) expect(value).toBe(0);
      else expect(value).not.toBe(0);
    });
    expect(numbers(nested.routing.keptTokens as Tensor)).toEqual([0, 1, 3]);
  });
});

describe("replay", () => {
  const moe = layer({ numExperts: 4 });
  const [a, b] = [0, 1].map((shift) =>
    tensor(Float64Array.from({ length: 5 * D }, (_, i) => Math.sin(2 * i + shift))).reshape([5, D]),
  );

  test("keeps the integers and computes gates and losses from the new input", () => {
    const { routing } = moe.forward(a);
    const replayed = moe.forward(b, { routing });
    expect(integersOf(replayed.routing)).toEqual(integersOf(routing));
    const logits = b.matmul(moe.router.weight);
    expect(numbers(replayed.routing.logits)).toEqual(numbers(logits));
    close(replayed.output, naiveMoE(b, weightsOf(moe), routing, { normalize: true }));
    expect(replayed.routing.losses.z.item()).toBeCloseTo(numbers(logits.logsumexp().square().mean())[0], 13);
  });

  test("of the same input gives the same bits", () => {
    const { output, routing } = moe.forward(a);
    const replayed = moe.forward(a, { routing });
    expect(numbers(replayed.output)).toEqual(numbers(output));
    expect(contentOf(replayed.routing)).toEqual(contentOf(routing));
  });

  test("keeps the mask that the routing was made with", () => {
    const mask = [true, false, true, true, false];
    const { routing } = moe.forward(a, { mask });
    const { output } = moe.forward(b, { routing });
    expect(numbers(output).slice(D, 2 * D)).toEqual([0, 0, 0]);
    expect(output.toArray()).toHaveLength(5);
  });

  test("refuses a routing of another size, and a mask beside it", () => {
    const { routing } = moe.forward(a);
    expect(() => moe.forward(b.slice({ end: 4 }), { routing })).toThrow(
      new RangeError("MoE: routing has shape [5, 4], expected [4, 4] (tokens and experts of the layer)"),
    );
    const wider = layer({ numExperts: 5 }).forward(a).routing;
    expect(() => moe.forward(a, { routing: wider })).toThrow(
      new RangeError("MoE: routing has shape [5, 5], expected [5, 4] (tokens and experts of the layer)"),
    );
    expect(() => moe.forward(a, { routing, mask: [true, true, true, true, true] })).toThrow(
      new RangeError("MoE: mask has a value, expected none beside a routing (the routing has its own)"),
    );
  });
});

test("dropless token choice computes a token alike in any batch, to the last bit", () => {
  for (const router of [topKRouter({ k: 1 }), topKRouter({ k: 2 }), topKRouter({ k: 3, normalize: false })]) {
    const moe = new MoE({ dim: D, hidden: F, numExperts: 4, router, bias: true, rng: new Generator(5) });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }).chain((T) => fc.tuple(tensorOf([T, D], general), fc.nat(T))),
        ([x, cut]) => {
          const whole = numbers(moe.forward(x).output);
          const parts = [x.slice({ end: cut }), x.slice({ start: cut })].map((part) => moe.forward(part).output);
          expect(parts.flatMap(numbers)).toEqual(whole);
        },
      ),
      runs(0.5),
    );
  }
});
