import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CumsumOptions, cumsum, type Tensor, tensor, zeros } from "../../src/index.ts";
import { cumsumKernel } from "../../src/kernels/scan.ts";
import {
  cotangent,
  dyadic,
  floats,
  fullShapes,
  general,
  ints,
  plainNumbers,
  shapes,
  size,
  tensorOf,
  wide,
} from "../arbitraries.ts";
import { equalsReference, hasRightGradient, isAdjoint } from "../suite.ts";

const directions = fc.record({ exclusive: fc.boolean(), reverse: fc.boolean() });

const spans = fc
  .record({ outer: size, n: fc.oneof(size, fc.constant(40)), inner: size, direction: directions })
  .map(({ direction, ...span }) => ({ ...span, ...direction }));

const kernelCases = (element: fc.Arbitrary<number> | "int32") =>
  spans.chain((attrs) => {
    const length = attrs.outer * attrs.n * attrs.inner;
    const dtype = element === "int32" ? ("int32" as const) : ("float32" as const);
    // Large integers, so that their sums wrap at 2³².
    const x = element === "int32" ? ints(length, -(2 ** 31), 2 ** 31 - 1) : floats(length, element);
    return x.map((list) => ({ inputs: [list], attrs, length, dtype }));
  });

/** x, one of its dims (counted from either end), and the options. */
const cases = (element = dyadic, shape = shapes(3).filter((list) => list.length > 0)) =>
  shape.chain((list) =>
    fc.record({
      x: tensorOf(list, element),
      d: fc.nat(list.length - 1),
      negative: fc.boolean(),
      options: directions,
    }),
  );

const dimOf = ({ x, d, negative }: { x: Tensor; d: number; negative: boolean }): number =>
  negative ? d - x.shape.length : d;

describe("cumsum", () => {
  equalsReference(cumsumKernel, fc.oneof(kernelCases(dyadic), kernelCases("int32")), "exact");
  equalsReference(cumsumKernel, kernelCases(wide), { ulps: 0.5 });

  isAdjoint(
    "cumsum",
    fc
      .tuple(cases(), cotangent)
      .chain(([c, g]) =>
        tensorOf(c.x.shape).map((v) => ({ f: (y: Tensor) => y.cumsum(dimOf(c), c.options), x: c.x, v, g })),
      ),
  );
  hasRightGradient(
    "cumsum",
    cases(general, fullShapes(2, 1)).map((c) => ({
      f: (y: Tensor) => y.cumsum(dimOf(c), c.options).square(),
      inputs: [c.x],
    })),
    { numRuns: 8 },
  );

  test("y[k] is the sum of x[0] to x[k], along the dim that is named", () => {
    expect(cumsum(tensor([1, 2, 4]), 0).toArray()).toEqual([1, 3, 7]);
    const x = tensor([
      [1, 2],
      [4, 8],
    ]);
    expect(cumsum(x, 0).toArray()).toEqual([
      [1, 2],
      [5, 10],
    ]);
    expect(cumsum(x, 1).toArray()).toEqual([
      [1, 3],
      [4, 12],
    ]);
  });

  test("inclusive and exclusive differ by x, for every shape and dim, empty ones too", () => {
    fc.assert(
      fc.property(cases(), (c) => {
        const { x, options } = c;
        const sums = (exclusive: boolean) => x.cumsum(dimOf(c), { ...options, exclusive });
        expect(sums(false).shape).toEqual(x.shape);
        expect(plainNumbers(sums(true).add(x))).toEqual(plainNumbers(sums(false)));
      }),
    );
  });

  test("from the end is from the start of x turned round", () => {
    fc.assert(
      fc.property(cases(wide), (c) => {
        const { x, d, options } = c;
        const backwards = tensor(Int32Array.from({ length: x.shape[d] }, (_, i) => x.shape[d] - 1 - i));
        const turned = (y: Tensor) => y.indexSelect(d, backwards);
        const other = { ...options, reverse: !options.reverse };
        expect(plainNumbers(turned(turned(x).cumsum(d, other)))).toEqual(plainNumbers(x.cumsum(dimOf(c), options)));
      }),
    );
  });

  test("what comes before k, x[k] and what comes after it add up to the whole sum", () => {
    fc.assert(
      fc.property(cases(), (c) => {
        const [before, after] = [false, true].map((reverse) => c.x.cumsum(dimOf(c), { exclusive: true, reverse }));
        const whole = c.x.sum({ dim: c.d, keepdim: true }).expand(c.x.shape);
        expect(plainNumbers(before.add(c.x).add(after))).toEqual(plainNumbers(whole));
      }),
    );
  });

  test("of counts is where each group starts", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 12 }), (counts) => {
        const starts = cumsum(tensor(Int32Array.from(counts)), 0, { exclusive: true });
        expect(starts.dtype).toBe("int32");
        let at = 0;
        expect(plainNumbers(starts)).toEqual(
          counts.map((n) => {
            at += n;
            return at - n;
          }),
        );
      }),
    );
  });

  test("a number that is not finite reaches the sums that it is in, and no other", () => {
    const x = tensor([1, Infinity, 2]);
    expect(cumsum(x, 0).toArray()).toEqual([1, Infinity, Infinity]);
    expect(cumsum(x, 0, { exclusive: true }).toArray()).toEqual([0, 1, Infinity]);
    expect(cumsum(x, 0, { exclusive: true, reverse: true }).toArray()).toEqual([Infinity, 2, 0]);
    for (const dtype of ["float32", "float64"] as const) {
      expect(cumsum(tensor([Number.NaN, 1], { dtype }), 0, { exclusive: true, reverse: true }).toArray()).toEqual([
        1, 0,
      ]);
    }
  });

  test("refuses a scalar, a dim and an option that are not there", () => {
    const refused: [() => Tensor, Error][] = [
      [() => tensor(1).cumsum(0), new RangeError("cumsum: x has shape [], expected at least 1 dim")],
      [
        () => zeros([2, 3]).cumsum(2),
        new RangeError("cumsum: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"),
      ],
      [
        () => zeros([2]).cumsum(0, { inclusive: false } as CumsumOptions),
        new TypeError('cumsum: options has the name "inclusive", expected exclusive, reverse'),
      ],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
  });
});
