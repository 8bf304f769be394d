/** The laws of routers, run over every router in the table. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Generator, tensor } from "../../src/index.ts";
import { withLogits } from "../../src/routing/record.ts";
import { numbers } from "../arbitraries.ts";
import {
  asked,
  askedSlots,
  contentOf,
  context,
  granting,
  inputsOf,
  integersOf,
  loadOf,
  named,
  routers,
  rowsOf,
  runs,
  slotsOf,
} from "./table.ts";

/** Softmax of a row, by its formula. */
const softmax = (row: readonly number[]): number[] => {
  const top = Math.max(...row);
  const sum = row.reduce((total, x) => total + Math.exp(x - top), 0);
  return row.map((x) => Math.exp(x - top) / sum);
};

describe.each(named(routers))("%s", (_, c) => {
  test("keeps the contract of the record", () => {
    fc.assert(
      fc.property(inputsOf(c), ({ T, E, logits, mask, kept }) => {
        const routing = c.make(E)(logits, context(c, mask));
        const S = askedSlots(c, kept.length, E);
        const integers = [routing.tokenOfSlot, routing.expertOfSlot, routing.slotsOfToken];
        for (const list of integers) expect([list.dtype, ...list.shape]).toEqual(["int32", S]);
        expect([routing.offsets.dtype, ...routing.offsets.shape]).toEqual(["int32", E + 1]);
        expect([routing.tokenOffsets.dtype, ...routing.tokenOffsets.shape]).toEqual(["int32", T + 1]);
        expect([routing.gate.dtype, ...routing.gate.shape]).toEqual([logits.dtype, S]);
        expect([routing.probs.dtype, ...routing.probs.shape]).toEqual([logits.dtype, T, E]);
        expect([routing.numTokens, routing.numExperts, routing.numSlots]).toEqual([T, E, S]);
        expect(routing.router).toBe(c.name.split(/[ ,]/)[0]);
        expect(routing.keptTokens === null ? kept.length : numbers(routing.keptTokens)).toEqual(
          kept.length === T ? T : kept,
        );

        const { tokenOfSlot, expertOfSlot, offsets, slotsOfToken, tokenOffsets } = integersOf(routing);
        expect([offsets[0], tokenOffsets[0], tokenOffsets[T]]).toEqual([0, 0, S]);
        const granted = offsets[E];
        for (let e = 0; e < E; e++) {
          const slots = expertOfSlot.flatMap((expert, s) => (expert === e && s < granted ? [s] : []));
          expect(slots).toEqual(Array.from({ length: offsets[e + 1] - offsets[e] }, (_, i) => offsets[e] + i));
        }
        // The two maps are each other's inverse: every slot is in exactly one list, that of its token.
        expect([...slotsOfToken].sort((a, b) => a - b)).toEqual(tokenOfSlot.map((_, s) => s));
        for (let t = 0; t < T; t++) {
          for (const s of slotsOfToken.slice(tokenOffsets[t], tokenOffsets[t + 1])) expect(tokenOfSlot[s]).toBe(t);
        }
        // No expert gets a token twice.
        expect(new Set(tokenOfSlot.map((t, s) => t * E + expertOfSlot[s])).size).toBe(S);
      }),
      runs(0.1),
    );
  });

  test("grants what is asked for in order of priority, as the plain lists say", () => {
    fc.assert(
      fc.property(inputsOf(c), fc.integer(), ({ T, E, logits, mask, kept }, seed) => {
        const routing = c.make(E)(logits, context(c, mask, seed));
        const assignments = asked(c, routing, kept, new Generator(seed));
        expect(integersOf(routing)).toEqual(granting(assignments, T, E, c.capacity(kept.length, E)));
      }),
      runs(0.25),
    );
  });

  test("conserves slots: load and dropped add up to S, and no load is above C", () => {
    fc.assert(
      fc.property(inputsOf(c), ({ E, logits, mask, kept }) => {
        const routing = c.make(E)(logits, context(c, mask));
        const load = loadOf(routing);
        const dropped = slotsOf(routing).filter((slot) => !slot.granted).length;
        expect(load.reduce((a, b) => a + b, 0) + dropped).toBe(askedSlots(c, kept.length, E));
        expect(routing.capacity).toBe(c.capacity(kept.length, E));
        expect(Math.max(0, ...load)).toBeLessThanOrEqual(routing.capacity);
        if (c.dropless) expect(dropped).toBe(0);
      }),
      runs(0.12),
    );
  });

  test("computes probs by softmax, and gates from the probs of all asked slots; 0 in the tail", () => {
    fc.assert(
      fc.property(inputsOf(c), ({ E, logits, mask, kept }) => {
        const routing = c.make(E)(logits, context(c, mask));
        const probs = rowsOf(routing.probs);
        const rows = rowsOf(logits);
        const epsilon = logits.dtype === "float32" ? 2 ** -24 : 2 ** -53;
        // float64 softmax goes through a logsumexp of up to 1e4, whose last place is worth 2e-12.
        const within = logits.dtype === "float32" ? epsilon : 1e-11;
        for (const t of kept) {
          softmax(rows[t]).forEach((p, e) => {
            expect(Math.abs(probs[t][e] - p)).toBeLessThanOrEqual(within * p + 1e-45);
          });
        }
        const slots = slotsOf(routing);
        for (const { token, expert, granted, gate } of slots) {
          const p = probs[token][expert];
          if (!granted) expect(gate).toBe(0);
          else if (!c.normalize) expect(gate).toBe(p);
          else {
            const sum = slots.filter((s) => s.token === token).reduce((total, s) => total + probs[token][s.expert], 0);
            // The sum is rounded once and the quotient once.
            expect(Math.abs(gate - p / sum)).toBeLessThanOrEqual(3 * epsilon);
          }
        }
      }),
      runs(0.1),
    );
  });

  test("leaves masked tokens out, whatever they hold, as if the kept rows stood alone", () => {
    const cases = inputsOf(c).chain((input) =>
      fc.record({
        input: fc.constant(input),
        junk: fc.array(fc.constantFrom(Number.NaN, Infinity, -Infinity, 3, 1e4), {
          minLength: input.E,
          maxLength: input.E,
        }),
      }),
    );
    fc.assert(
      fc.property(cases, ({ input: { T, E, logits, mask, kept }, junk }) => {
        const router = c.make(E);
        const routing = router(logits, context(c, mask));
        const spoilt = numbers(logits);
        for (let t = 0; t < T; t++) if (!kept.includes(t)) spoilt.splice(t * E, E, ...junk);
        const spoiltLogits = tensor(spoilt, { dtype: logits.dtype }).reshape([T, E]);
        spoiltLogits.requiresGrad = true;
        const other = router(spoiltLogits, context(c, mask));
        expect(contentOf(other)).toEqual(contentOf(routing));

        const alone = router(logits.indexSelect(0, tensor(Int32Array.from(kept))), context(c));
        const { tokenOfSlot, tokenOffsets, ...rest } = contentOf(alone);
        expect(contentOf(routing)).toMatchObject({ ...rest, tokenOfSlot: tokenOfSlot.map((i) => kept[i]) });
        for (const [i, t] of kept.entries()) {
          expect(numbers(routing.tokenOffsets)[t + 1] - numbers(routing.tokenOffsets)[t]).toBe(
            tokenOffsets[i + 1] - tokenOffsets[i],
          );
        }

        const { balance, z } = other.losses;
        other.gate.square().sum().add(balance).add(z).backward();
        const gradient = numbers(spoiltLogits.grad as NonNullable<typeof spoiltLogits.grad>);
        gradient.forEach((g, i) => {
          if (kept.includes(Math.floor(i / E))) expect(Number.isFinite(g)).toBe(true);
          else expect(g).toBe(0);
        });
      }),
      runs(0.1),
    );
  });

  test("gives finite gates, losses and gradients at logits of ±1e4", () => {
    fc.assert(
      fc.property(inputsOf(c, { element: fc.constantFrom(-1e4, 0, 1e4), masked: false }), ({ E, logits }) => {
        logits.requiresGrad = true;
        const routing = c.make(E)(logits, context(c));
        const { gate, losses } = routing;
        gate.sum().add(losses.balance).add(losses.z).backward();
        for (const x of [gate, losses.balance, losses.z, logits.grad as NonNullable<typeof logits.grad>]) {
          expect(numbers(x).every(Number.isFinite)).toBe(true);
        }
      }),
      runs(0.12),
    );
  });

  test("takes an empty batch: no slots, losses of 0, a gradient of no rows", () => {
    const logits = tensor([]).reshape([0, 4]);
    logits.requiresGrad = true;
    const routing = c.make(4)(logits, context(c));
    expect(integersOf(routing)).toEqual({
      tokenOfSlot: [],
      expertOfSlot: [],
      offsets: [0, 0, 0, 0, 0],
      slotsOfToken: [],
      tokenOffsets: [0],
    });
    expect([routing.numSlots, routing.losses.balance.item(), routing.losses.z.item()]).toEqual([0, 0, 0]);
    routing.gate.sum().add(routing.losses.balance).add(routing.losses.z).backward();
    expect(logits.grad?.shape).toEqual([0, 4]);
  });

  test("replays: the same integers with the same logits are the same routing", () => {
    fc.assert(
      fc.property(inputsOf(c), ({ E, logits, mask }) => {
        const routing = c.make(E)(logits, context(c, mask));
        const replayed = withLogits(routing, routing.logits);
        expect(contentOf(replayed)).toEqual(contentOf(routing));
        expect([replayed.router, replayed.capacity, replayed.numSlots]).toEqual([
          routing.router,
          routing.capacity,
          routing.numSlots,
        ]);
        expect(replayed.tokenOfSlot).toBe(routing.tokenOfSlot);
      }),
      runs(0.1),
    );
  });

  test("repeats itself in evaluation, and draws nothing", () => {
    fc.assert(
      fc.property(inputsOf(c), ({ E, logits, mask }) => {
        const router = c.make(E);
        const rng = new Generator(1);
        const once = router(logits, { mask, rng });
        const twice = router(logits, { mask, rng: new Generator(2), training: false });
        expect(contentOf(twice)).toEqual(contentOf(once));
        expect(rng.bits()).toBe(new Generator(1).bits());
      }),
      runs(0.1),
    );
  });
});
