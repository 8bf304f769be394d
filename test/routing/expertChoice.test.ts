/** Expert choice: what balance by construction gives, and what it costs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expertChoiceRouter, type Tensor, tensor, topKRouter } from "../../src/index.ts";
import { general, logit, numbers, tensorOf } from "../arbitraries.ts";
import { contentOf, inputsOf, loadOf, ranking, routers, rowsOf, runs, slotsOf } from "./table.ts";

const cases = routers.filter((c) => c.k === null).map((c) => [c.name, c] as const);

describe.each(cases)("%s", (_, c) => {
  test("loads every expert with exactly C tokens, so E·C experts are shared out among the tokens", () => {
    fc.assert(
      fc.property(inputsOf(c), ({ T, E, logits, mask, kept }) => {
        const routing = c.make(E)(logits, { mask });
        const C = c.capacity(kept.length, E);
        expect(loadOf(routing)).toEqual(new Array(E).fill(C));
        const perToken = Array.from(
          { length: T },
          (_, t) => slotsOf(routing).filter(({ token }) => token === t).length,
        );
        expect(perToken.reduce((a, b) => a + b, 0)).toBe(E * C);
        expect(Math.max(0, ...perToken)).toBeLessThanOrEqual(E);
      }),
      runs(0.5),
    );
  });

  test("has balance loss 1 whatever the logits, since every expert is asked for alike", () => {
    fc.assert(
      fc.property(inputsOf(c, { element: general, masked: false }), ({ T, E, logits }) => {
        fc.pre(T > 0);
        expect(c.make(E)(logits).losses.balance.item()).toBeCloseTo(1, logits.dtype === "float64" ? 12 : 5);
      }),
      runs(0.5),
    );
  });
});

test("gates are the scores, G of TopK(softmax(X·W)ᵀ, C): not normalised either way", () => {
  const sizes = fc.record({ T: fc.integer({ min: 1, max: 8 }), E: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(
      sizes.chain(({ T, E }) => tensorOf([T, E], logit)),
      (logits) => {
        const routing = expertChoiceRouter({ capacityFactor: 1 })(logits);
        const C = routing.capacity;
        const S = rowsOf(logits.softmax());
        for (let e = 0; e < routing.numExperts; e++) {
          const column = S.map((row) => row[e]);
          const best = ranking(column).slice(0, C);
          expect(numbers(routing.tokenOfSlot).slice(e * C, (e + 1) * C)).toEqual(best);
          expect(numbers(routing.gate).slice(e * C, (e + 1) * C)).toEqual(best.map((t) => column[t]));
        }
        for (let t = 0; t < routing.numTokens; t++) {
          const sum = slotsOf(routing).reduce((total, s) => total + (s.token === t ? s.gate : 0), 0);
          expect(sum).toBeLessThanOrEqual(1 + 1e-6);
        }
      },
    ),
  );
});

test("ties go to the lower token", () => {
  const routing = expertChoiceRouter({ capacityFactor: 1 })(tensor(new Float32Array(12)).reshape([6, 2]));
  expect(numbers(routing.tokenOfSlot)).toEqual([0, 1, 2, 0, 1, 2]);
});

test("C = T is the dense softmax mixture", () => {
  const logits = tensor([
    [1, 2, 0],
    [0, -1, 3],
  ]);
  const routing = expertChoiceRouter({ capacityFactor: 3 })(logits);
  const probs = rowsOf(logits.softmax());
  expect(routing.numSlots).toBe(6);
  for (const { token, expert, gate } of slotsOf(routing)) expect(gate).toBe(probs[token][expert]);
});

describe("the leak: an expert compares all tokens, later ones included", () => {
  const before = tensor([
    [2, 0],
    [1, 0],
    [0, 3],
    [0, 1],
  ]);
  // Only the last token is edited.
  const after = tensor([
    [2, 0],
    [1, 0],
    [0, 3],
    [3, 0],
  ]);
  const expertsOf = (routing: ReturnType<ReturnType<typeof expertChoiceRouter>>, t: number): number[] =>
    slotsOf(routing).flatMap((s) => (s.token === t && s.granted ? [s.expert] : []));

  test("editing the last token changes what an earlier one gets", () => {
    const router = expertChoiceRouter({ capacityFactor: 1 });
    expect(expertsOf(router(before), 1)).toEqual([0]);
    expect(expertsOf(router(after), 1)).toEqual([1]);
  });

  test("token choice without capacity does not leak", () => {
    const router = topKRouter({ k: 1 });
    for (const t of [0, 1, 2]) expect(expertsOf(router(after), t)).toEqual(expertsOf(router(before), t));
  });
});

test("says that it looks ahead; token choice does not", () => {
  expect(expertChoiceRouter().looksAhead).toBe(true);
  expect(topKRouter().looksAhead ?? false).toBe(false);
});

test("a token's routing depends on the batch that it is in", () => {
  const logits = tensor([
    [1, 0],
    [2, 0],
    [3, 0],
    [0, 1],
  ]);
  const router = expertChoiceRouter({ capacityFactor: 1 });
  const alone = router(logits.slice({ end: 2 }) as Tensor);
  const together = router(logits);
  expect(contentOf(alone).tokenOfSlot).toEqual([1, 0]);
  expect(contentOf(together).tokenOfSlot).toEqual([2, 1, 3, 0]);
});
