/** The ledger of a MoE layer, counted by hand. */
import { describe, expect, test } from "vitest";
import {
  expertChoiceRouter,
  ledger,
  MoE,
  type MoEOptions,
  noisyTopKRouter,
  type Routing,
  topKRouter,
  zeros,
} from "../../src/index.ts";

const sizes = { dim: 3, hidden: 5, numExperts: 4 };
const count = (options: Partial<MoEOptions>, T: number, mask?: boolean[]) => {
  const moe = new MoE({ ...sizes, ...options });
  return ledger(moe, moe.forward(zeros([T, 3], { dtype: options.dtype }), { mask }).routing);
};

describe("ledger", () => {
  test("of a dropless top-2 layer", () => {
    // Router 3·4; an expert 3·5 + 5·3. Each of 6 tokens goes through two of them.
    expect(count({ router: topKRouter({ k: 2 }) }, 6)).toEqual({
      parameters: { router: 12, experts: 120, shared: 0, total: 132, activePerToken: 12 + 2 * 30 },
      flops: { router: 2 * 6 * 12, shared: 0, active: 12 * 60, padded: 4 * 6 * 60, dense: 6 * 4 * 60 },
      bytes: { parameters: 132 * 4, slots: 12 * (3 + 5 + 3) * 4 },
    });
  });

  test("with a capacity counts what is granted: all tokens want the same expert, which has room for 2", () => {
    // C = ⌈1 · 6 · 1 / 4⌉ = 2, and equal logits send everybody to expert 0.
    const { parameters, flops, bytes } = count({ router: topKRouter({ k: 1, capacityFactor: 1 }) }, 6);
    expect(flops).toEqual({ router: 144, shared: 0, active: 2 * 60, padded: 4 * 2 * 60, dense: 24 * 60 });
    expect(parameters.activePerToken).toBe(12 + (2 / 6) * 30);
    expect(bytes.slots).toBe(6 * 11 * 4);
  });

  test("of expert choice: active is padded, as every expert is full", () => {
    const { flops } = count({ router: expertChoiceRouter({ capacityFactor: 2 }) }, 6);
    expect([flops.active, flops.padded]).toEqual([4 * 3 * 60, 4 * 3 * 60]);
  });

  test("biases cost one flop each, and a gated activation has a third matrix", () => {
    const biased = count({ router: topKRouter({ k: 1 }), bias: true }, 6);
    expect([biased.parameters.experts, biased.flops.active]).toEqual([4 * (30 + 5 + 3), 6 * (60 + 5 + 3)]);
    const gated = count({ router: topKRouter({ k: 1 }), activation: "swiglu" }, 6);
    expect([gated.parameters.experts, gated.flops.active]).toEqual([4 * 45, 6 * 90]);
  });

  test("counts shared experts apart, and the weights of a router that has some", () => {
    // Two shared experts: 3·10 + 10·3 weights, which all 6 tokens go through.
    const { parameters, flops, bytes } = count({ numShared: 2 }, 6);
    expect(parameters).toEqual({ router: 12, experts: 120, shared: 60, total: 192, activePerToken: 12 + 60 + 2 * 30 });
    expect([flops.shared, flops.active]).toEqual([6 * 120, 12 * 60]);
    expect(bytes.parameters).toBe(192 * 4);
    const noisy = count({ router: noisyTopKRouter({ dim: 3, numExperts: 4 }) }, 6);
    expect([noisy.parameters.router, noisy.flops.router]).toEqual([12 + 12, 2 * 6 * 24]);
  });

  test("float64 takes twice the bytes; masked tokens count for nothing", () => {
    expect(count({ dtype: "float64" }, 6).bytes).toEqual({ parameters: 132 * 8, slots: 12 * 11 * 8 });
    const mask = [true, false, true, true, false, true];
    expect(count({}, 6, mask)).toEqual(count({}, 4));
  });

  test("of no tokens has parameters and no work", () => {
    const { parameters, flops, bytes } = count({}, 0);
    expect([parameters.total, parameters.activePerToken]).toEqual([132, 12]);
    expect(flops).toEqual({ router: 0, shared: 0, active: 0, padded: 0, dense: 0 });
    expect(bytes.slots).toBe(0);
  });

  test("refuses what is no MoE, and what is no routing", () => {
    const moe = new MoE(sizes);
    const { routing } = moe.forward(zeros([2, 3]));
    expect(() => ledger({} as MoE, routing)).toThrow(TypeError);
    expect(() => ledger(moe, {} as Routing)).toThrow(TypeError);
  });
});
