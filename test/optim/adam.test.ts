/** Adam and AdamW follow the documented rules, number by number, and PyTorch's own trajectories. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Adam, type AdamOptions, AdamW } from "../../src/index.ts";
import { type AdamSettings, adam, distance, drawn, parameter, tolerance, trajectory } from "./oracle.ts";
import { goldens, gradients, starts } from "./torch.ts";

const settings: fc.Arbitrary<AdamSettings> = fc.record({
  lr: fc.constantFrom(0, 1e-3, 0.125),
  betas: fc.tuple(fc.constantFrom(0, 0.5, 0.9), fc.constantFrom(0, 0.9, 0.999)),
  eps: fc.constantFrom(1e-8, 1e-3, 1),
  weightDecay: fc.constantFrom(0, 0.01, 0.5),
});

const kinds = [
  { name: "Adam", make: Adam, decoupled: false },
  { name: "AdamW", make: AdamW, decoupled: true },
] as const;

describe.each(kinds)("$name", ({ name, make: Kind, decoupled }) => {
  test("steps as the rule says in float64, for any settings and with gradients missing now and then", () => {
    fc.assert(
      fc.property(settings, drawn, (s, { start, grads }) => {
        const p = parameter(start, "float64");
        const [actual] = trajectory([p], new Kind([p], s), [grads]);
        expect(distance(actual, adam(start, grads, s, decoupled))).toBeLessThan(tolerance("float64"));
      }),
    );
  });

  test("steps as the rule says in float32", () => {
    // m/√v turns on the last digit of a decayed gradient next to 0, so eps is kept well above float32's rounding.
    const safe = settings.map((s) => ({ ...s, eps: Math.max(s.eps, 1e-1) }));
    fc.assert(
      fc.property(safe, drawn, (s, { start, grads }) => {
        const p = parameter(start, "float32");
        const [actual] = trajectory([p], new Kind([p], s), [grads]);
        expect(distance(actual, adam(start, grads, s, decoupled))).toBeLessThan(tolerance("float32"));
      }),
    );
  });

  describe.each(["float32", "float64"] as const)("in %s", (dtype) => {
    const own = goldens.filter((golden) => golden.name.startsWith(`${name},`));
    test.each(own)("follows PyTorch: $name", ({ make, rows }) => {
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

  test("has PyTorch's defaults", () => {
    const p = parameter([1], "float32");
    const [{ params, ...group }] = new Kind([p]).groups;
    expect(params[0]).toBe(p);
    expect(group).toEqual({ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: decoupled ? 0.01 : 0 });
  });

  test("takes a first step of lr, whatever the size of the gradient", () => {
    for (const g of [1e-3, 1, 1e3]) {
      const p = parameter([0], "float64");
      const [rows] = trajectory([p], new Kind([p], { lr: 0.5, eps: 0 }), [[[g]]]);
      expect(rows[0][0]).toBeCloseTo(-0.5, 12);
    }
  });

  test("counts steps for each parameter by itself", () => {
    const late = parameter([1], "float64");
    const early = parameter([1], "float64");
    const [, lateRows] = trajectory([early, late], new Kind([early, late], { lr: 0.1 }), [
      [[1], [1], [1], [1]],
      [null, null, [3], [1]],
    ]);
    const alone = parameter([1], "float64");
    const [rows] = trajectory([alone], new Kind([alone], { lr: 0.1 }), [[[3], [1]]]);
    expect(lateRows.slice(2)).toEqual(rows);
    expect(lateRows.slice(0, 2)).toEqual([[1], [1]]);
  });

  const p = parameter([1], "float32");
  const beta = "numbers from 0 to below 1";
  const refusals: [what: string, options: object, error: Error][] = [
    ["a negative rate", { lr: -1 }, new RangeError(`${name}: lr has -1, expected a number of at least 0`)],
    [
      "infinite decay",
      { weightDecay: Infinity },
      new RangeError(`${name}: weightDecay has Infinity, expected a number of at least 0`),
    ],
    ["a negative eps", { eps: -1e-8 }, new RangeError(`${name}: eps has -1e-8, expected a number of at least 0`)],
    ["a beta of 1", { betas: [0.9, 1] }, new RangeError(`${name}: betas has 1, expected ${beta}`)],
    ["a beta below 0", { betas: [-0.1, 0.9] }, new RangeError(`${name}: betas has -0.1, expected ${beta}`)],
    ["a beta of NaN", { betas: [0.9, Number.NaN] }, new RangeError(`${name}: betas has NaN, expected ${beta}`)],
    ["one beta", { betas: [0.9] }, new TypeError(`${name}: betas has [0.9], expected two numbers from 0 to below 1`)],
    [
      "a number for betas",
      { betas: 0.9 },
      new TypeError(`${name}: betas has 0.9, expected two numbers from 0 to below 1`),
    ],
    [
      "unknown options",
      { momentum: 0.9 },
      new TypeError(`${name}: options has the name "momentum", expected lr, betas, eps, weightDecay`),
    ],
  ];
  test.each(refusals)("refuses %s", (_, options, error) => {
    expect(() => new Kind([p], options as AdamOptions)).toThrow(error);
  });
});

test("decay apart from the gradient differs from decay within it", () => {
  const run = (Kind: typeof Adam | typeof AdamW): number => {
    const p = parameter([1], "float64");
    return trajectory([p], new Kind([p], { lr: 0.1, weightDecay: 0.5 }), [[[1]]])[0][0][0];
  };
  // Adam's first step is lr whatever the decay adds to the gradient; AdamW's is that and lr · λ · p.
  expect(run(Adam)).toBeCloseTo(0.9, 7);
  expect(run(AdamW)).toBeCloseTo(0.85, 7);
});
