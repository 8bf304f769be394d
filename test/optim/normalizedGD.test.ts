/** Normalised gradient descent: steps of one length, over a group or for each expert apart. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NormalizedGD, type NormalizedGDOptions, type Tensor, tensor } from "../../src/index.ts";
import { general, numbers } from "../arbitraries.ts";

type Dtype = "float32" | "float64";

/** A parameter of zeros with a gradient. */
function parameter(
  grad: readonly number[],
  shape: readonly number[] = [grad.length],
  dtype: Dtype = "float64",
): Tensor {
  const p = tensor(new Array(grad.length).fill(0), { dtype }).reshape(shape).detach();
  p.requiresGrad = true;
  p.grad = tensor([...grad], { dtype }).reshape(shape);
  return p;
}

/** What a step subtracts. */
function stepOf(params: readonly Tensor[], options: NormalizedGDOptions): number[][] {
  const before = params.map(numbers);
  new NormalizedGD(params, options).step();
  return params.map((p, i) => numbers(p).map((v, j) => before[i][j] - v));
}

const norm = (list: readonly number[]): number => Math.hypot(...list);

describe("by hand", () => {
  // ‖(3, 4)‖ = 5, ‖(0, 12)‖ = 12, together 13.
  const params = () => [parameter([3, 4]), parameter([0, 12])];

  test("joint: one norm over all tensors of the group", () => {
    const [a, b] = stepOf(params(), { lr: 13, norm: "joint" });
    expect(a[0]).toBeCloseTo(3, 14);
    expect(a[1]).toBeCloseTo(4, 14);
    expect(b[1]).toBeCloseTo(12, 14);
    expect(stepOf(params(), { lr: 13 })).toEqual([a, b]);
  });

  test("sum: the sum of the tensors' norms", () => {
    const [a, b] = stepOf(params(), { lr: 17, norm: "sum" });
    expect(a[0]).toBeCloseTo(3, 14);
    expect(a[1]).toBeCloseTo(4, 14);
    expect(b[1]).toBeCloseTo(12, 14);
  });

  test("perExpert: each expert's share of every tensor, with a norm of its own", () => {
    // Expert 0 has (3, 4) and 12, expert 1 (6, 8) and 0, expert 2 nothing.
    const experts = () => [parameter([3, 4, 6, 8, 0, 0], [3, 2]), parameter([12, 0, 0], [3, 1, 1])];
    const joint = [
      [3 / 13, 4 / 13, 0.6, 0.8, 0, 0],
      [12 / 13, 0, 0],
    ];
    const sum = [
      [3 / 17, 4 / 17, 0.6, 0.8, 0, 0],
      [12 / 17, 0, 0],
    ];
    for (const [kind, expected] of [
      ["joint", joint],
      ["sum", sum],
    ] as const) {
      const steps = stepOf(experts(), { lr: 1, norm: kind, perExpert: true });
      steps.forEach((step, i) => {
        step.forEach((v, j) => {
          expect(v).toBeCloseTo(expected[i][j], 14);
        });
      });
    }
  });

  test("goes downhill, from wherever it is", () => {
    const p = tensor([1, 2], { dtype: "float64", requiresGrad: true });
    const optimizer = new NormalizedGD([p], { lr: 0.5 });
    p.square().sum().backward();
    optimizer.step();
    // From (1, 2) along (2, 4) / √20.
    expect(numbers(p)[0]).toBeCloseTo(1 - 0.5 / Math.sqrt(5), 14);
    expect(numbers(p)[1]).toBeCloseTo(2 - 1 / Math.sqrt(5), 14);
  });
});

describe("the laws", () => {
  const E = 3;
  const drawn = fc.record({
    grads: fc.array(fc.array(general, { minLength: 2 * E, maxLength: 2 * E }), { minLength: 1, maxLength: 3 }),
    lr: fc.constantFrom(0.125, 1, 4),
    dtype: fc.constantFrom<Dtype[]>("float32", "float64"),
  });
  const tolerance = (dtype: Dtype): number => (dtype === "float32" ? 1e-6 : 1e-13);

  test("a joint step is lr long, and one of the sum no longer", () => {
    fc.assert(
      fc.property(drawn, ({ grads, lr, dtype }) => {
        fc.pre(norm(grads.flat()) > 1e-3);
        const make = () => grads.map((g) => parameter(g, [E, 2], dtype));
        const length = (options: NormalizedGDOptions) => norm(stepOf(make(), { lr, ...options }).flat()) / lr;
        expect(Math.abs(length({ norm: "joint" }) - 1)).toBeLessThan(tolerance(dtype));
        expect(length({ norm: "sum" })).toBeLessThan(1 + tolerance(dtype));
        if (grads.length === 1) expect(Math.abs(length({ norm: "sum" }) - 1)).toBeLessThan(tolerance(dtype));
      }),
    );
  });

  test("per expert, each one's step is lr long, and is that of a group of its own", () => {
    fc.assert(
      fc.property(drawn, fc.constantFrom<("joint" | "sum")[]>("joint", "sum"), ({ grads, lr, dtype }, kind) => {
        const of = (list: readonly number[], e: number) => list.slice(2 * e, 2 * e + 2);
        for (let e = 0; e < E; e++) fc.pre(norm(grads.flatMap((g) => of(g, e))) > 1e-3);
        const steps = stepOf(
          grads.map((g) => parameter(g, [E, 2], dtype)),
          { lr, norm: kind, perExpert: true },
        );
        for (let e = 0; e < E; e++) {
          const own = steps.flatMap((step) => of(step, e));
          if (kind === "joint") expect(Math.abs(norm(own) / lr - 1)).toBeLessThan(tolerance(dtype));
          const alone = stepOf(
            grads.map((g) => parameter(of(g, e), [2], dtype)),
            { lr, norm: kind },
          ).flat();
          own.forEach((v, i) => {
            expect(Math.abs(v - alone[i])).toBeLessThan(lr * tolerance(dtype));
          });
        }
      }),
      { numRuns: 50 },
    );
  });

  test("the size of the gradient does not matter, its direction does", () => {
    fc.assert(
      fc.property(drawn, fc.constantFrom(2 ** -100, 0.5, 2 ** 100), ({ grads, lr, dtype }, scale) => {
        fc.pre(norm(grads.flat()) > 1e-3);
        const step = (factor: number) =>
          stepOf(
            grads.map((g) =>
              parameter(
                g.map((v) => v * factor),
                [E, 2],
                dtype,
              ),
            ),
            { lr },
          ).flat();
        const [plain, scaled, back] = [1, scale, -1].map(step);
        plain.forEach((v, i) => {
          expect(Math.abs(scaled[i] - v)).toBeLessThan(lr * tolerance(dtype));
          expect(back[i] + v).toBe(0);
        });
      }),
      { numRuns: 50 },
    );
  });
});

test.each([1e30, 1e-30, 1e-44])(
  "a gradient of %f gives a step of lr in float32: no square overflows or vanishes",
  (g) => {
    const step = (perExpert: boolean) => stepOf([parameter([g, g], [2], "float32")], { lr: 0.5, perExpert })[0];
    expect(step(true)).toEqual([0.5, 0.5]);
    expect(step(false)).toEqual([expect.closeTo(0.5 / Math.SQRT2, 6), expect.closeTo(0.5 / Math.SQRT2, 6)]);
  },
);

test("a parameter without elements stands in no one's way", () => {
  const params = [parameter([3, 4]), parameter([], [2, 0])];
  expect(stepOf(params, { lr: 5, perExpert: true })).toEqual([[5, 5], []]);
});

test("a group without a gradient stays put: zeros, or null", () => {
  const [p, q] = [parameter([0, 0]), parameter([1, 1])];
  q.grad = null;
  const values = numbers(p);
  new NormalizedGD([p, q], { lr: 1 }).step();
  expect([numbers(p), numbers(q)]).toEqual([values, [0, 0]]);
  for (const kind of ["joint", "sum"] as const) {
    // One tensor at rest does not keep the other from moving.
    const steps = stepOf([parameter([0, 0]), parameter([0, 2])], { lr: 1, norm: kind });
    expect(steps).toEqual([
      [0, 0],
      [0, 1],
    ]);
  }
});

test("groups have settings and norms of their own, and settings may be changed between steps", () => {
  const [p, q] = [parameter([3, 4]), parameter([0, 12])];
  const optimizer = new NormalizedGD(
    [
      { params: [p], lr: 5 },
      { params: [q], norm: "sum" },
    ],
    { lr: 1 },
  );
  optimizer.step();
  expect([numbers(p), numbers(q)]).toEqual([
    [-3, -4],
    [0, -1],
  ]);
  optimizer.groups[1].lr = 0;
  optimizer.step();
  expect([numbers(p), numbers(q)]).toEqual([
    [-6, -8],
    [0, -1],
  ]);
});

test("has lr 1e-3 and the joint norm by default, and refuses settings that are none", () => {
  const p = parameter([1]);
  expect(new NormalizedGD([p]).groups).toEqual([{ params: [p], lr: 1e-3, norm: "joint", perExpert: false }]);
  const refused: [options: object, error: Error][] = [
    [{ lr: -1 }, new RangeError("NormalizedGD: lr has -1, expected a number of at least 0")],
    [{ norm: "max" }, new TypeError('NormalizedGD: norm has "max", expected "joint" or "sum"')],
    [{ momentum: 0.9 }, new TypeError('NormalizedGD: options has the name "momentum", expected lr, norm, perExpert')],
  ];
  for (const [options, error] of refused) expect(() => new NormalizedGD([p], options)).toThrow(error);
});
