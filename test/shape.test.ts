import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  broadcastShapes,
  broadcastStrides,
  checkDim,
  checkDims,
  checkSizes,
  reducedShape,
  repeatedDims,
  sizeOf,
  stridesOf,
} from "../src/shape.ts";
import { indices, shapePairs, shapes, size } from "./arbitraries.ts";

const flat = (index: readonly number[], strides: readonly number[]): number =>
  index.reduce((sum, i, d) => sum + i * strides[d], 0);

describe("sizes and strides", () => {
  test("strides number the elements row by row", () => {
    fc.assert(
      fc.property(shapes(4), (shape) => {
        const places = indices(shape).map((index) => flat(index, stridesOf(shape)));
        expect(places).toEqual(Array.from({ length: sizeOf(shape) }, (_, i) => i));
      }),
    );
  });

  test("a scalar has one element", () => {
    expect(sizeOf([])).toBe(1);
    expect(stridesOf([])).toEqual([]);
  });

  test("checkSizes gives the shape back", () => {
    fc.assert(
      fc.property(shapes(4), (shape) => {
        expect(checkSizes("op", shape)).toBe(shape);
      }),
    );
  });

  test.each([
    [[2, -1], new RangeError("op: shape has [2, -1], expected sizes that are integers of at least 0")],
    [[1.5], new RangeError("op: shape has [1.5], expected sizes that are integers of at least 0")],
    [[Number.NaN], new RangeError("op: shape has [NaN], expected sizes that are integers of at least 0")],
    [["2"], new RangeError('op: shape has ["2"], expected sizes that are integers of at least 0')],
    [
      [2 ** 16, 2 ** 15],
      new RangeError("op: the tensor has shape [65536, 32768], expected at most 2147483647 elements (2³¹ − 1)"),
    ],
    [3, new TypeError("op: shape has 3, expected a list of sizes (such as [2, 3])")],
    [Int32Array.of(2), new TypeError("op: shape has [2], expected a list of sizes (such as [2, 3])")],
  ])("checkSizes refuses %o", (shape, error) => {
    expect(() => checkSizes("op", shape as never)).toThrow(error);
  });
});

describe("dims", () => {
  test("count from the front or from the end", () => {
    for (let rank = 1; rank <= 4; rank++) {
      for (let d = 0; d < rank; d++) {
        expect(checkDim("op", d, rank)).toBe(d);
        expect(checkDim("op", d - rank, rank)).toBe(d);
      }
    }
  });

  test("of a scalar are 0 and −1, which stand for the whole of it", () => {
    expect([checkDim("op", 0, 0), checkDim("op", -1, 0)]).toEqual([0, 0]);
    expect(checkDims("op", 0, 0)).toEqual([]);
    expect(checkDims("op", [-1], 0)).toEqual([]);
  });

  test("several come sorted; none given are all; an empty list is none", () => {
    expect(checkDims("op", [-1, 0], 3)).toEqual([0, 2]);
    expect(checkDims("op", 1, 3)).toEqual([1]);
    expect(checkDims("op", undefined, 3)).toEqual([0, 1, 2]);
    expect(checkDims("op", [], 3)).toEqual([]);
    const given = [2, 0];
    checkDims("op", given, 3);
    expect(given).toEqual([2, 0]);
  });

  test.each([
    [() => checkDim("op", 2, 2), "op: dim has 2, expected an integer from -2 to 1 (the tensor has 2 dims)"],
    [() => checkDim("op", -3, 2, "dim0"), "op: dim0 has -3, expected an integer from -2 to 1 (the tensor has 2 dims)"],
    [() => checkDim("op", 1, 0), "op: dim has 1, expected an integer from -1 to 0 (the tensor has 0 dims)"],
    [() => checkDim("op", 0.5, 2), "op: dim has 0.5, expected an integer from -2 to 1 (the tensor has 2 dims)"],
    [() => checkDims("op", [0, -2], 2), "op: dim has [0, -2], expected each dim once"],
  ])("that are not there, or named twice, are refused: %s", (call, message) => {
    expect(call).toThrow(new RangeError(message));
  });

  test("that are neither a number nor a list are refused", () => {
    expect(() => checkDims("op", "0" as never, 2)).toThrow(
      new TypeError('op: dim has "0", expected an integer or a list of them'),
    );
  });

  test("reduced are dropped, or kept with size 1", () => {
    expect(reducedShape([2, 3, 4], [0, 2], false)).toEqual([3]);
    expect(reducedShape([2, 3, 4], [0, 2], true)).toEqual([1, 3, 1]);
    expect(reducedShape([2, 3], [], false)).toEqual([2, 3]);
    expect(reducedShape([0], [0], false)).toEqual([]);
  });
});

describe("broadcasting", () => {
  test("aligns at the end and repeats sizes of 1, in either order", () => {
    fc.assert(
      fc.property(shapePairs(), ({ a, b, out }) => {
        expect(broadcastShapes("op", a, b)).toEqual(out);
        expect(broadcastShapes("op", b, a)).toEqual(out);
      }),
    );
  });

  test("a shape broadcasts with itself and with a scalar to itself", () => {
    fc.assert(
      fc.property(shapes(4), (shape) => {
        expect(broadcastShapes("op", shape, shape)).toEqual(shape);
        expect(broadcastShapes("op", shape, [])).toEqual(shape);
      }),
    );
  });

  test("is associative", () => {
    const narrow = (shape: number[]) =>
      fc
        .tuple(...shape.map((n) => fc.constantFrom(1, n)))
        .chain((sizes) => fc.nat(shape.length).map((d) => sizes.slice(d)));
    fc.assert(
      fc.property(
        fc.array(size, { maxLength: 4 }).chain((shape) => fc.tuple(narrow(shape), narrow(shape), narrow(shape))),
        ([a, b, c]) => {
          const [left, right] = [broadcastShapes("op", a, b), broadcastShapes("op", b, c)];
          expect(broadcastShapes("op", left, c)).toEqual(broadcastShapes("op", a, right));
        },
      ),
    );
  });

  test("refuses sizes that differ, and says which", () => {
    fc.assert(
      fc.property(shapes(2), fc.integer({ min: 2, max: 9 }), fc.integer({ min: 2, max: 9 }), (tail, m, n) => {
        fc.pre(m !== n);
        expect(() => broadcastShapes("op", [m, ...tail], [n, ...tail])).toThrow(
          new RangeError(
            `op: the pair of inputs has shapes [${[m, ...tail].join(", ")}] and [${[n, ...tail].join(", ")}], ` +
              "expected shapes that broadcast (aligned at the end, sizes are equal or one of them is 1, " +
              `but ${m} ≠ ${n})`,
          ),
        );
      }),
    );
  });

  test("0 and 1 broadcast to 0, 0 and 2 do not", () => {
    expect(broadcastShapes("op", [0], [1])).toEqual([0]);
    expect(() => broadcastShapes("op", [0], [2])).toThrow(RangeError);
  });

  test("strides read the one element along repeated dims", () => {
    fc.assert(
      fc.property(shapePairs(), ({ a, out }) => {
        const strides = broadcastStrides(a, out);
        const lead = out.length - a.length;
        for (const index of indices(out)) {
          const own = a.map((n, d) => (n === 1 ? 0 : index[d + lead]));
          expect(flat(index, strides)).toBe(flat(own, stridesOf(a)));
        }
      }),
    );
  });

  test("repeated dims are those whose sum gives the old shape back", () => {
    fc.assert(
      fc.property(shapePairs(), ({ a, out }) => {
        const repeated = repeatedDims(a, out);
        const lead = out.length - a.length;
        expect(reducedShape(out, repeated, true)).toEqual([...new Array(lead).fill(1), ...a]);
      }),
    );
  });
});
