/** The options of token choice, each against a naive reference or the formula that it stands for, and the baselines. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Generator,
  grad,
  gradcheck,
  gshardRouter,
  hashRouter,
  normalCdf,
  type RouterContext,
  type Routing,
  randomRouter,
  switchRouter,
  Tensor,
  type TopKRouterOptions,
  Transformer,
  tensor,
  tokenChoiceCapacity,
  topKRouter,
  withLogits,
  zeros,
} from "../../src/index.ts";
import { checkRouter } from "../../src/laws/index.ts";
import { dyadic, general, logit, numbers, tensorOf } from "../arbitraries.ts";
import { contentOf, granting, integersOf, loadOf, ranking, rowsOf, slotsOf } from "./table.ts";

const precise = (rows: number[][]): Tensor => tensor(rows, { dtype: "float64" });
const training = (seed = 1): RouterContext => ({ training: true, rng: new Generator(seed) });
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Logits, a mask, and the options that have no order of their own. */
const cases = fc
  .record({ T: fc.nat(8), E: fc.integer({ min: 1, max: 5 }), dtype: fc.constantFrom("float32", "float64") })
  .chain(({ T, E, dtype }) =>
    fc.record({
      logits: tensorOf([T, E], logit, dtype as "float32" | "float64"),
      mask: fc.option(fc.array(fc.boolean(), { minLength: T, maxLength: T }), { nil: undefined }),
      k: fc.integer({ min: 1, max: Math.min(3, E) }),
      scoreFn: fc.constantFrom<("softmax" | "sigmoid")[]>("softmax", "sigmoid"),
      capacityFactor: fc.constantFrom(0.25, 0.5, 1, 1.25, Infinity),
      bias: fc.option(tensorOf([E], dyadic, dtype as "float32" | "float64"), { nil: undefined }),
    }),
  );

interface Assignment {
  readonly token: number;
  readonly expert: number;
  readonly score: number;
}

/** Who asks for whom, choice by choice, and what a token's scores are. */
function asking(routing: Routing, k: number, bias: Tensor | undefined) {
  const { logits, rule, keptTokens } = routing;
  const kept = keptTokens === null ? range(routing.numTokens) : numbers(keptTokens);
  const scores = rowsOf(rule.score === "sigmoid" ? logits.sigmoid() : routing.probs);
  const round = logits.dtype === "float32" ? Math.fround : (x: number) => x;
  const rankings = rowsOf(logits).map((row, t) =>
    ranking(bias === undefined ? row : scores[t].map((p, e) => round(p + bias.data[e]))),
  );
  const assignments = range(k).flatMap((choice) =>
    kept.map((token): Assignment => {
      const expert = rankings[token][choice];
      return { token, expert, score: scores[token][expert] };
    }),
  );
  return { kept, scores, rankings, assignments };
}

/** The record that comes of granting assignments in the order of a queue of their places. */
function served(assignments: readonly Assignment[], queue: readonly number[], routing: Routing) {
  const { numTokens, numExperts, capacity } = routing;
  const used = new Array<number>(numExperts).fill(0);
  const granted = new Set(queue.filter((a) => used[assignments[a].expert]++ < capacity));
  const list = assignments.map(({ token, expert }, a) => ({ token, expert, allowed: granted.has(a) }));
  return granting(list, numTokens, numExperts, Infinity);
}

/** Runs a property over all cases of an option. */
function forAll(
  options: TopKRouterOptions,
  check: (routing: Routing, k: number, bias: Tensor | undefined) => void,
): void {
  fc.assert(
    fc.property(cases, ({ logits, mask, k, bias, ...rest }) => {
      const router = topKRouter({ k, ...rest, ...options, expertBias: bias });
      const routing = router(logits, { mask });
      const n = routing.keptTokens?.size ?? routing.numTokens;
      expect(routing.capacity).toBe(tokenChoiceCapacity(rest.capacityFactor, n, k, routing.numExperts));
      check(routing, k, bias);
      // Whatever was decided, replaying it with the same logits is the same routing.
      expect(contentOf(withLogits(routing, routing.logits))).toEqual(contentOf(routing));
      // A router that decides the same in training, as all do that leave nothing to chance.
      expect(integersOf(router(logits, { ...training(), mask }))).toEqual(integersOf(routing));
    }),
    { numRuns: 60 },
  );
}

describe("who is granted", () => {
  test("by default, and by position: choice by choice, in order of token", () => {
    forAll({}, (routing, k, bias) => {
      const { assignments } = asking(routing, k, bias);
      expect(integersOf(routing)).toEqual(served(assignments, range(assignments.length), routing));
    });
    const logits = tensorOf([6, 3], logit);
    fc.assert(
      fc.property(logits, (x) => {
        const named = topKRouter({ capacityFactor: 0.5, priority: "position", dropPolicy: "position" })(x);
        expect(contentOf(named)).toEqual(contentOf(topKRouter({ capacityFactor: 0.5 })(x)));
      }),
      { numRuns: 20 },
    );
  });

  test("priority gate: choice by choice, tokens of the highest score first", () => {
    forAll({ priority: "gate" }, (routing, k, bias) => {
      const { kept, scores, assignments } = asking(routing, k, bias);
      const first = ranking(kept.map((t) => Math.max(...scores[t])));
      const queue = range(k).flatMap((choice) => first.map((i) => choice * kept.length + i));
      expect(integersOf(routing)).toEqual(served(assignments, queue, routing));
    });
  });

  test("dropPolicy gate: the highest scores of all assignments, whatever their round", () => {
    forAll({ dropPolicy: "gate" }, (routing, k, bias) => {
      const { assignments } = asking(routing, k, bias);
      const queue = ranking(assignments.map(({ score }) => score));
      expect(integersOf(routing)).toEqual(served(assignments, queue, routing));
      // So no granted slot of an expert has a lower score than one that it dropped.
      const at = (token: number, expert: number) =>
        assignments.find((a) => a.token === token && a.expert === expert)?.score as number;
      for (let e = 0; e < routing.numExperts; e++) {
        const own = slotsOf(routing).filter(({ expert }) => expert === e);
        const [kept, lost] = [true, false].map((which) =>
          own.filter(({ granted }) => granted === which).map(({ token }) => at(token, e)),
        );
        expect(Math.min(...kept)).toBeGreaterThanOrEqual(Math.max(...lost));
      }
    });
  });

  test("dropPolicy next-best: who finds an expert full asks for the best one with room", () => {
    forAll({ dropPolicy: "next-best" }, (routing, k, bias) => {
      const { kept, rankings, assignments } = asking(routing, k, bias);
      const used = new Array<number>(routing.numExperts).fill(0);
      const given = new Map(kept.map((t) => [t, new Set<number>()]));
      const moved = assignments.map(({ token, expert }) => {
        const own = given.get(token) as Set<number>;
        const spare = rankings[token].filter((e) => !own.has(e) && !rankings[token].slice(0, k).includes(e));
        const found = [expert, ...spare].find((e) => used[e] < routing.capacity);
        if (found === undefined) return { token, expert, score: 0 };
        used[found]++;
        own.add(found);
        return { token, expert: found, score: 0 };
      });
      expect(integersOf(routing)).toEqual(served(moved, range(moved.length), routing));
      // Top-1 with room for an even share: everybody is served.
      if (k === 1 && routing.capacity * routing.numExperts >= kept.length) {
        expect(sum(loadOf(routing))).toBe(kept.length);
      }
    });
  });

  test("by hand: three tokens want expert 0, which has room for one", () => {
    const logits = precise([
      [1, 0, -9],
      [3, 2, -9],
      [2, -9, 0],
    ]);
    const routed = (options: TopKRouterOptions) => {
      const routing = topKRouter({ capacityFactor: 0.5, ...options })(logits);
      expect(routing.capacity).toBe(1);
      const granted = slotsOf(routing).filter((slot) => slot.granted);
      return granted.map(({ token, expert }) => `${token}→${expert}`).join(" ");
    };
    const byHand: [options: TopKRouterOptions, expected: string][] = [
      // Second choices: tokens 0 and 1 want expert 1, token 2 expert 2.
      [{}, "0→0 0→1 2→2"],
      // Largest scores 0.73103, 0.73105 and 0.881: token 2 comes first, then 1.
      [{ priority: "gate" }, "2→0 1→1 2→2"],
      // Sigmoids of 1, 3 and 2.
      [{ priority: "gate", scoreFn: "sigmoid" }, "1→0 1→1 2→2"],
      [{ dropPolicy: "gate", scoreFn: "sigmoid" }, "1→0 1→1 2→2"],
      // Tokens 1 and 2 find expert 0 full and take their third: no room is left for second choices.
      [{ dropPolicy: "next-best" }, "0→0 2→1 1→2"],
      // Top-1: token 1 takes its second, and finds room; so does token 2.
      [{ dropPolicy: "next-best", k: 1 }, "0→0 1→1 2→2"],
    ];
    for (const [options, expected] of byHand) expect([options, routed(options)]).toEqual([options, expected]);
  });

  describe("dropPolicy random", () => {
    const router = topKRouter({ capacityFactor: 0.5, dropPolicy: "random" });

    test("drops nobody while an expert has room, and asks for what it asks for by position", () => {
      fc.assert(
        fc.property(cases, fc.integer(), ({ logits, mask, k, bias, ...rest }, seed) => {
          const options = { k, ...rest, expertBias: bias };
          const random = topKRouter({ ...options, dropPolicy: "random" })(logits, { ...training(seed), mask });
          const plain = topKRouter(options)(logits, { mask });
          const pairs = (routing: Routing) => slotsOf(routing).map(({ token, expert }) => `${token}→${expert}`);
          expect(pairs(random).sort()).toEqual(pairs(plain).sort());
          expect(loadOf(random)).toEqual(loadOf(plain));
          const load = loadOf(random);
          for (const { granted, expert } of slotsOf(random)) if (!granted) expect(load[expert]).toBe(random.capacity);
        }),
      );
    });

    test("is by position in evaluation, and follows the generator in training", () => {
      const logits = tensor(Float32Array.from({ length: 90 }, (_, i) => Math.sin(i * i))).reshape([30, 3]);
      const plain = contentOf(topKRouter({ capacityFactor: 0.5 })(logits));
      const rng = new Generator(1);
      expect(contentOf(router(logits, { rng }))).toEqual(plain);
      expect(rng.bits()).toBe(new Generator(1).bits());
      const [a, again, b] = [3, 3, 4].map((seed) => integersOf(router(logits, training(seed))));
      expect(again).toEqual(a);
      expect(b).not.toEqual(a);
    });

    test("gives every token the same chance", () => {
      // 8 tokens want one expert with room for 2: each is served in a quarter of the draws.
      const logits = precise(range(8).map((t) => [5 + t, 0]));
      const top1 = topKRouter({ k: 1, capacityFactor: 0.5, dropPolicy: "random" });
      const [rng, draws] = [new Generator(2), 1000];
      const counts = new Array<number>(8).fill(0);
      for (let i = 0; i < draws; i++) {
        for (const { token, granted } of slotsOf(top1(logits, { training: true, rng }))) if (granted) counts[token]++;
      }
      // Four standard deviations of a binomial count.
      const width = 4 * Math.sqrt(draws * 0.25 * 0.75);
      for (const count of counts) expect(Math.abs(count - draws / 4)).toBeLessThan(width);
    });
  });

  test("without a capacity no policy makes a difference", () => {
    fc.assert(
      fc.property(cases, ({ logits, mask, k, scoreFn }) => {
        const content = (options: TopKRouterOptions) =>
          contentOf(topKRouter({ k, scoreFn, ...options })(logits, { ...training(), mask }));
        const plain = content({});
        for (const dropPolicy of ["gate", "random", "next-best"] as const)
          expect(content({ dropPolicy })).toEqual(plain);
        expect(content({ priority: "gate" })).toEqual(plain);
      }),
      { numRuns: 40 },
    );
  });

  test("evalCapacityFactor is the factor of evaluation, capacityFactor that of training", () => {
    fc.assert(
      fc.property(
        cases,
        fc.constantFrom(0.5, 2, Infinity),
        ({ logits, mask, k, capacityFactor }, evalCapacityFactor) => {
          const both = topKRouter({ k, capacityFactor, evalCapacityFactor, minCapacity: 2 });
          const one = (factor: number) => topKRouter({ k, capacityFactor: factor, minCapacity: 2 })(logits, { mask });
          expect(contentOf(both(logits, { ...training(), mask }))).toEqual(contentOf(one(capacityFactor)));
          expect(contentOf(both(logits, { mask }))).toEqual(contentOf(one(evalCapacityFactor)));
        },
      ),
      { numRuns: 40 },
    );
  });

  const exclusive =
    'topKRouter: priority has "gate" beside dropPolicy, expected dropPolicy "position" (another policy has an order of its own)';
  test.each<[options: object, error: Error]>([
    [{ priority: "score" }, new TypeError('topKRouter: priority has "score", expected "position" or "gate"')],
    [
      { dropPolicy: "last" },
      new TypeError('topKRouter: dropPolicy has "last", expected "position", "gate", "random" or "next-best"'),
    ],
    [{ priority: "gate", dropPolicy: "random" }, new RangeError(exclusive)],
    [{ scoreFn: "tanh" }, new TypeError('topKRouter: scoreFn has "tanh", expected "softmax" or "sigmoid"')],
    [
      { noise: "cauchy" },
      new TypeError('topKRouter: noise has "cauchy", expected "none", "uniform", "gaussian" or "gumbel"'),
    ],
    [
      { noise: { type: "gumbel", scale: -1 } },
      new RangeError("topKRouter: noise.scale has -1, expected a number of at least 0"),
    ],
    [
      { evalCapacityFactor: 0 },
      new RangeError("topKRouter: evalCapacityFactor has 0, expected a number above 0, or Infinity for dropless"),
    ],
  ])("refuses %o", (options, error) => {
    expect(() => topKRouter(options)).toThrow(error);
  });
});

describe("sigmoid scores", () => {
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

  test("gates are σ, or σ / Σ σ over what a token asks for; probs σ / Σ σ over all", () => {
    const small = fc.record({ T: fc.nat(5), E: fc.integer({ min: 2, max: 4 }) });
    fc.assert(
      fc.property(
        small.chain(({ T, E }) => tensorOf([T, E], general, "float64")),
        fc.boolean(),
        (logits, normalize) => {
          const routing = topKRouter({ scoreFn: "sigmoid", normalize })(logits);
          const scores = rowsOf(logits).map((row) => row.map(sigmoid));
          rowsOf(routing.probs).forEach((row, t) => {
            row.forEach((p, e) => {
              expect(p).toBeCloseTo(scores[t][e] / sum(scores[t]), 13);
            });
          });
          for (const { token, expert, gate } of slotsOf(routing)) {
            const chosen = slotsOf(routing).filter((slot) => slot.token === token);
            const whole = normalize ? sum(chosen.map((slot) => scores[token][slot.expert])) : 1;
            expect(gate).toBeCloseTo(scores[token][expert] / whole, 13);
          }
        },
      ),
    );
  });

  test("have the gradient that differences give, normalised or not", () => {
    const logits = precise([
      [0.3, -1, 2],
      [-3, 0.5, 1],
    ]);
    for (const normalize of [false, true]) {
      const router = topKRouter({ scoreFn: "sigmoid", normalize });
      const report = gradcheck((x: Tensor) => router(x).gate, [logits], { atol: 1e-9, rtol: 1e-7 });
      expect(report.crossed).toEqual([]);
      gradcheck((x: Tensor) => router(x).losses.balance, [logits], { atol: 1e-9, rtol: 1e-7 });
    }
  });

  test.each(["float32", "float64"] as const)(
    "stay finite at ±1e4 in %s: gates, probs, losses and gradients",
    (dtype) => {
      const extreme = fc.constantFrom(-1e4, 1e4, 0);
      fc.assert(
        fc.property(tensorOf([4, 3], extreme, dtype), fc.boolean(), (logits, normalize) => {
          const router = topKRouter({ scoreFn: "sigmoid", normalize });
          const routing = router(logits);
          const value = (x: Tensor): Tensor => {
            const { gate, losses } = router(x);
            return gate.square().sum().add(losses.balance);
          };
          const all = [routing.gate, routing.probs, value(logits), routing.losses.z, grad(value)(logits)].flatMap(
            numbers,
          );
          expect(all.filter((x) => !Number.isFinite(x))).toEqual([]);
          rowsOf(routing.probs).forEach((row) => {
            expect(sum(row)).toBeCloseTo(1, 6);
          });
          if (!normalize) return;
          for (let t = 0; t < 4; t++) {
            const gates = slotsOf(routing).flatMap(({ token, gate }) => (token === t ? [gate] : []));
            expect(sum(gates)).toBeCloseTo(1, 6);
          }
        }),
        { numRuns: 30 },
      );
    },
  );
});

describe("expertBias", () => {
  const drawn = fc.record({ T: fc.integer({ min: 1, max: 6 }), E: fc.integer({ min: 2, max: 5 }) }).chain(({ T, E }) =>
    fc.record({
      logits: tensorOf([T, E], general, "float64"),
      bias: tensorOf([E], general, "float64"),
      scoreFn: fc.constantFrom<("softmax" | "sigmoid")[]>("softmax", "sigmoid"),
    }),
  );
  const gatesByExpert = (routing: Routing, t: number) =>
    slotsOf(routing)
      .filter(({ token }) => token === t)
      .sort((a, b) => a.expert - b.expert)
      .map(({ expert, gate }) => [expert, gate]);

  test("changes who is chosen and no gate beyond that: an unchanged choice keeps its gates", () => {
    let [kept, moved] = [0, 0];
    fc.assert(
      fc.property(drawn, ({ logits, bias, scoreFn }) => {
        const options = { k: 2, scoreFn, normalize: false };
        const [plain, biased] = [undefined, bias].map((expertBias) => topKRouter({ ...options, expertBias })(logits));
        expect([numbers(biased.probs), numbers(biased.logits)]).toEqual([numbers(plain.probs), numbers(plain.logits)]);
        for (let t = 0; t < logits.shape[0]; t++) {
          const [a, b] = [plain, biased].map((routing) => gatesByExpert(routing, t));
          const same = a.every(([e], i) => e === b[i][0]);
          if (same) expect(b).toEqual(a);
          if (same) kept++;
          else moved++;
        }
      }),
    );
    expect(Math.min(kept, moved)).toBeGreaterThan(20);
  });

  test("the same for all experts changes nothing, and a large one has its way", () => {
    fc.assert(
      fc.property(drawn, fc.nat(), ({ logits, scoreFn }, pick) => {
        const E = logits.shape[1];
        const withBias = (list: number[]) =>
          topKRouter({ k: 1, scoreFn, expertBias: tensor(list, { dtype: "float64" }) })(logits);
        expect(contentOf(withBias(new Array(E).fill(0.5)))).toEqual(contentOf(topKRouter({ k: 1, scoreFn })(logits)));
        const favourite = pick % E;
        const all = withBias(range(E).map((e) => (e === favourite ? 9 : 0)));
        expect(numbers(all.expertOfSlot)).toEqual(new Array(logits.shape[0]).fill(favourite));
      }),
      { numRuns: 40 },
    );
  });

  test("gets no gradient, and is read anew at every call", () => {
    const expertBias = tensor([0, 0, 0.5], { requiresGrad: true });
    const router = topKRouter({ k: 1, expertBias });
    const logits = tensor([[0.2, 0.1, 0]], { requiresGrad: true });
    const routing = router(logits);
    expect(numbers(routing.expertOfSlot)).toEqual([2]);
    routing.gate.sum().add(routing.losses.balance).backward();
    expect([expertBias.grad, logits.grad === null]).toEqual([null, false]);
    expertBias.assign(tensor([1, 0, 0.5]));
    expect(numbers(router(logits).expertOfSlot)).toEqual([0]);
  });

  test("refuses another length and what is no tensor", () => {
    expect(() => topKRouter({ k: 1, expertBias: zeros([2]) })(zeros([4, 3]))).toThrow(
      new RangeError("topKRouter: expertBias has shape [2], expected [3] (one number per expert)"),
    );
    expect(() => topKRouter({ k: 1, expertBias: [0, 0, 0] as unknown as Tensor })(zeros([4, 3]))).toThrow(TypeError);
    expect(() => topKRouter({ k: 1, expertBias: tensor([NaN, 0, 0]) })(zeros([4, 3]))).toThrow(
      new RangeError("topKRouter: expertBias has NaN at index 0, expected numbers that can be ordered"),
    );
  });
});

describe("noise", () => {
  const types = ["uniform", "gaussian", "gumbel"] as const;

  test.each(types)("%s: in training only, and in the choice only", (type) => {
    fc.assert(
      fc.property(tensorOf([6, 4], general), fc.integer(), (logits, seed) => {
        const router = topKRouter({ noise: type });
        const rng = new Generator(seed);
        expect(contentOf(router(logits, { rng }))).toEqual(contentOf(topKRouter()(logits)));
        expect(rng.bits()).toBe(new Generator(seed).bits());
        const noisy = router(logits, training(seed));
        expect(contentOf(router(logits, training(seed)))).toEqual(contentOf(noisy));
        // Gates are those of the clean logits, for whoever was chosen.
        expect(noisy.noise).toBeNull();
        expect(contentOf(withLogits(noisy, logits))).toEqual(contentOf(noisy));
        expect(numbers(noisy.logits)).toEqual(numbers(logits));
      }),
      { numRuns: 20 },
    );
    const logits = tensor(Float32Array.from({ length: 400 }, (_, i) => Math.sin(i))).reshape([100, 4]);
    const chosen = (seed: number) => integersOf(topKRouter({ noise: type })(logits, training(seed)));
    expect(chosen(1)).not.toEqual(chosen(2));
    expect(chosen(1)).not.toEqual(integersOf(topKRouter()(logits)));
  });

  test("none, and any of scale 0, is no noise; the scale is 1 unless given", () => {
    const logits = tensor(Float32Array.from({ length: 40 }, (_, i) => Math.sin(i))).reshape([10, 4]);
    const content = (noise: TopKRouterOptions["noise"]) => contentOf(topKRouter({ noise })(logits, training()));
    expect(content("none")).toEqual(contentOf(topKRouter()(logits)));
    for (const type of types) {
      expect(content({ type, scale: 0 })).toEqual(content("none"));
      expect(content(type)).toEqual(content({ type, scale: 1 }));
    }
  });

  test("draws one number for each logit, and none at scale 0", () => {
    const next: Record<(typeof types)[number], (rng: Generator) => number> = {
      uniform: (rng) => rng.uniform(),
      gaussian: (rng) => rng.normal(),
      gumbel: (rng) => rng.gumbel(),
    };
    for (const type of types) {
      for (const scale of [0, 2]) {
        const [rng, beside] = [new Generator(4), new Generator(4)];
        topKRouter({ noise: { type, scale } })(zeros([3, 4]), { training: true, rng });
        for (let i = 0; i < (scale === 0 ? 0 : 12); i++) next[type](beside);
        expect(rng.bits()).toBe(beside.bits());
      }
    }
  });

  /** How often each expert is chosen by T tokens with the same logits. */
  function frequencies(row: number[], T: number, noise: TopKRouterOptions["noise"], seed: number): number[] {
    const logits = precise(new Array<number[]>(T).fill(row));
    return loadOf(topKRouter({ k: 1, noise })(logits, training(seed))).map((n) => n / T);
  }
  const T = 4000;
  /** Four standard deviations of a frequency. */
  const width = (p: number): number => 4 * Math.sqrt((p * (1 - p)) / T);

  test("gumbel of scale 1 draws from softmax(logits), of scale s from softmax(logits / s)", () => {
    const row = [1, 0, -1, 0.5];
    for (const [seed, scale] of [1, 2, 0.5].entries()) {
      const weights = row.map((x) => Math.exp(x / scale));
      frequencies(row, T, { type: "gumbel", scale }, seed).forEach((frequency, e) => {
        const p = weights[e] / sum(weights);
        expect(Math.abs(frequency - p)).toBeLessThan(width(p));
      });
    }
  });

  test("gaussian of scale s: expert 0, ahead by d, wins with chance Φ(d / (s·√2))", () => {
    for (const [seed, [d, scale]] of [
      [0.5, 1],
      [1, 0.5],
      [0, 2],
    ].entries()) {
      const p = normalCdf(tensor(d / (scale * Math.SQRT2), { dtype: "float64" })).item();
      const [frequency] = frequencies([d, 0], T, { type: "gaussian", scale }, seed);
      expect(Math.abs(frequency - p)).toBeLessThan(width(p));
    }
  });

  test("uniform of scale s: expert 0, ahead by d, wins with chance 1 − (1 − d/s)²/2, and always from d = s on", () => {
    for (const [seed, [d, scale]] of [
      [0.5, 1],
      [0.5, 2],
      [1, 1],
      [3, 2],
    ].entries()) {
      const p = 1 - Math.max(0, 1 - d / scale) ** 2 / 2;
      const [frequency] = frequencies([d, 0], T, { type: "uniform", scale }, seed);
      expect(Math.abs(frequency - p)).toBeLessThanOrEqual(width(p));
    }
  });

  test("masked tokens draw nothing: the kept ones choose as if they stood alone", () => {
    const logits = tensor(Float32Array.from({ length: 24 }, (_, i) => Math.cos(i))).reshape([6, 4]);
    const router = topKRouter({ noise: "gumbel" });
    const masked = router(logits, { ...training(), mask: [false, true, true, false, true, true] });
    const alone = router(logits.indexSelect(0, tensor(Int32Array.of(1, 2, 4, 5))), training());
    expect(numbers(masked.expertOfSlot)).toEqual(numbers(alone.expertOfSlot));
    expect(numbers(masked.gate)).toEqual(numbers(alone.gate));
  });
});

describe("switchRouter", () => {
  test("is top-1 with capacity factor 1.25 in training and 2 in evaluation", () => {
    fc.assert(
      fc.property(cases, ({ logits, mask }) => {
        const router = switchRouter();
        for (const [ctx, capacityFactor] of [
          [training(), 1.25],
          [{}, 2],
        ] as const) {
          const routing = router(logits, { ...ctx, mask });
          expect(routing.router).toBe("switchRouter");
          expect(contentOf(routing)).toEqual(contentOf(topKRouter({ k: 1, capacityFactor })(logits, { mask })));
        }
      }),
      { numRuns: 30 },
    );
  });

  test("takes factors, a least capacity and noise of your own, and nothing else", () => {
    const logits = tensor(Float32Array.from({ length: 24 }, (_, i) => Math.cos(i))).reshape([8, 3]);
    const options = { capacityFactor: 0.5, evalCapacityFactor: 0.25, minCapacity: 2, noise: "gumbel" } as const;
    for (const ctx of [{}, training(3)]) {
      const again = { ...ctx, ...(ctx.training ? training(3) : {}) };
      expect(contentOf(switchRouter(options)(logits, ctx))).toEqual(
        contentOf(topKRouter({ k: 1, ...options })(logits, again)),
      );
    }
    expect(() => switchRouter({ k: 1 } as object)).toThrow(
      new TypeError(
        'switchRouter: options has the name "k", expected noise, capacityFactor, evalCapacityFactor, minCapacity',
      ),
    );
  });
});

describe("hashRouter", () => {
  const ids = (list: readonly number[]): Tensor => tensor(Int32Array.from(list));
  const expertsOf = (routing: Routing): number[] => {
    const list = new Array<number>(routing.numTokens);
    for (const { token, expert } of slotsOf(routing)) list[token] = expert;
    return list;
  };
  const drawn = fc.record({
    E: fc.integer({ min: 1, max: 6 }),
    list: fc.array(fc.oneof(fc.nat(9), fc.nat(2 ** 31 - 1)), { maxLength: 9 }),
  });

  test("mod: the id mod E, one slot per token, gates of 1, nobody dropped", () => {
    fc.assert(
      fc.property(drawn, ({ E, list }) => {
        const routing = hashRouter()(zeros([list.length, E]), { tokenIds: ids(list) });
        expect(expertsOf(routing)).toEqual(list.map((id) => id % E));
        expect(numbers(routing.gate)).toEqual(list.map(() => 1));
        expect([routing.numSlots, sum(loadOf(routing))]).toEqual([list.length, list.length]);
      }),
    );
  });

  test.each(["mod", "random"] as const)("%s: a token's expert depends on its id alone", (method) => {
    fc.assert(
      fc.property(drawn, fc.nat(), tensorOf([9, 6], general), ({ E, list }, turn, noise) => {
        const router = hashRouter({ method, seed: 7 });
        const of = (tokens: readonly number[], logits: Tensor) => expertsOf(router(logits, { tokenIds: ids(tokens) }));
        const plain = of(list, zeros([list.length, E]));
        // Whatever the logits are, in training, and at any place among any others.
        expect(of(list, noise.slice({ end: list.length }).slice({ dim: 1, end: E }))).toEqual(plain);
        const cut = list.length === 0 ? 0 : turn % list.length;
        const turned = [...list.slice(cut), ...list.slice(0, cut), 3];
        expect(of(turned, zeros([turned.length, E])).slice(0, -1)).toEqual([
          ...plain.slice(cut),
          ...plain.slice(0, cut),
        ]);
        const logits = zeros([list.length, E]);
        expect(expertsOf(router(logits, { ...training(), tokenIds: ids(list) }))).toEqual(plain);
      }),
      { numRuns: 30 },
    );
  });

  test("random: about even over the ids, and another table for another seed", () => {
    const [V, E] = [4000, 5];
    const table = (seed?: number) =>
      expertsOf(hashRouter({ method: "random", seed })(zeros([V, E]), { tokenIds: ids(range(V)) }));
    const [a, b, c] = [undefined, 1, 2].map(table);
    const counts = range(E).map((e) => a.filter((x) => x === e).length);
    // Four standard deviations of a binomial count.
    const width = 4 * Math.sqrt(V * (1 / E) * (1 - 1 / E));
    for (const count of counts) expect(Math.abs(count - V / E)).toBeLessThan(width);
    expect(table(0)).toEqual(a);
    const same = b.filter((e, id) => e === c[id]).length;
    expect(Math.abs(same - V / E)).toBeLessThan(width);
  });

  test("leaves masked tokens out", () => {
    const routing = hashRouter()(zeros([4, 3]), { tokenIds: ids([5, 4, 3, 2]), mask: [true, false, true, false] });
    expect(slotsOf(routing).map(({ token, expert }) => [token, expert])).toEqual([
      [2, 0],
      [0, 2],
    ]);
  });

  test("gives the router's weights no gradient through its gates", () => {
    const logits = tensor([[1, 2, 3]], { requiresGrad: true });
    const { gate, losses } = hashRouter()(logits, { tokenIds: ids([1]) });
    expect(gate.requiresGrad).toBe(false);
    expect(losses.balance.requiresGrad).toBe(true);
  });

  test("refuses to run without ids, or with ids that are none", () => {
    const run = (tokenIds?: Tensor) => () => hashRouter()(zeros([2, 3]), { tokenIds });
    expect(run()).toThrow(
      new TypeError("hashRouter: tokenIds has no value, expected int32 [T] (pass them to forward())"),
    );
    expect(run(zeros([2]))).toThrow(new TypeError("hashRouter: tokenIds has dtype float32, expected int32"));
    expect(run(ids([1]))).toThrow(new RangeError("hashRouter: tokenIds has shape [1], expected [2] (one per token)"));
    expect(run(ids([1, -1]))).toThrow(
      new RangeError("hashRouter: tokenIds has -1 at index 1, expected ids of at least 0"),
    );
    expect(run(ids([-2, 1]))).toThrow(
      new RangeError("hashRouter: tokenIds has -2 at index 0, expected ids of at least 0"),
    );
    const { storage, shape } = ids([0, 1]);
    const away = { dtype: storage.dtype, length: 2, host: null, read: () => storage.read() };
    expect(run(new Tensor({ storage: away, shape }))).toThrow(
      new Error("hashRouter: tokenIds has its numbers on a device, expected the host"),
    );
    expect(() => hashRouter({ method: "balanced" as "mod" })).toThrow(
      new TypeError('hashRouter: method has "balanced", expected "mod" or "random"'),
    );
    expect(() => hashRouter({ seed: 0.5 })).toThrow(RangeError);
  });
});

describe("randomRouter", () => {
  test("gives each token k different experts, with gates of 1/k, and drops nobody", () => {
    fc.assert(
      fc.property(cases, fc.boolean(), fc.integer(), ({ logits, mask, k }, train, seed) => {
        const routing = randomRouter({ k })(logits, { training: train, rng: new Generator(seed), mask });
        const kept = range(routing.numTokens).filter((t) => mask?.[t] ?? true);
        for (const t of range(routing.numTokens)) {
          const own = slotsOf(routing).filter(({ token }) => token === t);
          expect(own.length).toBe(kept.includes(t) ? k : 0);
          expect(new Set(own.map(({ expert }) => expert)).size).toBe(own.length);
          for (const { gate, granted } of own) expect([granted, gate]).toEqual([true, expect.closeTo(1 / k, 6)]);
        }
      }),
    );
  });

  test("is uniform over experts, and over pairs of them", () => {
    const [T, E, k] = [6000, 4, 2];
    const routing = randomRouter({ k })(zeros([T, E]), training(5));
    const pairs = new Map<string, number>();
    const slots = numbers(routing.slotsOfToken);
    const experts = numbers(routing.expertOfSlot);
    for (const t of range(T)) {
      const pair = [experts[slots[2 * t]], experts[slots[2 * t + 1]]].join();
      pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    }
    // 12 ordered pairs, each with chance 1/12.
    expect(pairs.size).toBe(12);
    for (const count of pairs.values()) {
      expect(Math.abs(count - T / 12)).toBeLessThan(4 * Math.sqrt((T * 11) / 144));
    }
  });

  test("draws anew in training, and repeats itself in evaluation", () => {
    const logits = zeros([40, 4]);
    const router = randomRouter({ seed: 3 });
    const rng = new Generator(1);
    const [first, second] = [0, 1].map(() => integersOf(router(logits, { training: true, rng })));
    expect(second).not.toEqual(first);
    const still = integersOf(router(logits));
    expect(integersOf(router(logits.add(1), { rng: new Generator(9) }))).toEqual(still);
    expect(integersOf(randomRouter({ seed: 4 })(logits))).not.toEqual(still);
  });

  test("draws from the context's generator in training, so that a seed repeats it", () => {
    const draw = (seed: number) => integersOf(randomRouter()(zeros([40, 4]), training(seed)));
    expect(draw(5)).toEqual(draw(5));
    expect(draw(5)).not.toEqual(draw(6));
  });

  test.each([
    ["hashRouter", hashRouter],
    ["randomRouter", randomRouter],
  ])("%s takes seeds of 32 bits", (name, make) => {
    for (const seed of [-(2 ** 31), 2 ** 31 - 1]) expect(make({ seed })).toBeTypeOf("function");
    for (const seed of [-(2 ** 31) - 1, 2 ** 31]) {
      expect(() => make({ seed })).toThrow(
        new RangeError(`${name}: seed has ${seed}, expected an integer from -2147483648 to 2147483647`),
      );
    }
  });

  test("refuses more experts per token than there are", () => {
    expect(() => randomRouter({ k: 5 })(zeros([2, 4]))).toThrow(
      new RangeError("randomRouter: k has 5, expected at most 4 (the number of experts)"),
    );
    expect(() => randomRouter({ k: 0 })).toThrow(
      new RangeError("randomRouter: k has 0, expected an integer of at least 1 (experts per token)"),
    );
  });
});

describe("looksAhead", () => {
  const tight = { capacityFactor: 1 };
  const routers: [options: TopKRouterOptions, ahead: boolean][] = [
    [{}, false],
    [{ priority: "gate" }, false],
    [{ k: 1, ...tight }, false],
    [tight, false],
    [{ ...tight, dropPolicy: "next-best", k: 1 }, false],
    [{ ...tight, dropPolicy: "next-best" }, true],
    [{ ...tight, priority: "gate" }, true],
    [{ ...tight, priority: "gate", k: 1 }, true],
    [{ ...tight, dropPolicy: "gate" }, true],
    [{ ...tight, dropPolicy: "gate", k: 1 }, true],
    [{ ...tight, dropPolicy: "random" }, true],
    [{ ...tight, dropPolicy: "random", k: 1 }, true],
    [{ evalCapacityFactor: 1, dropPolicy: "gate" }, true],
    [{ capacityFactor: 1, evalCapacityFactor: Infinity, dropPolicy: "gate" }, true],
  ];

  test.each(routers)("of %o is %s, and the law of what it says holds", (options, ahead) => {
    const router = topKRouter(options);
    expect(router.looksAhead).toBe(ahead);
    // Who asks for another expert instead competes for room, and asks for less when others are edited.
    const promised = options.dropPolicy === "next-best" ? [] : ["no look ahead"];
    checkRouter(router, { only: [...promised, "the leak is there"], seed: 1, numRuns: 40 });
  });

  test.each(routers)(
    "of %o: a causal Transformer refuses it when that is %s, unless the leak is wanted",
    (options, ahead) => {
      const sizes = {
        vocab: 4,
        dim: 2,
        numLayers: 1,
        numHeads: 1,
        moe: { numExperts: 3, router: topKRouter(options) },
      };
      const make = (more: object) => () => new Transformer({ ...sizes, ...more });
      if (ahead) expect(make({})).toThrow(/^Transformer: router has one that looks at later tokens/);
      else expect(make({})).not.toThrow();
      for (const more of [{ allowLeak: true }, { causal: false }]) expect(make(more)).not.toThrow();
    },
  );

  test("none of a router that is given room by position: Switch, GShard", () => {
    expect([switchRouter().looksAhead, gshardRouter().looksAhead ?? false]).toEqual([false, false]);
  });
});
