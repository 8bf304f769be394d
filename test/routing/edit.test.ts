/** Routings as values: written down, compared, and edited. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareRoutings,
  expertChoiceRouter,
  Generator,
  gshardRouter,
  hashRouter,
  MoE,
  noisyTopKRouter,
  type Routing,
  type RoutingJSON,
  randn,
  randomRouter,
  routingFromJSON,
  routingToJSON,
  sendToken,
  type Tensor,
  tensor,
  topKRouter,
  withCapacity,
  withLogits,
  withoutExpert,
  withTopK,
  zeros,
} from "../../src/index.ts";
import { general, logit, numbers, tensorOf } from "../arbitraries.ts";
import { naiveMoE, weightsOf } from "../nn/naive.ts";
import {
  contentOf,
  context,
  inputsOf,
  integersOf,
  loadOf,
  named,
  type RouterCase,
  ranking,
  routers,
  rowsOf,
  runs,
  slotsOf,
} from "./table.ts";

const precise = (rows: number[][]): Tensor => tensor(rows, { dtype: "float64" });
const throughJSON = (routing: Routing): Routing =>
  routingFromJSON(JSON.parse(JSON.stringify(routingToJSON(routing))) as RoutingJSON);

/** All that a routing says, beside its name. */
const everything = (routing: Routing) => ({
  ...contentOf(routing),
  sizes: [routing.numTokens, routing.numExperts, routing.numSlots, routing.capacity],
  rule: routing.rule,
  keptTokens: routing.keptTokens && numbers(routing.keptTokens),
  dtype: routing.logits.dtype,
  logits: rowsOf(routing.logits),
  probs: rowsOf(routing.probs),
  noise: routing.noise && rowsOf(routing.noise),
});

/** The granted slots as text, in an order of their own. */
const grants = (routing: Routing): string[] =>
  slotsOf(routing)
    .flatMap(({ token, expert, granted }) => (granted ? [`${token}→${expert}`] : []))
    .sort();

/** A token's slots, first choice first. */
function slotsOfToken(routing: Routing, token: number) {
  const [slots, starts, all] = [numbers(routing.slotsOfToken), numbers(routing.tokenOffsets), slotsOf(routing)];
  return slots.slice(starts[token], starts[token + 1]).map((s) => all[s]);
}

/** Routings that a router of the table gives. */
const routingsOf = (c: RouterCase, options?: Parameters<typeof inputsOf>[1]): fc.Arbitrary<Routing> =>
  inputsOf(c, options).map(({ logits, mask, E }) => c.make(E)(logits, context(c, mask)));

/** Logits with closed experts among them, of which each token has one that is open. */
const withClosed = (c: RouterCase) =>
  inputsOf(c, { element: fc.oneof({ weight: 4, arbitrary: logit }, { weight: 1, arbitrary: fc.constant(-Infinity) }) })
    .filter(({ logits }) => rowsOf(logits).every((row) => row.some(Number.isFinite)))
    .map(({ logits, mask, E }) => c.make(E)(logits, context(c, mask)));

describe("written down and read again", () => {
  test.each(named(routers))("%s: every number is the same, −∞ too", (_, c) => {
    fc.assert(
      fc.property(withClosed(c), (routing) => {
        const again = throughJSON(routing);
        expect(everything(again)).toEqual(everything(routing));
        expect(again.router).toBe(routing.router);
      }),
      runs(0.08),
    );
  });

  test("routers with noise, sigmoids or gates of 1, and numbers that are no short decimals", () => {
    const rng = new Generator(1);
    for (const dtype of ["float32", "float64"] as const) {
      const [logits, x] = [randn([7, 4], { rng, dtype }), randn([7, 3], { rng, dtype })];
      const tokenIds = tensor(Int32Array.of(1, 2, 3, 4, 5, 6, 7));
      const mask = [true, true, false, true, true, true, false];
      const made = [
        noisyTopKRouter({ dim: 3, numExperts: 4, dtype }),
        topKRouter({ scoreFn: "sigmoid", dropPolicy: "gate", capacityFactor: 0.5 }),
        topKRouter({ k: 3, dropPolicy: "next-best", capacityFactor: 0.5, noise: "gumbel" }),
        hashRouter(),
        randomRouter({ k: 2 }),
      ].map((router) => router(logits, { training: true, rng, mask, x, tokenIds }));
      for (const routing of made) expect(everything(throughJSON(routing))).toEqual(everything(routing));
      expect(made[0].noise).not.toBeNull();
    }
  });

  test("is plain data without a graph: a copy that later steps do not reach", () => {
    const logits = tensor([[1, 2, 3]], { requiresGrad: true });
    const routing = topKRouter()(logits.mul(1));
    const json = routingToJSON(routing);
    expect(json).toEqual({
      router: "topKRouter",
      numTokens: 1,
      numExperts: 3,
      capacity: 1,
      rule: { score: "softmax", normalize: true, balanceOver: "choices", choiceBy: "token" },
      keptTokens: null,
      logits: [1, 2, 3],
      noise: null,
      dtype: "float32",
      tokenOfSlot: [0, 0],
      expertOfSlot: [1, 2],
      offsets: [0, 0, 1, 2],
      slotsOfToken: [1, 0],
      tokenOffsets: [0, 2],
    });
    const again = routingFromJSON(json);
    expect([again.gate.requiresGrad, again.losses.balance.requiresGrad]).toEqual([false, false]);
    json.tokenOfSlot[0] = 9;
    expect([numbers(routing.tokenOfSlot), numbers(again.tokenOfSlot)]).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  test("refuses what is missing, or does not fit the rest", () => {
    const json = routingToJSON(topKRouter()(zeros([2, 3])));
    const read = (changes: object) => () => routingFromJSON({ ...json, ...changes } as RoutingJSON);
    expect(read({})).not.toThrow();
    for (const [value, shown] of [
      [null, "null"],
      [3, "3"],
      ["[]", '"[]"'],
    ] as const) {
      expect(() => routingFromJSON(value as unknown as RoutingJSON)).toThrow(
        new TypeError(`routingFromJSON: json has ${shown}, expected an object of routingToJSON`),
      );
    }
    const list = { length: 3, 0: 0 };
    expect(read({ offsets: list })).toThrow(
      new TypeError("routingFromJSON: offsets has a Object, expected a list of numbers"),
    );
    expect(read({ offsets: [0, 4] })).toThrow(new RangeError("routingFromJSON: offsets has shape [2], expected [4]"));
    for (const name of ["logits", "tokenOfSlot", "expertOfSlot", "offsets", "slotsOfToken", "tokenOffsets"] as const) {
      expect(read({ [name]: undefined })).toThrow(TypeError);
      expect(read({ [name]: [...json[name], 0] })).toThrow(RangeError);
    }
    expect(read({ numTokens: undefined })).toThrow(TypeError);
    expect(read({ numExperts: 0 })).toThrow(RangeError);
    expect(read({ numTokens: 3 })).toThrow(RangeError);
  });
});

describe("compareRoutings", () => {
  test.each(named(routers))("%s: a routing is the same as itself, and as its replay", (_, c) => {
    fc.assert(
      fc.property(routingsOf(c), (routing) => {
        const same = { same: true, moved: [], overlap: 1, maxGateDifference: 0 };
        expect(compareRoutings(routing, withLogits(routing, routing.logits))).toEqual(same);
      }),
      runs(0.05),
    );
  });

  test("names the tokens that moved, what both grant over what either does, and the largest change of a gate", () => {
    const before = topKRouter({ k: 1 })(
      precise([
        [Math.log(3), 0, -Infinity],
        [0, Math.log(3), -Infinity],
        [0, -Infinity, Math.log(9)],
      ]),
    );
    const after = topKRouter({ k: 1 })(
      precise([
        [Math.log(7), 0, -Infinity],
        [Math.log(2), 0, -Infinity],
        [0, -Infinity, Math.log(9)],
      ]),
    );
    const { maxGateDifference, ...rest } = compareRoutings(before, after);
    // Granted by both 2 slots, by either 4; token 0's gate goes from 3/4 to 7/8.
    expect(rest).toEqual({ same: false, moved: [{ token: 1, before: [1], after: [0] }], overlap: 0.5 });
    expect(maxGateDifference).toBeCloseTo(1 / 8, 14);
  });

  test("is symmetric, and counts what was granted alone", () => {
    const router = topKRouter({ k: 2, capacityFactor: 0.5 });
    fc.assert(
      fc.property(fc.tuple(tensorOf([5, 3], general), tensorOf([5, 3], general)), (logits) => {
        const [a, b] = logits.map((x) => router(x));
        const [there, back] = [compareRoutings(a, b), compareRoutings(b, a)];
        const [x, y] = [a, b].map(grants);
        const common = x.filter((pair) => y.includes(pair)).length;
        expect(there.overlap).toBe(common / (x.length + y.length - common));
        expect(there.same).toBe(x.join() === y.join());
        expect([back.same, back.overlap, back.maxGateDifference]).toEqual([
          there.same,
          there.overlap,
          there.maxGateDifference,
        ]);
        expect(back.moved.map(({ token, before, after }) => ({ token, before: after, after: before }))).toEqual(
          there.moved,
        );
        for (const { token, before } of there.moved) {
          const own = slotsOfToken(a, token).flatMap(({ expert, granted }) => (granted ? [expert] : []));
          expect(before).toEqual(own.sort((e, f) => e - f));
        }
      }),
      { numRuns: 40 },
    );
  });

  test("of no tokens is the same; refuses routings of other sizes", () => {
    const empty = topKRouter()(zeros([0, 3]));
    expect(compareRoutings(empty, empty)).toEqual({ same: true, moved: [], overlap: 1, maxGateDifference: 0 });
    const [a, b] = [topKRouter()(zeros([2, 3])), topKRouter()(zeros([2, 4]))];
    expect(() => compareRoutings(a, b)).toThrow(
      new RangeError("compareRoutings: after has shape [2, 4], expected [2, 3] (the tokens and experts of the other)"),
    );
  });
});

describe("sendToken", () => {
  test.each(named(routers))("%s: moves one slot, which is granted, and nothing else", (_, c) => {
    const moves = routingsOf(c).chain((routing) => {
      const places = slotsOf(routing).map(({ token }) => token);
      return places.length === 0
        ? fc.constant(null)
        : fc.record({
            routing: fc.constant(routing),
            token: fc.constantFrom(...places),
            which: fc.nat(),
            to: fc.nat(),
          });
    });
    fc.assert(
      fc.property(moves, (move) => {
        fc.pre(move !== null);
        const { routing, token } = move;
        const own = slotsOfToken(routing, token);
        const choice = move.which % own.length;
        const taken = own.flatMap(({ expert }, i) => (i === choice ? [] : [expert]));
        const free = Array.from({ length: routing.numExperts }, (_, e) => e).filter((e) => !taken.includes(e));
        const expert = free[move.to % free.length];
        const before = everything(routing);
        const sent = sendToken(routing, token, expert, { choice });
        // The routing that was given is as it was.
        expect(everything(routing)).toEqual(before);
        const rest = grants(routing).filter((pair) => pair !== `${token}→${own[choice].expert}`);
        expect(grants(sent)).toEqual([...rest, `${token}→${expert}`].sort());
        for (let t = 0; t < routing.numTokens; t++) {
          const [old, now] = [routing, sent].map((r) => slotsOfToken(r, t));
          // In token choice it stays the choice that it was; where experts choose, a token's slots have no rank.
          if (c.k !== null && t === token) expect(now[choice]).toMatchObject({ token, expert, granted: true });
          if (t !== token) expect(now).toEqual(old);
        }
        // Gates follow from the logits, over what the token asks for now.
        const [p, asked] = [rowsOf(routing.probs)[token], [...taken, expert]];
        const whole = c.normalize ? asked.reduce((sum, e) => sum + p[e], 0) : 1;
        fc.pre(whole > 1e-30);
        const moved = slotsOf(sent).find((slot) => slot.token === token && slot.expert === expert);
        expect(Math.abs((moved?.gate as number) - p[expert] / whole)).toBeLessThan(1e-5);
      }),
      runs(0.06),
    );
  });

  test("to where it is, grants a slot that was dropped", () => {
    const routing = topKRouter({ k: 1, capacityFactor: 0.5 })(
      precise([
        [1, 0],
        [2, 0],
      ]),
    );
    expect(grants(routing)).toEqual(["0→0"]);
    expect(grants(sendToken(routing, 1, 0))).toEqual(["0→0", "1→0"]);
    expect(grants(sendToken(routing, 1, 1))).toEqual(["0→0", "1→1"]);
  });

  test("refuses a token, expert or choice that is not there, and an expert that the token has", () => {
    const routing = topKRouter()(
      precise([
        [3, 2, 1],
        [1, 2, 3],
      ]),
      { mask: [true, false] },
    );
    const refused: [() => Routing, Error][] = [
      [() => sendToken(routing, 2, 0), new RangeError("sendToken: token has 2, expected an integer from 0 to 1")],
      [() => sendToken(routing, 0, 3), new RangeError("sendToken: expert has 3, expected an integer from 0 to 2")],
      [
        () => sendToken(routing, 0, 2, { choice: 2 }),
        new RangeError("sendToken: choice has 2, expected an integer from 0 to 1 (token 0 has 2 slots)"),
      ],
      [
        () => sendToken(routing, 0, 1),
        new RangeError(
          "sendToken: expert has 1, expected one that the token does not have yet (token 0 asks for it already)",
        ),
      ],
      [
        () => sendToken(routing, 1, 0),
        new RangeError("sendToken: token has 1, which has no slot, expected a token that was routed"),
      ],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
  });
});

describe("withoutExpert", () => {
  test.each(named(routers.filter((c) => c.k !== null)))("%s: who asked for it asks for the best other one", (_, c) => {
    const cases = routingsOf(c)
      .filter((routing) => routing.numExperts > 1)
      .chain((routing) => fc.tuple(fc.constant(routing), fc.nat(routing.numExperts - 1)));
    fc.assert(
      fc.property(cases, ([routing, gone]) => {
        const without = withoutExpert(routing, gone);
        expect(loadOf(without)[gone]).toBe(0);
        for (let t = 0; t < routing.numTokens; t++) {
          const [old, now] = [routing, without].map((r) => slotsOfToken(r, t));
          const asked = new Set(old.map(({ expert }) => expert));
          const others = ranking(rowsOf(routing.probs)[t]).filter((e) => !asked.has(e) && e !== gone);
          // At the same rank, granted if it was; nothing when the token has asked for all.
          const expected = old.flatMap(({ expert, granted }) => {
            if (expert !== gone) return [[expert, granted]];
            return others.length === 0 ? [] : [[others[0], granted]];
          });
          expect(now.map(({ expert, granted }) => [expert, granted])).toEqual(expected);
        }
      }),
      runs(0.06),
    );
  });

  test("is what a dropless router gives when the expert's logits are −∞", () => {
    const cases = fc
      .record({ T: fc.nat(6), E: fc.integer({ min: 3, max: 5 }) })
      .chain(({ T, E }) => fc.tuple(tensorOf([T, E], general, "float64"), fc.nat(E - 1)));
    fc.assert(
      fc.property(cases, ([logits, gone]) => {
        const without = withoutExpert(topKRouter()(logits), gone);
        const closed = rowsOf(logits).map((row) => row.map((x, e) => (e === gone ? -Infinity : x)));
        const expected = topKRouter()(tensor(closed.flat(), { dtype: "float64" }).reshape(logits.shape));
        const comparison = compareRoutings(expected, without);
        expect([comparison.same, comparison.maxGateDifference < 1e-14]).toEqual([true, true]);
      }),
      { numRuns: 40 },
    );
  });

  test("a token that asks for all experts has one slot less; in expert choice its slots are gone", () => {
    const logits = tensor(Float32Array.from({ length: 12 }, (_, i) => Math.sin(i))).reshape([4, 3]);
    expect(withoutExpert(topKRouter({ k: 3 })(logits), 1).numSlots).toBe(8);
    const chosen = expertChoiceRouter({ capacityFactor: 1.5 })(logits);
    const without = withoutExpert(chosen, 1);
    const left = slotsOf(chosen).filter(({ expert }) => expert !== 1);
    expect(slotsOf(without)).toEqual(left);
    expect(left.length).toBeLessThan(chosen.numSlots);
  });

  test("refuses an expert that is not there, and the only one", () => {
    const routing = topKRouter({ k: 1 })(zeros([2, 2]));
    expect(() => withoutExpert(routing, 2)).toThrow(
      new RangeError("withoutExpert: expert has 2, expected an integer from 0 to 1"),
    );
    expect(() => withoutExpert(topKRouter({ k: 1 })(zeros([2, 1])), 0)).toThrow(
      new RangeError("withoutExpert: expert has 0, the only one, expected one of several"),
    );
  });
});

describe("withTopK", () => {
  const settings = fc.record({ T: fc.nat(7), E: fc.integer({ min: 3, max: 5 }) }).chain(({ T, E }) =>
    fc.record({
      logits: tensorOf([T, E], logit, "float64"),
      mask: fc.option(fc.array(fc.boolean(), { minLength: T, maxLength: T }), { nil: undefined }),
      normalize: fc.boolean(),
      k: fc.integer({ min: 1, max: 4 }),
      capacityFactor: fc.constantFrom(0.5, 1, Infinity),
    }),
  );

  test("is the router with that k, where nobody is dropped; with a k as large as it has, the routing itself", () => {
    fc.assert(
      fc.property(settings, ({ logits, mask, normalize, k }) => {
        const routing = topKRouter({ k: 3, normalize })(logits, { mask });
        const fewer = withTopK(routing, k);
        if (k >= 3) expect(everything(fewer)).toEqual(everything(routing));
        else if (k > 1 || !normalize) {
          expect(everything(fewer)).toEqual(everything(topKRouter({ k, normalize })(logits, { mask })));
        } else {
          // A router refuses to normalise one gate, since that is 1; as a question it may be asked.
          expect(integersOf(fewer)).toEqual(integersOf(topKRouter({ k: 1 })(logits, { mask })));
          expect(numbers(fewer.gate)).toEqual(new Array(fewer.numSlots).fill(1));
        }
      }),
      { numRuns: 50 },
    );
  });

  test("with a capacity: first choices are granted as before, since later rounds come after them", () => {
    fc.assert(
      fc.property(settings, ({ logits, mask, normalize, k, capacityFactor }) => {
        const routing = topKRouter({ k: 3, normalize, capacityFactor })(logits, { mask });
        const fewer = withTopK(routing, k);
        expect(fewer.capacity).toBe(routing.capacity);
        for (let t = 0; t < routing.numTokens; t++) {
          const [old, now] = [routing, fewer].map((r) =>
            slotsOfToken(r, t).map(({ expert, granted }) => [expert, granted]),
          );
          expect(now).toEqual(old.slice(0, k));
        }
      }),
      { numRuns: 50 },
    );
  });

  test("of expert choice: each token keeps the experts of its largest gates, of equal ones the lower", () => {
    const element = fc.oneof(general, fc.integer({ min: -1, max: 1 }));
    const cases = fc
      .record({
        T: fc.integer({ min: 1, max: 7 }),
        E: fc.integer({ min: 1, max: 5 }),
        k: fc.integer({ min: 1, max: 3 }),
      })
      .chain(({ T, E, k }) => fc.tuple(tensorOf([T, E], element, "float64"), fc.constant(k)));
    fc.assert(
      fc.property(cases, fc.boolean(), ([logits, k], dropped) => {
        const chosen = expertChoiceRouter({ capacityFactor: Math.min(2, logits.shape[1]) })(logits);
        const routing = dropped ? withCapacity(chosen, 0.5) : chosen;
        const fewer = withTopK(routing, k);
        for (let t = 0; t < routing.numTokens; t++) {
          const own = slotsOf(routing).filter(({ token }) => token === t);
          const best = own.sort((a, b) => b.gate - a.gate || a.expert - b.expert).slice(0, k);
          const left = slotsOf(fewer).filter(({ token }) => token === t);
          const byExpert = (list: typeof own) => list.map(({ expert, gate }) => [expert, gate]).sort();
          expect(byExpert(left)).toEqual(byExpert(best));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("refuses a k below 1", () => {
    expect(() => withTopK(topKRouter()(zeros([2, 3])), 0)).toThrow(
      new RangeError("withTopK: k has 0, expected an integer of at least 1"),
    );
  });
});

describe("withCapacity", () => {
  const factors = fc.constantFrom(0.25, 0.5, 1, 1.25, Infinity);

  test.each([1, 2, 3])("of top-%i is the router with that capacity factor, whatever it was before", (k) => {
    const cases = fc
      .record({ T: fc.nat(8), E: fc.integer({ min: 3, max: 5 }) })
      .chain(({ T, E }) =>
        fc.tuple(
          tensorOf([T, E], logit, "float64"),
          fc.option(fc.array(fc.boolean(), { minLength: T, maxLength: T }), { nil: undefined }),
          factors,
          factors,
        ),
      );
    fc.assert(
      fc.property(cases, ([logits, mask, before, after]) => {
        const routed = (capacityFactor: number) => topKRouter({ k, capacityFactor })(logits, { mask });
        expect(everything(withCapacity(routed(before), after))).toEqual(everything(routed(after)));
      }),
      { numRuns: 40 },
    );
  });

  test("of gshard gives those that chance passed over another chance: the routing of evaluation", () => {
    const logits = tensor(Float32Array.from({ length: 40 }, (_, i) => Math.sin(i * i))).reshape([10, 4]);
    const lucky = gshardRouter()(logits, { training: true, rng: new Generator(2) });
    expect(grants(lucky)).not.toEqual(grants(gshardRouter()(logits)));
    for (const capacityFactor of [0.5, 1, Infinity]) {
      expect(everything(withCapacity(lucky, capacityFactor))).toEqual(
        everything(gshardRouter({ capacityFactor })(logits)),
      );
    }
  });

  test("of expert choice: each expert keeps its best tokens, and cannot choose more than it did", () => {
    const cases = fc
      .record({ T: fc.integer({ min: 1, max: 8 }), E: fc.integer({ min: 1, max: 4 }) })
      .chain(({ T, E }) => fc.tuple(tensorOf([T, E], general, "float64"), fc.constantFrom(0.5, 1, 2)));
    fc.assert(
      fc.property(cases, ([logits, factor]) => {
        const chosen = expertChoiceRouter({ capacityFactor: 1 })(logits);
        const asked = expertChoiceRouter({ capacityFactor: Math.min(factor, 1) })(logits);
        expect(grants(withCapacity(chosen, factor))).toEqual(grants(asked));
        expect(withCapacity(chosen, factor).numSlots).toBe(chosen.numSlots);
      }),
      { numRuns: 40 },
    );
  });

  test("refuses a factor that is not above 0, and an infinite one of expert choice", () => {
    const [byToken, byExpert] = [topKRouter()(zeros([2, 3])), expertChoiceRouter()(zeros([2, 3]))];
    expect(() => withCapacity(byToken, 0)).toThrow(
      new RangeError("withCapacity: capacityFactor has 0, expected a number above 0, or Infinity for dropless"),
    );
    expect(() => withCapacity(byExpert, Infinity)).toThrow(
      new RangeError("withCapacity: capacityFactor has Infinity, expected a finite number above 0"),
    );
  });
});

describe("through the layer", () => {
  const D = 3;
  const moe = new MoE({ dim: D, hidden: 4, numExperts: 4, bias: true, dtype: "float64", rng: new Generator(3) });
  const x = tensor(Float64Array.from({ length: 6 * D }, (_, i) => Math.sin(2 * i))).reshape([6, D]);
  const { routing, output } = moe.forward(x);
  const edits: [name: string, edited: Routing][] = [
    ["sendToken", sendToken(routing, 2, [0, 1, 2, 3].find((e) => !grants(routing).includes(`2→${e}`)) as number)],
    ["withoutExpert", withoutExpert(routing, numbers(routing.expertOfSlot)[0])],
    ["withTopK", withTopK(routing, 1)],
    ["withCapacity", withCapacity(routing, 0.5)],
    ["routingFromJSON", throughJSON(routing)],
  ];

  test.each(edits)("%s: the loss of a replay is that of the formula with the edited table", (name, edited) => {
    const loss = (y: Tensor): number => y.square().sum().item();
    const replayed = moe.forward(x, { routing: edited });
    const expected = naiveMoE(x, weightsOf(moe), edited, { normalize: true });
    expect(integersOf(replayed.routing)).toEqual(integersOf(edited));
    expect(loss(replayed.output) - loss(output)).toBeCloseTo(loss(expected) - loss(output), 12);
    const { same, moved } = compareRoutings(routing, edited);
    expect(same).toBe(name === "routingFromJSON");
    // Whose experts and gates did not change comes out the same, to the last bit.
    const gates = (r: Routing, t: number) => slotsOfToken(r, t).map(({ expert, gate }) => [expert, gate]);
    const [before, after] = [output, replayed.output].map(rowsOf);
    let touched = 0;
    for (let t = 0; t < 6; t++) {
      const unchanged = JSON.stringify(gates(routing, t)) === JSON.stringify(gates(edited, t));
      if (unchanged) expect(after[t]).toEqual(before[t]);
      else expect(after[t]).not.toEqual(before[t]);
      if (!unchanged) touched++;
    }
    expect(touched).toBe(moved.length);
  });

  test("gates of a replay carry the gradient to the router", () => {
    const { output: y } = moe.forward(x, { routing: withoutExpert(routing, 0) });
    moe.zeroGrad();
    y.square().sum().backward();
    const gradient = numbers(moe.router.weight.grad as Tensor);
    // Nobody asks for expert 0, so its logits are in no gate.
    expect(gradient.filter((_, i) => i % 4 === 0)).toEqual([0, 0, 0]);
    expect(Math.max(...gradient.map(Math.abs))).toBeGreaterThan(1e-6);
    moe.zeroGrad();
  });
});
