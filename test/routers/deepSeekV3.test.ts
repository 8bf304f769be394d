/** DeepSeek-V3's router: it keeps the laws, chooses as its formulas say, and its bias brings the load into balance. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Generator,
  grad,
  type Logits,
  MoE,
  type Routing,
  randn,
  routingFromJSON,
  routingToJSON,
  tensor,
  topKRouter,
  withLogits,
  withTopK,
} from "../../src/index.ts";
import { checkRouter, distinctTensor, general, tensorOf } from "../../src/laws/index.ts";
import { type DeepSeekV3RouterOptions, deepSeekV3Router } from "../../src/routers/index.ts";
import { numbers } from "../arbitraries.ts";
import { loadOf, ranking, rowsOf, slotsOf } from "../routing/table.ts";

/** A router with these biases. */
function biased(options: DeepSeekV3RouterOptions, bias: readonly number[]) {
  const router = deepSeekV3Router(options);
  router.loadStateDict({ expertBias: tensor([...bias], { dtype: options.dtype ?? "float32" }) });
  return router;
}

/** What a bias or a group overrules by design: the order of the logits, and that experts are alike. */
const OVERRULED = ["first choice first", "ties", "experts by another name"];

const grid = [1, 2, 4].flatMap((k) =>
  [false, true].flatMap((normalize) =>
    [undefined, 2.5].flatMap((scale) =>
      [
        [1, 1],
        [2, 2],
        [2, 1],
        [4, 3],
      ].flatMap(([numGroups, groupTopK]) =>
        [null, [0.5, -0.25, -3, 1]].flatMap((bias) => {
          if ((k === 1 && normalize) || k > (4 / numGroups) * groupTopK) return [];
          const options = { numExperts: 4, k, normalize, scale, numGroups, groupTopK };
          return [[JSON.stringify({ ...options, bias }), options, bias] as const];
        }),
      ),
    ),
  ),
);

describe("keeps every law of routers but those that a bias or a group overrules", () => {
  test.each(grid)("%s", (_, options, bias) => {
    const router = bias === null ? deepSeekV3Router(options) : biased(options, bias);
    const overruled = bias !== null || options.groupTopK < options.numGroups;
    const results = checkRouter(router, {
      numExperts: 4,
      numRuns: 8,
      except: overruled ? OVERRULED : [],
      raiseException: false,
    });
    expect(results.flatMap(({ ok, message }) => (ok ? [] : [message]))).toEqual([]);
  });
});

/** The experts of one token, by the formulas, in plain numbers. */
function chosen(
  logits: readonly number[],
  bias: readonly number[],
  o: { readonly k: number; readonly numGroups: number; readonly groupTopK: number },
): number[] {
  const r = logits.map((x, e) => 1 / (1 + Math.exp(-x)) + bias[e]);
  const size = r.length / o.numGroups;
  const groups = Array.from({ length: o.numGroups }, (_, g) => {
    const [first, second = 0] = r.slice(g * size, (g + 1) * size).sort((a, b) => b - a);
    return first + second;
  });
  const open = new Set(ranking(groups).slice(0, o.groupTopK));
  return ranking(r)
    .filter((e) => open.has(Math.floor(e / size)))
    .slice(0, o.k);
}

const setups = fc.constantFrom(
  { k: 2, numGroups: 1, groupTopK: 1 },
  { k: 2, numGroups: 2, groupTopK: 1 },
  { k: 3, numGroups: 3, groupTopK: 2 },
  { k: 2, numGroups: 6, groupTopK: 2 },
  { k: 4, numGroups: 2, groupTopK: 2 },
);
/** Eighths, exact in float32: no tie of the formulas is one of rounding alone. */
const biases = fc.array(
  fc.integer({ min: -16, max: 16 }).map((n) => n / 8),
  { minLength: 6, maxLength: 6 },
);
const sixExperts = distinctTensor([5, 6], "float64");

describe("chooses", () => {
  test("the k largest σ + b in the best groups, best first, with gates of σ alone", () => {
    fc.assert(
      fc.property(setups, biases, sixExperts, fc.constantFrom(undefined, 2.5), (setup, bias, logits, scale) => {
        const router = biased({ ...setup, numExperts: 6, scale, dtype: "float64" }, bias);
        const routing = router(logits);
        const rows = rowsOf(logits);
        const [slots, starts] = [numbers(routing.slotsOfToken), numbers(routing.tokenOffsets)];
        for (const [t, row] of rows.entries()) {
          const own = slots.slice(starts[t], starts[t + 1]).map((s) => slotsOf(routing)[s]);
          const experts = chosen(row, bias, setup);
          expect(own.map(({ expert }) => expert)).toEqual(experts);
          const scores = experts.map((e) => 1 / (1 + Math.exp(-row[e])));
          const total = scores.reduce((a, b) => a + b, 0);
          for (const [i, { gate }] of own.entries()) expect(gate).toBeCloseTo(((scale ?? 1) * scores[i]) / total, 12);
        }
      }),
    );
  });

  test("as topKRouter with sigmoid scores and the same bias, when there are no groups", () => {
    fc.assert(
      fc.property(biases, tensorOf([5, 6], general), (bias, logits) => {
        const ours = biased({ numExperts: 6, k: 3 }, bias)(logits);
        const theirs = topKRouter({ k: 3, scoreFn: "sigmoid", expertBias: tensor(bias) })(logits);
        expect(slotsOf(ours)).toEqual(slotsOf(theirs));
      }),
    );
  });

  test("never from a closed group, however low the biases of the open one are", () => {
    const logits = tensor([[3, 3, -3, -3]]);
    // σ + b is about −1.05 in the open group and −9.95 in the closed one: a score of 0 there would win.
    const router = biased({ numExperts: 4, k: 2, numGroups: 2, groupTopK: 1 }, [-2, -2, -10, -10]);
    expect(slotsOf(router(logits)).map(({ expert }) => expert)).toEqual([0, 1]);
  });

  test("the same in training, whatever the generator, and for float64 logits with a float32 bias", () => {
    const router = biased({ numExperts: 6, k: 2 }, [0.5, 0, 0, 0, 0, -1]);
    const logits = randn([20, 6], { rng: new Generator(1), dtype: "float64" });
    const evaluation = slotsOf(router(logits));
    expect(slotsOf(router(logits, { training: true, rng: new Generator(2) }))).toEqual(evaluation);
  });
});

describe("the bias", () => {
  test("changes who is asked, and no gate of those who stay", () => {
    const logits = tensor([[2, 1, 0.5, -1]], { dtype: "float64" });
    const gates = (bias: number[]) =>
      slotsOf(biased({ numExperts: 4, k: 2 }, bias)(logits)).map((s) => [s.expert, s.gate]);
    const plain = gates([0, 0, 0, 0]);
    expect(plain.map(([expert]) => expert)).toEqual([0, 1]);
    // As large as it likes, while the choice stays.
    expect(gates([9, 7, 0, 0])).toEqual(plain);
    expect(gates([0, 0, 0, 2]).map(([expert]) => expert)).toEqual([0, 3]);
  });

  test("gets no gradient and is no parameter, but is saved with the layer", () => {
    const rng = new Generator(1);
    const router = deepSeekV3Router({ numExperts: 4, k: 2 });
    const moe = new MoE({ dim: 3, hidden: 4, numExperts: 4, router, rng });
    expect(moe.namedParameters().map(([name]) => name)).not.toContain("route.expertBias");
    expect(Object.keys(moe.stateDict())).toContain("route.expertBias");
    const { output, routing } = moe.forward(randn([9, 3], { rng }));
    output.sum().backward();
    expect(router.expertBias.grad).toBeNull();
    expect(moe.router.weight.grad?.abs().max().item()).toBeGreaterThan(0);
    router.update(routing);
    expect(moe.stateDict()["route.expertBias"].toArray()).toEqual(router.expertBias.toArray());
  });

  /** A routing with these loads, of k = 1. */
  const withLoads = (loads: readonly number[]): Routing => {
    const rows = loads.flatMap((n, e) => Array.from({ length: n }, () => loads.map((_, i) => (i === e ? 9 : -9))));
    return topKRouter({ k: 1 })(tensor(rows));
  };

  test("moves by u: down above the mean load, up below it, not at all on it", () => {
    const router = deepSeekV3Router({ numExperts: 4, k: 1, biasUpdateRate: 0.25 });
    router.update(withLoads([5, 3, 1, 3]));
    expect(router.expertBias.toArray()).toEqual([-0.25, 0, 0.25, 0]);
    router.update(withLoads([0, 0, 0, 4]));
    expect(router.expertBias.toArray()).toEqual([0, 0.25, 0.5, -0.25]);
  });

  test("counts all parts of a batch together, and nothing where there is none", () => {
    const router = deepSeekV3Router({ numExperts: 3, k: 1, biasUpdateRate: 0.5 });
    router.update([withLoads([4, 1, 1]), withLoads([0, 4, 2])]);
    expect(router.expertBias.toArray()).toEqual([0, -0.5, 0.5]);
    router.update([]);
    expect(router.expertBias.toArray()).toEqual([0, -0.5, 0.5]);
  });

  test("leaves out masked tokens", () => {
    const router = deepSeekV3Router({ numExperts: 2, k: 1, biasUpdateRate: 1 });
    const logits = tensor([
      [9, -9],
      [9, -9],
      [-9, 9],
    ]);
    router.update(router(logits, { mask: [false, true, true] }));
    expect(router.expertBias.toArray()).toEqual([0, 0]);
  });

  test("centred chooses the same, and its mean stays 0", () => {
    const rng = new Generator(4);
    const skew = tensor([3, 1, 0, 0, 0, -1], { dtype: "float64" });
    const make = (centered: boolean) =>
      deepSeekV3Router({ numExperts: 6, k: 2, biasUpdateRate: 2 ** -6, centered, dtype: "float64" });
    const [plain, centred] = [make(false), make(true)];
    for (let step = 0; step < 100; step++) {
      const logits = randn([40, 6], { rng, dtype: "float64" }).add(skew);
      const [a, b] = [plain(logits), centred(logits)];
      expect(numbers(b.expertOfSlot)).toEqual(numbers(a.expertOfSlot));
      plain.update(a);
      centred.update(b);
    }
    expect(centred.expertBias.mean().item()).toBeCloseTo(0, 12);
    expect(Math.abs(plain.expertBias.mean().item())).toBeGreaterThan(0.01);
  });

  test("brings a skewed router into balance in about gap / u steps, and keeps it there", () => {
    const E = 8;
    const u = 0.004;
    const router = deepSeekV3Router({ numExperts: E, k: 2, biasUpdateRate: u });
    const skew = tensor(Array.from({ length: E }, (_, e) => 2 - e / 2));
    const logits = randn([2000, E], { rng: new Generator(7) }).add(skew);
    // The mean scores of the first and the last expert differ by the gap, and close in by 2u a step.
    const mean = numbers(logits.sigmoid().mean({ dim: 0 }));
    const steps = Math.ceil((mean[0] - mean[E - 1]) / u);
    const violations: number[] = [];
    for (let step = 0; step < 2 * steps; step++) {
      const routing = router(logits);
      const load = loadOf(routing);
      violations.push((E * Math.max(...load)) / load.reduce((a, b) => a + b, 0) - 1);
      router.update(routing);
    }
    expect(violations[0]).toBeGreaterThan(0.9);
    expect(Math.max(...violations.slice(steps))).toBeLessThan(0.1);
  });
});

describe("a routing with a scale", () => {
  const router = deepSeekV3Router({ numExperts: 5, k: 3, scale: 2.5 });
  const logits = randn([6, 5], { rng: new Generator(3), dtype: "float64" });

  test("has gates that add up to it, and a gradient that has it too", () => {
    const routing = router(logits);
    const sums = new Array<number>(6).fill(0);
    for (const { token, gate } of slotsOf(routing)) sums[token] += gate;
    for (const sum of sums) expect(sum).toBeCloseTo(2.5, 12);
    const weights = randn([routing.numSlots], { rng: new Generator(4), dtype: "float64" });
    const plain = deepSeekV3Router({ numExperts: 5, k: 3 });
    const slope = (of: typeof router) => grad((x: Logits) => of(x).gate.mul(weights).sum())(logits);
    expect(numbers(slope(router).sub(slope(plain).mul(2.5)).abs().max())[0]).toBeLessThan(1e-12);
  });

  test("keeps it when it is written down, edited and replayed", () => {
    const routing = router(logits);
    expect(slotsOf(routingFromJSON(JSON.parse(JSON.stringify(routingToJSON(routing)))))).toEqual(slotsOf(routing));
    const edited = slotsOf(withTopK(routing, 2));
    const sum = edited.filter(({ token }) => token === 0).reduce((total, { gate }) => total + gate, 0);
    expect(sum).toBeCloseTo(2.5, 12);
    const moe = new MoE({ dim: 3, hidden: 4, numExperts: 5, router, rng: new Generator(5) });
    const x = randn([7, 3], { rng: new Generator(6) });
    const { output, routing: own } = moe.forward(x);
    expect(moe.forward(x, { routing: own }).output.toArray()).toEqual(output.toArray());
  });

  test("refuses one that is not above 0, and other names in a rule", () => {
    const routing = router(logits);
    const withRule = (change: object) => () => withLogits({ ...routing, rule: { ...routing.rule, ...change } }, logits);
    expect(withRule({ scale: 0 })).toThrow("withLogits: rule.scale has 0, expected a number above 0");
    expect(withRule({ scale: "2" })).toThrow('rule.scale has "2"');
    expect(withRule({ scaling: 2 })).toThrow('rule has the name "scaling"');
    expect(withRule({ scale: undefined })().gate.toArray()).toEqual(withRule({ scale: 1 })().gate.toArray());
  });

  test("of none of the library's other routers is there", () => {
    expect(topKRouter()(logits).rule).not.toHaveProperty("scale");
    expect(deepSeekV3Router({ numExperts: 5 })(logits).rule).not.toHaveProperty("scale");
  });
});

describe("refuses", () => {
  const cases: [what: string, options: object, message: string][] = [
    ["an unknown option", { numExperts: 4, topK: 2 }, 'options has the name "topK"'],
    ["no experts", { numExperts: 0 }, "numExperts has 0"],
    ["more choices than experts", { numExperts: 4, k: 5 }, "k has 5, expected an integer from 1 to 4"],
    ["a normalised single choice", { numExperts: 4, k: 1, normalize: true }, "normalize has true at k = 1"],
    ["a scale of 0", { numExperts: 4, scale: 0 }, "scale has 0, expected a number above 0"],
    ["groups of different sizes", { numExperts: 4, numGroups: 3 }, "numGroups has 3, expected a divisor of 4"],
    ["more groups than experts", { numExperts: 4, numGroups: 8 }, "numGroups has 8, expected an integer from 1 to 4"],
    [
      "groups without room for k",
      { numExperts: 4, k: 3, numGroups: 2, groupTopK: 1 },
      "groupTopK has 1, expected an integer from 2 to 2",
    ],
    ["more open groups than there are", { numExperts: 4, numGroups: 2, groupTopK: 3 }, "groupTopK has 3"],
    ["a negative rate", { numExperts: 4, biasUpdateRate: -1 }, "biasUpdateRate has -1"],
    ["a text for centered", { numExperts: 4, centered: "no" }, 'centered has "no"'],
    ["integers for the bias", { numExperts: 4, dtype: "int32" }, "dtype has dtype int32"],
  ];
  test.each(cases)("%s", (_, options, message) => {
    expect(() => deepSeekV3Router(options as DeepSeekV3RouterOptions)).toThrow(message);
  });

  test("logits and routings of other experts, and what is no routing", () => {
    const router = deepSeekV3Router({ numExperts: 4 });
    const other = topKRouter()(randn([3, 5], { rng: new Generator(1) }));
    expect(() => router(other.logits)).toThrow("logits has shape [3, 5], expected [3, 4]");
    expect(() => router.update(other)).toThrow("the experts of routing 0 has shape [5], expected [4]");
    expect(() => router.update(null as never)).toThrow(TypeError);
    expect(router.expertBias.toArray()).toEqual([0, 0, 0, 0]);
  });
});
