/** Noisy top-k: its gates and losses against the paper's formulas, and a router that is a module. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  AdamW,
  auxLoss,
  Generator,
  grad,
  gradcheck,
  Module,
  MoE,
  NoisyTopKRouter,
  noisyTopKRouter,
  normalCdf,
  RouterModule,
  type Routing,
  type RoutingJSON,
  randn,
  routingFromJSON,
  routingToJSON,
  type Tensor,
  tensor,
  topKRouter,
  withLogits,
  withoutExpert,
  zeros,
} from "../../src/index.ts";
import { general, numbers, tensorOf } from "../arbitraries.ts";
import { contentOf, integersOf, loadOf, ranking, rowsOf, slotsOf } from "../routing/table.ts";

type Matrix = number[][];

const NAMES = ["balance", "z", "importance", "load"] as const;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
const mean = (list: readonly number[]): number => sum(list) / list.length;
const softplus = (x: number): number => Math.log(1 + Math.exp(x));
const precise = (rows: Matrix): Tensor => tensor(rows, { dtype: "float64" });

/** Variance over squared mean. */
const squaredVariation = (list: readonly number[]): number =>
  mean(list.map((x) => (x - mean(list)) ** 2)) / mean(list) ** 2;

const closeTo = (actual: number, expected: number): void => {
  expect(Math.abs(actual - expected)).toBeLessThan(1e-9 * Math.max(1, Math.abs(expected)));
};

/** A router whose noise weights are given. */
function routerOf(noiseWeight: Tensor, k: number): NoisyTopKRouter {
  const [dim, numExperts] = noiseWeight.shape;
  const router = noisyTopKRouter({ dim, numExperts, k, dtype: "float64" });
  router.loadStateDict({ noiseWeight });
  return router;
}

/** softplus(x · W), row by row. */
const spreadOf = (x: Tensor, weight: Tensor): Matrix => {
  const [rows, W] = [rowsOf(x), rowsOf(weight)];
  return rows.map((row) => W[0].map((_, e) => softplus(sum(row.map((v, d) => v * W[d][e])))));
};

/** P[t, e]: the chance that e stays among the k when its noise alone is drawn anew. */
function chances(clean: Matrix, noisy: Matrix, spread: Matrix, k: number): Matrix {
  const margins = noisy.map((row, t) => {
    const order = ranking(row);
    // What e has to beat: the best that is not chosen, or, when it is not chosen itself, the last that is.
    const threshold = (e: number): number => row[order[order.indexOf(e) < k ? k : k - 1]];
    return row.map((_, e) => (k === row.length ? Infinity : (clean[t][e] - threshold(e)) / spread[t][e]));
  });
  return rowsOf(normalCdf(precise(margins)));
}

const cases = fc
  .record({ T: fc.integer({ min: 1, max: 5 }), E: fc.integer({ min: 2, max: 4 }), D: fc.integer({ min: 1, max: 3 }) })
  .chain(({ T, E, D }) =>
    fc.record({
      logits: tensorOf([T, E], general, "float64"),
      x: tensorOf([T, D], general, "float64"),
      noiseWeight: tensorOf([D, E], general, "float64"),
      k: fc.integer({ min: 2, max: E }),
      mask: fc.option(
        fc.array(fc.boolean(), { minLength: T, maxLength: T }).filter((flags) => flags.includes(true)),
        { nil: undefined },
      ),
      training: fc.boolean(),
      seed: fc.integer(),
    }),
  );

describe("the formulas", () => {
  test("H = logits + ε · softplus(x · W) in training; gates are the softmax of the k largest H", () => {
    fc.assert(
      fc.property(cases, ({ logits, x, noiseWeight, k, mask, training, seed }) => {
        const routing = routerOf(noiseWeight, k)(logits, { x, mask, training, rng: new Generator(seed) });
        const eps = rowsOf(randn(logits.shape, { dtype: "float64", rng: new Generator(seed) }));
        const spread = spreadOf(x, noiseWeight);
        const H = rowsOf(logits).map((row, t) => row.map((v, e) => (training ? v + eps[t][e] * spread[t][e] : v)));
        expect(routing.noise === null).toBe(!training);
        expect([routing.numSlots, routing.capacity]).toEqual(
          [k, 1].map((n) => n * range(logits.shape[0]).filter((t) => mask?.[t] ?? true).length),
        );
        for (const { token, expert, granted, gate } of slotsOf(routing)) {
          expect([mask?.[token] ?? true, granted]).toEqual([true, true]);
          const chosen = ranking(H[token]).slice(0, k);
          expect(chosen).toContain(expert);
          closeTo(gate, Math.exp(H[token][expert]) / sum(chosen.map((e) => Math.exp(H[token][e]))));
        }
        // A replay knows the noise, so its gates are the same.
        expect(numbers(withLogits(routing, routing.logits).gate)).toEqual(numbers(routing.gate));
      }),
      { numRuns: 40 },
    );
  });

  test("importance and load are the squared variation of Σ gates and of Σ P, over kept tokens", () => {
    fc.assert(
      fc.property(cases, ({ logits, x, noiseWeight, k, mask, training, seed }) => {
        const routing = routerOf(noiseWeight, k)(logits, { x, mask, training, rng: new Generator(seed) });
        const E = logits.shape[1];
        const importance = range(E).map((e) =>
          sum(slotsOf(routing).map(({ expert, gate }) => (expert === e ? gate : 0))),
        );
        closeTo((routing.losses.importance as Tensor).item(), squaredVariation(importance));
        const kept = <T>(rows: readonly T[]): T[] => rows.filter((_, t) => mask?.[t] ?? true);
        const clean = kept(rowsOf(logits));
        const noise = routing.noise === null ? clean.map((row) => row.map(() => 0)) : kept(rowsOf(routing.noise));
        const noisy = clean.map((row, t) => row.map((v, e) => v + noise[t][e]));
        const P = chances(clean, noisy, kept(spreadOf(x, noiseWeight)), k);
        const load = range(E).map((e) => sum(P.map((row) => row[e])));
        closeTo((routing.losses.load as Tensor).item(), squaredVariation(load));
      }),
      { numRuns: 40 },
    );
  });

  test("balance and z are those of any router, and auxLoss scales all four", () => {
    const [logits, x] = [randn([6, 4], { rng: new Generator(1) }), randn([6, 2], { rng: new Generator(2) })];
    const routing = noisyTopKRouter({ dim: 2, numExperts: 4 })(logits, { x });
    const plain = topKRouter()(logits);
    expect(contentOf(routing)).toEqual(contentOf(plain));
    const names = ["balance", "z", "importance", "load"] as const;
    const [balance, z, importance, load] = names.map((name) => (routing.losses[name] as Tensor).item());
    const total = auxLoss(routing, { balance: 1, z: 2, importance: 3, load: 4 }).item();
    expect(total).toBeCloseTo(balance + 2 * z + 3 * importance + 4 * load, 5);
    expect(() => auxLoss(plain, { load: 1 })).toThrow(RangeError);
  });

  test("Σ_e E[P_e] = k, and E[P_e] is how often e is chosen", () => {
    const [T, k] = [3000, 2];
    const row = [1, 0.5, 0, -1];
    const noiseWeight = precise([[0.5, -1, 1, 0]]);
    const [logits, x] = [precise(new Array<number[]>(T).fill(row)), precise(new Array<number[]>(T).fill([1]))];
    const routing = routerOf(noiseWeight, k)(logits, { x, training: true, rng: new Generator(7) });
    const noisy = rowsOf(routing.noise as Tensor).map((noise) => noise.map((v, e) => v + row[e]));
    const P = chances(rowsOf(logits), noisy, spreadOf(x, noiseWeight), k);
    const sums = P.map(sum);
    const deviation = Math.sqrt(mean(sums.map((s) => (s - mean(sums)) ** 2)) / T);
    expect(Math.abs(mean(sums) - k)).toBeLessThan(4 * deviation);
    loadOf(routing).forEach((n, e) => {
      const frequency = n / T;
      // Both are means of numbers from 0 to 1 around the same chance.
      const width = 4 * Math.sqrt((2 * frequency * (1 - frequency)) / T);
      expect(Math.abs(mean(P.map((p) => p[e])) - frequency)).toBeLessThan(width);
    });
  });
});

describe("gradients", () => {
  const logits = precise([
    [0.5, -1, 2, 0.25],
    [1, 1.5, -0.5, 0],
    [-2, 0, 0.75, 1],
  ]);
  const x = precise([
    [1, -0.5],
    [0.25, 2],
    [-1, 1],
  ]);
  const noiseWeight = precise([
    [0.3, -0.2, 0.5, 0.1],
    [-0.4, 0.6, 0, 0.2],
  ]);
  const weights = tensor([1, -2, 3, 0.5, -1, 2], { dtype: "float64" });

  test.each([true, false])("in training %s: by logits, x and the noise's weights, those of differences", (training) => {
    const f = (by: Tensor, input: Tensor, weight: Tensor): Tensor => {
      const router = noisyTopKRouter({ dim: 2, numExperts: 4, dtype: "float64" });
      Object.assign(router, { noiseWeight: weight });
      const { gate, losses } = router(by, { x: input, training, rng: new Generator(3) });
      return gate
        .mul(weights)
        .sum()
        .add((losses.importance as Tensor).mul(2))
        .add((losses.load as Tensor).mul(3));
    };
    const report = gradcheck(f, [logits, x, noiseWeight], { atol: 1e-8, rtol: 1e-6 });
    expect(report.crossed).toEqual([]);
    const [dLogits, dX, dWeight] = grad(f, { argnums: [0, 1, 2] })(logits, x, noiseWeight);
    for (const dx of [dLogits, dX, dWeight]) expect(Math.max(...numbers(dx).map(Math.abs))).toBeGreaterThan(1e-3);
  });

  test("at perfect balance the losses are 0, and so are their gradients", () => {
    // Token t prefers expert t, then t + 1, then t + 2.
    const inTurn = precise([
      [2, 1, 0],
      [0, 2, 1],
      [1, 0, 2],
    ]);
    const router = noisyTopKRouter({ dim: 1, numExperts: 3, dtype: "float64" });
    const ctx = { x: zeros([3, 1], { dtype: "float64" }) };
    for (const name of ["importance", "load"] as const) {
      const loss = (by: Tensor): Tensor => router(by, ctx).losses[name] as Tensor;
      expect(loss(inTurn).item()).toBeLessThan(1e-30);
      for (const g of numbers(grad(loss)(inTurn))) expect(Math.abs(g)).toBeLessThan(1e-15);
    }
    // With k = E everybody stays for certain.
    const all = noisyTopKRouter({ dim: 1, numExperts: 3, k: 3, dtype: "float64" });
    const load = (by: Tensor): Tensor => all(by, ctx).losses.load as Tensor;
    expect([load(inTurn).item(), ...numbers(grad(load)(inTurn))].map((v) => v + 0)).toEqual(new Array(10).fill(0));
  });

  test("one expert for all tokens: importance E/k − 1 for k that share it, whatever their number", () => {
    const router = noisyTopKRouter({ dim: 1, numExperts: 4, dtype: "float64" });
    const same = precise(new Array<number[]>(5).fill([3, 3, -9, -9]));
    const routing = router(same, { x: zeros([5, 1], { dtype: "float64" }) });
    closeTo((routing.losses.importance as Tensor).item(), 4 / 2 - 1);
  });

  test("no tokens: no slots, and losses of 0 with a gradient", () => {
    const router = noisyTopKRouter({ dim: 2, numExperts: 3 });
    for (const mask of [undefined, [false, false]]) {
      const T = mask?.length ?? 0;
      const { numSlots, losses } = router(zeros([T, 3]), { x: zeros([T, 2]), mask, training: true });
      expect([numSlots, losses.importance?.item(), losses.load?.item()]).toEqual([0, 0, 0]);
    }
  });
});

describe("is a router and a module", () => {
  const router = noisyTopKRouter({ dim: 2, numExperts: 3 });

  test("that is called, has parameters, and is trained and saved", () => {
    expect(typeof router).toBe("function");
    for (const type of [Module, RouterModule, NoisyTopKRouter]) expect(router).toBeInstanceOf(type);
    expect(router.namedParameters().map(([name, p]) => [name, p.shape])).toEqual([["noiseWeight", [2, 3]]]);
    expect(numbers(router.noiseWeight)).toEqual([0, 0, 0, 0, 0, 0]);
    expect([router.k, router.training]).toEqual([2, true]);
    expect([router.eval().training, router.train().training]).toEqual([false, true]);
    const [logits, x] = [zeros([2, 3]), zeros([2, 2])];
    expect(contentOf(router.route(logits, { x }))).toEqual(contentOf(router(logits, { x })));
    const other = noisyTopKRouter({ dim: 2, numExperts: 3 });
    router.loadStateDict({
      noiseWeight: tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]),
    });
    other.loadStateDict(router.stateDict());
    expect(numbers(other.noiseWeight)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("inside a MoE: named, given the tokens, noisy in training alone, and learning", () => {
    const make = (seed: number): MoE =>
      new MoE({
        dim: 2,
        hidden: 4,
        numExperts: 3,
        router: noisyTopKRouter({ dim: 2, numExperts: 3 }),
        rng: new Generator(seed),
      });
    const moe = make(1);
    expect(Object.keys(moe.stateDict())).toEqual(["router.weight", "experts.w1", "experts.w2", "route.noiseWeight"]);
    expect(moe.parameters()).toHaveLength(4);
    const x = randn([20, 2], { rng: new Generator(5) });
    const { output, routing } = moe.forward(x);
    expect(routing.noise?.shape).toEqual([20, 3]);
    expect(integersOf(make(1).forward(x).routing)).toEqual(integersOf(routing));
    output
      .square()
      .sum()
      .add(auxLoss(routing, { importance: 0.1, load: 0.1 }))
      .backward();
    const { noiseWeight } = moe.route as NoisyTopKRouter;
    expect(Math.max(...numbers(noiseWeight.grad as Tensor).map(Math.abs))).toBeGreaterThan(1e-4);
    new AdamW(moe.parameters()).step();
    expect(numbers(noiseWeight).some((v) => v !== 0)).toBe(true);
    expect(moe.eval().forward(x).routing.noise).toBeNull();
    expect((moe.route as NoisyTopKRouter).training).toBe(false);
    const copy = make(2).eval();
    copy.loadStateDict(moe.stateDict());
    expect(numbers(copy.forward(x).output)).toEqual(numbers(moe.forward(x).output));
    // Replayed, the noise is kept: the same slots and the same gates.
    const noisy = moe.train().forward(x);
    const replayed = moe.eval().forward(x, { routing: noisy.routing });
    expect(numbers(replayed.output)).toEqual(numbers(noisy.output));
  });

  test("a replay through the layer has all four losses: the same bits, and those of the new input", () => {
    const router = noisyTopKRouter({ dim: 2, numExperts: 4, dtype: "float64" });
    const moe = new MoE({ dim: 2, hidden: 3, numExperts: 4, router, dtype: "float64", rng: new Generator(1) });
    const weight = randn([2, 4], { dtype: "float64", rng: new Generator(4) });
    moe.loadStateDict({ ...moe.stateDict(), "route.noiseWeight": weight });
    const [x, other] = [5, 6].map((seed) => randn([7, 2], { dtype: "float64", rng: new Generator(seed) }));
    const mask = [true, true, false, true, true, true, true];
    const values = (routing: Routing) => NAMES.map((name) => (routing.losses[name] as Tensor).item());
    for (const training of [true, false]) {
      const { routing } = moe.train(training).forward(x, { mask });
      const replayed = moe.forward(x, { routing }).routing;
      expect(values(replayed)).toEqual(values(routing));
      expect(auxLoss(replayed, { importance: 0.1, load: 0.1 }).item()).toBeGreaterThan(0);
      const read = routingFromJSON(JSON.parse(JSON.stringify(routingToJSON(routing))) as RoutingJSON);
      expect(values(read)).toEqual(values(routing));
      expect(values(moe.forward(x, { routing: read }).routing)).toEqual(values(routing));

      // With another input: importance of the gates that it has now, and load of the chances that it gives.
      const moved = moe.forward(other, { routing }).routing;
      expect(integersOf(moved)).toEqual(integersOf(routing));
      const kept = <T>(rows: readonly T[]): T[] => rows.filter((_, t) => mask[t]);
      const clean = kept(rowsOf(moved.logits));
      const noise = routing.noise === null ? clean.map((row) => row.map(() => 0)) : kept(rowsOf(routing.noise));
      const noisy = clean.map((row, t) => row.map((v, e) => v + noise[t][e]));
      const P = chances(clean, noisy, kept(spreadOf(other, weight)), 2);
      closeTo((moved.losses.load as Tensor).item(), squaredVariation(range(4).map((e) => sum(P.map((row) => row[e])))));
      const gates = range(4).map((e) => sum(slotsOf(moved).map(({ expert, gate }) => (expert === e ? gate : 0))));
      closeTo((moved.losses.importance as Tensor).item(), squaredVariation(gates));
      // An edit is replayed like any other routing.
      expect(moe.forward(x, { routing: withoutExpert(routing, 0) }).routing.losses.load).toBeDefined();
    }
  });

  test("a replay's losses teach the router and the size of the noise, which itself is held fixed", () => {
    const router = noisyTopKRouter({ dim: 2, numExperts: 4, dtype: "float64" });
    const [logits, x] = [4, 2].map((n) => randn([5, n], { dtype: "float64", rng: new Generator(n) }));
    const routing = router(logits, { x, training: true, rng: new Generator(3) });
    const f = (by: Tensor, input: Tensor, weight: Tensor): Tensor => {
      Object.assign(router, { noiseWeight: weight });
      const { losses } = router.replay(routing, by, { x: input });
      return (losses.importance as Tensor).mul(2).add((losses.load as Tensor).mul(3));
    };
    const points = [logits, x, randn([2, 4], { dtype: "float64", rng: new Generator(5) })];
    expect(gradcheck(f, points, { atol: 1e-8, rtol: 1e-6 }).crossed).toEqual([]);
    for (const dx of grad(f, { argnums: [0, 1, 2] })(logits, x, points[2])) {
      expect(Math.max(...numbers(dx).map(Math.abs))).toBeGreaterThan(1e-5);
    }
  });

  test("replays the routing of another router as that: without losses that it never had", () => {
    const routing = topKRouter()(zeros([2, 3]));
    expect(router.replay(routing, zeros([2, 3])).losses.load).toBeUndefined();
  });

  test("tokens that are masked may hold anything", () => {
    const noisy = noisyTopKRouter({ dim: 2, numExperts: 3 });
    const logits = randn([3, 3], { rng: new Generator(1) });
    const x = (junk: number) =>
      tensor([
        [1, 2],
        [junk, junk],
        [0, -1],
      ]);
    const gradients = [0, Number.NaN, Infinity].map((junk) => {
      noisy.zeroGrad();
      const mask = [true, false, true];
      const { gate, losses } = noisy(logits, { x: x(junk), mask, training: true, rng: new Generator(2) });
      gate
        .square()
        .sum()
        .add(losses.load as Tensor)
        .backward();
      return numbers(noisy.noiseWeight.grad as Tensor);
    });
    expect(gradients.slice(1)).toEqual([gradients[0], gradients[0]]);
    expect(gradients[0].some((v) => v !== 0)).toBe(true);
  });

  test("refuses a single expert per token, and inputs that it was not made for", () => {
    const [logits, x] = [zeros([2, 3]), zeros([2, 2])];
    const made = (options: object) => () => noisyTopKRouter({ dim: 2, numExperts: 3, ...options });
    const why = "(a normalised top-1 gate is 1, and its router would get no gradient)";
    const refused: [call: () => unknown, error: Error][] = [
      [made({ k: 1 }), new RangeError(`noisyTopKRouter: k has 1, expected an integer from 2 to 3 ${why}`)],
      [made({ k: 4 }), new RangeError(`noisyTopKRouter: k has 4, expected an integer from 2 to 3 ${why}`)],
      [made({ numExperts: 1 }), new RangeError("noisyTopKRouter: numExperts has 1, expected an integer of at least 2")],
      [
        () => router(logits),
        new TypeError("noisyTopKRouter: x has no value, expected the tokens [T, D] (the noise depends on them)"),
      ],
      [
        () => router(logits, { x: zeros([3, 2]) }),
        new RangeError("noisyTopKRouter: x has shape [3, 2], expected [2, 2] (one row per token)"),
      ],
      [
        () => router(zeros([2, 4]), { x }),
        new RangeError(
          "noisyTopKRouter: logits has shape [2, 4], expected [2, 3] (the experts that the router was made for)",
        ),
      ],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
    expect(made({ noise: "gumbel" })).toThrow(TypeError);
  });
});
