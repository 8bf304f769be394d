/** auxLoss: the one place where auxiliary losses are scaled and summed. */
import { describe, expect, test } from "vitest";
import { type AuxLossOptions, auxLoss, type Routing, type Tensor, tensor, topKRouter } from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";

const logits = (shift: number, options: Parameters<typeof tensor>[1] = {}): Tensor =>
  tensor(
    [
      [1 + shift, 0, -1],
      [0.5, shift, 2],
    ],
    { dtype: "float64", ...options },
  );
const route = topKRouter({ k: 2 });

test("is Σ over routings of coefficient · loss", () => {
  const routings = [0, 1, 3].map((shift) => route(logits(shift)));
  const sum = (name: "balance" | "z") => routings.reduce((total, { losses }) => total + losses[name].item(), 0);
  expect(auxLoss(routings, { balance: 0.01, z: 1e-3 }).item()).toBeCloseTo(0.01 * sum("balance") + 1e-3 * sum("z"), 14);
  expect(auxLoss(routings, { balance: 1 }).item()).toBeCloseTo(sum("balance"), 14);
  expect(auxLoss(routings, { z: 2 }).item()).toBeCloseTo(2 * sum("z"), 13);
  expect(auxLoss(routings, { balance: 0.02 }).item()).toBeCloseTo(2 * auxLoss(routings, { balance: 0.01 }).item(), 14);
});

test("takes a single routing as it is", () => {
  const routing = route(logits(1));
  expect(auxLoss(routing, { balance: 0.5 }).item()).toBe(auxLoss([routing], { balance: 0.5 }).item());
});

test("has the scaled gradients of the losses", () => {
  const gradient = (loss: (routing: Routing) => Tensor): number[] => {
    const x = logits(1, { requiresGrad: true });
    loss(route(x)).backward();
    return numbers(x.grad as Tensor);
  };
  const balance = gradient(({ losses }) => losses.balance);
  const z = gradient(({ losses }) => losses.z);
  gradient((routing) => auxLoss([routing, routing], { balance: 0.25, z: 0.5 })).forEach((g, i) => {
    expect(g).toBeCloseTo(2 * (0.25 * balance[i] + 0.5 * z[i]), 14);
  });
});

test("is 0 for no routings and for no coefficients, and can still be added to a loss", () => {
  expect(auxLoss([], { balance: 0.01 }).item()).toBe(0);
  const none = auxLoss([route(logits(0))], {});
  expect([none.item(), none.dtype, none.shape]).toEqual([0, "float64", []]);
  expect(none.requiresGrad).toBe(false);
  const x = tensor([1, 2], { requiresGrad: true });
  x.sum().add(auxLoss([], {})).backward();
  expect(numbers(x.grad as Tensor)).toEqual([1, 1]);
});

test("leaves losses of an unwanted kind out, even where they would not be finite", () => {
  // (1e200)² overflows in the z-loss, which was not asked for.
  const huge = route(tensor([[1e200, 0, 0]], { dtype: "float64" }));
  expect(huge.losses.z.item()).toBe(Infinity);
  expect(Number.isFinite(auxLoss(huge, { balance: 1, z: 0 }).item())).toBe(true);
});

describe("refuses", () => {
  const routing = route(logits(0));
  const cases: [what: string, call: () => unknown, error: Error][] = [
    [
      "names that it does not have",
      () => auxLoss([routing], { balanced: 1 } as AuxLossOptions),
      new TypeError('auxLoss: options has the name "balanced", expected balance, z, importance, load'),
    ],
    [
      "a negative coefficient",
      () => auxLoss([routing], { balance: -0.01 }),
      new RangeError("auxLoss: balance has -0.01, expected a coefficient of at least 0"),
    ],
    [
      "a coefficient that is not finite",
      () => auxLoss([routing], { z: Infinity }),
      new RangeError("auxLoss: z has Infinity, expected a coefficient of at least 0"),
    ],
    [
      "NaN",
      () => auxLoss([routing], { z: Number.NaN }),
      new RangeError("auxLoss: z has NaN, expected a coefficient of at least 0"),
    ],
    [
      "a coefficient that is no number",
      () => auxLoss([routing], { z: "1" as unknown as number }),
      new TypeError('auxLoss: z has "1", expected a coefficient of at least 0'),
    ],
    [
      "what is no routing",
      () => auxLoss([routing, {} as Routing], { z: 1 }),
      new TypeError("auxLoss: routing 1 has a Object, expected a Routing"),
    ],
    [
      "the output of a layer in place of its routing",
      () => auxLoss(undefined as unknown as Routing, { z: 1 }),
      new TypeError("auxLoss: routing 0 has undefined, expected a Routing"),
    ],
  ];
  test.each(cases)("%s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});
