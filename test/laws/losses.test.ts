/** The laws of balance losses see losses that are deliberately wrong. */
import { describe, expect, test } from "vitest";
import { customOp, type Routing, squaredVariation, type Tensor } from "../../src/index.ts";
import { type CheckLossOptions, checkLoss, lossLaws, type RoutingLoss } from "../../src/laws/index.ts";
import { catches, type Fault } from "./caught.ts";
import { balanceOfGranted } from "./spoil.ts";

const balance: RoutingLoss = (routing) => routing.losses.balance;

/** Σ over tokens of the probabilities: how much each expert is wanted. Masked tokens are left out, or counted. */
function importance({ probs, keptTokens }: Routing, masked: "left out" | "counted" = "left out"): Tensor {
  const kept = keptTokens === null || masked === "counted" ? probs : probs.indexSelect(0, keptTokens);
  return kept.sum({ dim: 0 });
}

/** Experts per token. */
const kOf = (routing: Routing): number => routing.numSlots / (routing.keptTokens?.size ?? routing.numTokens);

const backwards = customOp({ forward: (x: Tensor) => x, vjp: (g) => [g.neg()] });

/** The options of losses of variation, which are 0 at balance. */
const variation = { atBalance: 0, atCollapse: (E: number) => E - 1 };

const faults: readonly (Omit<Fault, "check"> & { loss: RoutingLoss; options?: Partial<CheckLossOptions> })[] = [
  {
    name: "is k at balance",
    law: "value at balance",
    says: /k = 2: (2|1\.9999\d*), expected 1/,
    loss: (routing) => balance(routing).mul(kOf(routing)),
  },
  {
    name: "forgets the factor E",
    law: "value at balance",
    says: /2 experts, k = 1: 0\.(5|4999\d*), expected 1/,
    loss: (routing) => balance(routing).div(routing.numExperts),
  },
  {
    name: "is the square root of what it should be",
    law: "value at collapse",
    says: /2 experts: 1\.41\d*, expected 2/,
    loss: (routing) => balance(routing).sqrt(),
  },
  {
    name: "has its gradient the wrong way round",
    law: "pushes down the busiest",
    says: /the gradient of the busiest expert's logits is -0\.\d+/,
    loss: (routing) => backwards(balance(routing)),
  },
  {
    name: "is made of counts alone",
    law: "pushes down the busiest",
    says: /the gradient of the busiest expert's logits is 0$/m,
    loss: (routing) => balance(routing).detach(),
  },
  {
    name: "is a standard deviation",
    law: "finite gradient at balance",
    says: /the gradient is \[\[nan nan\]/,
    loss(routing) {
      const x = importance(routing);
      return x.sub(x.mean()).square().mean().sqrt().div(x.mean());
    },
    options: variation,
  },
  {
    name: "has twice its gradient",
    law: "gradient",
    says: /by backward, .* by difference/,
    loss: (routing) => balance(routing).mul(2).sub(balance(routing).detach()),
  },
  {
    name: "counts what was granted",
    law: "dropped slots count",
    says: /with room for 1 token per expert, .* with room for all/,
    loss: balanceOfGranted,
  },
  {
    name: "counts masked tokens",
    law: "mask",
    says: /with the mask, .* without the masked tokens/,
    loss: (routing) => squaredVariation(importance(routing, "counted")),
    options: variation,
  },
];

describe("a loss that", () => {
  catches(
    faults.map(({ loss, options, ...fault }) => ({ ...fault, check: (o) => checkLoss(loss, { ...options, ...o }) })),
    lossLaws,
    /E: \d\n {2}rounds: \d\n {2}k: \d|\[\d, 3\] \[\[/,
  );
});

describe("checkLoss", () => {
  const fixed = { numRuns: 10, seed: 1, raiseException: false };
  const broken = (loss: RoutingLoss, options: CheckLossOptions = {}): string[] =>
    checkLoss(loss, { ...fixed, ...options }).flatMap((result) => (result.ok ? [] : [result.law]));

  test("finds nothing to say of right losses", () => {
    expect(broken(balance)).toEqual([]);
    expect(broken((routing) => squaredVariation(importance(routing)), variation)).toEqual([]);
  });

  test("takes the documented values as they are told", () => {
    const twice: RoutingLoss = (routing) => balance(routing).mul(2);
    expect(broken(twice)).toEqual(["value at balance", "value at collapse"]);
    expect(broken(twice, { atBalance: 2, atCollapse: (E) => 2 * E })).toEqual([]);
  });

  test("refuses what is no function", () => {
    expect(() => checkLoss("balance" as never)).toThrow(
      new TypeError('checkLoss: loss has "balance", expected a function of a Routing'),
    );
  });
});
