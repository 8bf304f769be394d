/** The sequence-wise balance loss: a loss by every law, and the mean of the balance losses of the sequences. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Generator, gradcheck, type Logits, randn, tensor, topKRouter } from "../../src/index.ts";
import { checkLoss, distinctTensor } from "../../src/laws/index.ts";
import { deepSeekV3Router, sequenceBalance } from "../../src/routers/index.ts";

const route = topKRouter({ k: 2 });

describe("sequenceBalance", () => {
  test("of one sequence keeps the laws of balance losses", () => {
    const results = checkLoss((routing) => sequenceBalance(routing, { numSequences: 1 }), { raiseException: false });
    expect(results.flatMap(({ ok, message }) => (ok ? [] : [message]))).toEqual([]);
  });

  test("is the mean of the balance losses of the sequences, each routed by itself, masked tokens left out", () => {
    const mask = fc.array(fc.boolean(), { minLength: 6, maxLength: 6 });
    fc.assert(
      fc.property(distinctTensor([6, 3]), mask, fc.constantFrom(1, 2, 3, 6), (logits, keep, numSequences) => {
        const L = 6 / numSequences;
        const parts = Array.from({ length: numSequences }, (_, b) => {
          const own = keep.slice(b * L, (b + 1) * L);
          if (!own.includes(true)) return [];
          return [route(logits.slice({ start: b * L, end: (b + 1) * L }), { mask: own }).losses.balance.item()];
        }).flat();
        const mean = parts.reduce((a, b) => a + b, 0) / Math.max(1, parts.length);
        expect(sequenceBalance(route(logits, { mask: keep }), { numSequences }).item()).toBeCloseTo(mean, 12);
      }),
    );
  });

  test("sees sequences that are not in balance in a batch that is", () => {
    const [a, b] = [
      [9, -9],
      [-9, 9],
    ];
    const routing = topKRouter({ k: 1 })(tensor([a, a, b, b]));
    expect(routing.losses.balance.item()).toBeCloseTo(1, 6);
    expect(sequenceBalance(routing, { numSequences: 2 }).item()).toBeCloseTo(2, 6);
  });

  test("has the gradient that differences give, of sigmoid shares too", () => {
    const router = deepSeekV3Router({ numExperts: 4, k: 2, scale: 2.5 });
    const logits = randn([6, 4], { rng: new Generator(2), dtype: "float64" });
    const loss = (x: Logits) =>
      sequenceBalance(router(x, { mask: [true, true, false, true, true, true] }), { numSequences: 3 });
    expect(gradcheck(loss, [logits]).ok).toBe(true);
  });

  test("refuses numbers of sequences that do not divide the tokens, and what is no routing", () => {
    const routing = route(tensor([[1, 2]]));
    expect(() => sequenceBalance(routing, { numSequences: 2 })).toThrow("numSequences has 2, expected a divisor of 1");
    expect(() => sequenceBalance(routing, { numSequences: 0 })).toThrow("numSequences has 0");
    expect(() => sequenceBalance(routing, {} as never)).toThrow("numSequences has undefined");
    expect(() => sequenceBalance(null as never, { numSequences: 1 })).toThrow(TypeError);
  });
});
