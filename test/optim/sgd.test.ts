/** SGD follows the documented rule, number by number, and PyTorch's own trajectories. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SGD, type SGDOptions } from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";
import { distance, drawn, parameter, type SgdSettings, sgd, tolerance, trajectory } from "./oracle.ts";
import { goldens, gradients, starts } from "./torch.ts";

const settings: fc.Arbitrary<SgdSettings> = fc
  .record({
    lr: fc.constantFrom(0, 0.01, 0.125, 1),
    momentum: fc.constantFrom(0, 0.5, 0.9, 1),
    dampening: fc.constantFrom(0, 0.25, 1),
    weightDecay: fc.constantFrom(0, 0.01, 0.5),
    nesterov: fc.boolean(),
  })
  .map((s) => (s.nesterov && (s.momentum === 0 || s.dampening !== 0) ? { ...s, nesterov: false } : s));

describe.each(["float32", "float64"] as const)("in %s", (dtype) => {
  test("steps as the rule says, for any settings and with gradients missing now and then", () => {
    fc.assert(
      fc.property(settings, drawn, (s, { start, grads }) => {
        const p = parameter(start, dtype);
        const [actual] = trajectory([p], new SGD([p], s), [grads]);
        expect(distance(actual, sgd(start, grads, s))).toBeLessThan(tolerance(dtype));
      }),
    );
  });

  test.each(goldens.filter(({ name }) => name.startsWith("SGD")))("follows PyTorch: $name", ({ make, rows }) => {
    const [p, q] = starts.map((list) => parameter(list, dtype));
    const actual = trajectory([p, q], make(p, q), gradients);
    expect(
      distance(
        actual[0],
        rows.map((row) => row.slice(0, 3)),
      ),
    ).toBeLessThan(tolerance(dtype));
    expect(
      distance(
        actual[1],
        rows.map((row) => row.slice(3)),
      ),
    ).toBeLessThan(tolerance(dtype));
  });
});

test("has PyTorch's defaults: lr 1e-3 and nothing else", () => {
  const p = parameter([1], "float64");
  const optimizer = new SGD([p]);
  expect(optimizer.groups).toEqual([
    { params: [p], lr: 1e-3, momentum: 0, dampening: 0, weightDecay: 0, nesterov: false },
  ]);
  trajectory([p], optimizer, [[[2]]]);
  expect(numbers(p)).toEqual([1 - 1e-3 * 2]);
});

test("damps from the second step on: the first buffer is the whole gradient", () => {
  const p = parameter([0], "float64");
  const [rows] = trajectory([p], new SGD([p], { lr: 1, momentum: 0.5, dampening: 0.5 }), [[[1], [1]]]);
  // b = 1, then 0.5 · 1 + 0.5 · 1.
  expect(rows).toEqual([[-1], [-2]]);
});

describe("refuses", () => {
  const p = parameter([1], "float32");
  const cases: [what: string, options: object, error: Error][] = [
    ["a negative rate", { lr: -1 }, new RangeError("SGD: lr has -1, expected a number of at least 0")],
    ["a rate of NaN", { lr: Number.NaN }, new RangeError("SGD: lr has NaN, expected a number of at least 0")],
    ["a rate in words", { lr: "0.1" }, new TypeError('SGD: lr has "0.1", expected a number of at least 0')],
    [
      "negative decay",
      { weightDecay: -0.1 },
      new RangeError("SGD: weightDecay has -0.1, expected a number of at least 0"),
    ],
    [
      "negative momentum",
      { momentum: -0.1 },
      new RangeError("SGD: momentum has -0.1, expected a number of at least 0"),
    ],
    ["infinite dampening", { dampening: Infinity }, new RangeError("SGD: dampening has Infinity, expected a number")],
    [
      "nesterov without momentum",
      { nesterov: true },
      new RangeError("SGD: nesterov has true, expected false (it needs a momentum and no dampening)"),
    ],
    [
      "nesterov with dampening",
      { nesterov: true, momentum: 0.9, dampening: 0.1 },
      new RangeError("SGD: nesterov has true, expected false (it needs a momentum and no dampening)"),
    ],
    [
      "unknown options",
      { learningRate: 1 },
      new TypeError(
        'SGD: options has the name "learningRate", expected lr, momentum, dampening, weightDecay, nesterov',
      ),
    ],
  ];
  test.each(cases)("%s", (_, options, error) => {
    expect(() => new SGD([p], options as SGDOptions)).toThrow(error);
  });
});
