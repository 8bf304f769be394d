/** What all optimisers share: groups, missing gradients, what a step leaves alone, and what they refuse. */
import { describe, expect, test } from "vitest";
import { Adam, AdamW, type ParameterList, SGD, type Tensor, tensor } from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";
import { parameter } from "./oracle.ts";

const kinds = [
  { name: "SGD", make: SGD, more: "momentum, dampening, weightDecay, nesterov" },
  { name: "Adam", make: Adam, more: "betas, eps, weightDecay" },
  { name: "AdamW", make: AdamW, more: "betas, eps, weightDecay" },
] as const;

describe.each(kinds)("$name", ({ name, make: Kind, more }) => {
  const make = (params: unknown): SGD | Adam | AdamW => new Kind(params as ParameterList<{ lr: number }>);

  test("leaves a parameter without a gradient alone, decay and all", () => {
    const [p, q] = [parameter([1], "float32"), parameter([1], "float32")];
    p.grad = tensor([1]);
    new Kind([p, q], { lr: 0.5, weightDecay: 0.5 }).step();
    expect(numbers(p)[0]).toBeLessThan(1);
    expect([numbers(q), q.version]).toEqual([[1], 0]);
  });

  test("keeps lists of its own: what the caller does with them later changes nothing", () => {
    const [p, q] = [parameter([1], "float32"), parameter([1], "float32")];
    const betas: [number, number] = [0.5, 0.5];
    const [own, given] = [[p], [{ params: [p] }]];
    const settings = name === "SGD" ? {} : { betas };
    const optimizers = [own, given].map((params) => new Kind(params as ParameterList<{ lr: number }>, settings));
    own.push(q);
    given[0].params.push(q);
    betas[0] = Number.NaN;
    for (const { groups } of optimizers) {
      expect(groups.map((group) => group.params)).toEqual([[p]]);
      if (name !== "SGD") expect(groups[0]).toMatchObject({ betas: [0.5, 0.5] });
    }
  });

  test("checks the settings at every step, before anything changes", () => {
    const [p, q] = [parameter([1], "float32"), parameter([1], "float32")];
    for (const x of [p, q]) x.grad = tensor([1]);
    const optimizer = make([{ params: [p] }, { params: [q] }]);
    for (const [lr, error] of [
      [-1, new RangeError(`${name}: lr has -1, expected a number of at least 0`)],
      ["x", new TypeError(`${name}: lr has "x", expected a number of at least 0`)],
      [Number.NaN, new RangeError(`${name}: lr has NaN, expected a number of at least 0`)],
    ] as const) {
      optimizer.groups[1].lr = lr as number;
      expect(() => optimizer.step()).toThrow(error);
      expect([p, q].map((x) => [numbers(x), x.version])).toEqual([
        [[1], 0],
        [[1], 0],
      ]);
    }
    optimizer.groups[1].lr = 0.5;
    optimizer.step();
    expect([p.version, q.version]).toEqual([1, 1]);
  });

  test("zeroGrad makes every gradient null", () => {
    const [p, q] = [parameter([1], "float32"), parameter([1], "float32")];
    p.grad = tensor([1]);
    new Kind([{ params: [p] }, { params: [q] }]).zeroGrad();
    expect([p.grad, q.grad]).toEqual([null, null]);
  });

  test("a step gives new storage: whoever shares the old numbers keeps them", () => {
    const p = parameter([1, 2], "float32");
    const alias = p.detach();
    const before = p.data;
    p.grad = tensor([1, 1]);
    new Kind([p], { lr: 0.5 }).step();
    expect(numbers(alias)).toEqual([1, 2]);
    expect(Array.from(before)).toEqual([1, 2]);
    expect(numbers(p)).not.toEqual([1, 2]);
    expect(p.requiresGrad).toBe(true);
  });

  test("a step leaves the gradient alone, and is no part of a graph", () => {
    const p = parameter([1, 2], "float64");
    p.square().sum().backward(undefined, { createGraph: true });
    const { grad } = p;
    const optimizer = new Kind([p], { lr: 0.1, weightDecay: 0.1 });
    optimizer.step();
    expect(p.grad).toBe(grad);
    expect(numbers(p.grad as Tensor)).toEqual([2, 4]);
    expect(p.record).toBeNull();
  });

  test("a graph that read the old numbers refuses to go backward, and changes no gradient", () => {
    const p = parameter([1, 2], "float32");
    const y = p.mul(tensor([3, 4])).sum();
    const z = p.square().sum();
    p.grad = tensor([1, 1]);
    new Kind([p], { lr: 0.5 }).step();
    for (const [result, at] of [
      [y, "a [2] of mul"],
      [z, "x [2] of square"],
    ] as [Tensor, string][]) {
      expect(() => result.backward()).toThrow(
        new Error(
          `backward: ${at} has been changed by step() or loadStateDict() since it was read, expected the values of the forward pass (run the forward again)`,
        ),
      );
    }
    expect(numbers(p.grad as Tensor)).toEqual([1, 1]);
    p.mul(2).sum().backward();
    expect(numbers(p.grad as Tensor)).toEqual([3, 3]);
  });

  test("groups keep settings of their own, take the rest from the options, and may be changed between steps", () => {
    const [p, q] = [parameter([0], "float64"), parameter([0], "float64")];
    const optimizer = new Kind(
      [
        { params: [p], lr: 0.5 },
        { params: [q], lr: undefined },
      ],
      { lr: 0.25, weightDecay: 0 },
    );
    expect(optimizer.groups.map(({ lr }) => lr)).toEqual([0.5, 0.25]);
    const step = (): number[] => {
      const before = [p, q].map((x) => x.item());
      for (const x of [p, q]) x.grad = tensor([1], { dtype: "float64" });
      optimizer.step();
      return [p, q].map((x, i) => before[i] - x.item());
    };
    step().forEach((moved, i) => {
      expect(moved).toBeCloseTo([0.5, 0.25][i], 6);
    });
    optimizer.groups[1].lr = 1;
    step().forEach((moved, i) => {
      expect(moved).toBeCloseTo([0.5, 1][i], 6);
    });
  });

  test("parameters of several dtypes may stand side by side", () => {
    const [p, q] = [parameter([1], "float32"), parameter([1], "float64")];
    p.square().sum().backward();
    q.square().sum().backward();
    new Kind([p, q], { lr: 0.5 }).step();
    expect([p.dtype, q.dtype]).toEqual(["float32", "float64"]);
    expect(p.item()).toBeCloseTo(q.item(), 6);
  });

  const p = parameter([1], "float32");
  const refusals: [what: string, params: unknown, error: Error][] = [
    ["nothing", [], new TypeError(`${name}: params has no entry, expected a list of parameters or groups`)],
    ["a single tensor", p, new TypeError(`${name}: params has a Tensor, expected a list of parameters or groups`)],
    [
      "a tensor without requiresGrad",
      [p, tensor([1, 2])],
      new Error(`${name}: parameter 1 has shape [2] and no gradient of its own, expected a leaf with requiresGrad`),
    ],
    [
      "the result of an op",
      [p.mul(2)],
      new Error(`${name}: parameter 0 has shape [1] and no gradient of its own, expected a leaf with requiresGrad`),
    ],
    [
      "a tensor twice",
      [{ params: [p] }, { params: [p] }],
      new RangeError(`${name}: params has a tensor twice, expected each parameter once`),
    ],
    [
      "what is no tensor in a group",
      [{ params: [p, 3] }],
      new TypeError(`${name}: parameter 1 has 3, expected a tensor (make one with tensor())`),
    ],
    [
      "a group of one tensor that is not in a list",
      [{ params: p }],
      new TypeError(`${name}: params of a group has a Tensor, expected a list`),
    ],
    [
      "unknown names in a group",
      [{ params: [p], rate: 0.1 }],
      new TypeError(`${name}: a group has the name "rate", expected params, lr, ${more}`),
    ],
    [
      "a bad setting in a group",
      [{ params: [p], lr: -1 }],
      new RangeError(`${name}: lr has -1, expected a number of at least 0`),
    ],
  ];
  test.each(refusals)("refuses %s", (_, params, error) => {
    expect(() => make(params)).toThrow(error);
  });
});
