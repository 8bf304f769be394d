import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DType, oneHot, type Tensor, tensor, zeros } from "../../src/index.ts";
import { oneHotKernel } from "../../src/kernels/oneHot.ts";
import { at, count, general, indices, ints, numbers, shapes, size, some, tensorOf } from "../arbitraries.ts";
import { equalsReference } from "../suite.ts";

const dtypes = fc.constantFrom<DType[]>("float32", "float64", "int32");

/** An index of any shape, scalars and empty ones too, and how many classes there are. */
const cases = fc.tuple(shapes(2), some).chain(([shape, classes]) =>
  fc.record({
    index: ints(count(shape), 0, classes - 1).map((list) => tensor(list).reshape(shape)),
    classes: fc.constant(classes),
    dtype: dtypes,
  }),
);

describe("oneHot", () => {
  equalsReference(
    oneHotKernel,
    fc.tuple(size, some, fc.constantFrom<("float32" | "int32")[]>("float32", "int32")).chain(([n, classes, dtype]) =>
      ints(n, 0, classes - 1).map((index) => ({
        inputs: [index],
        attrs: { classes },
        length: n * classes,
        dtype,
      })),
    ),
    "exact",
  );

  test("is 1 at the class of each index and 0 elsewhere, in float32 unless a dtype is given", () => {
    fc.assert(
      fc.property(cases, ({ index, classes, dtype }) => {
        const y = oneHot(index, classes, { dtype });
        expect([y.dtype, ...y.shape]).toEqual([dtype, ...index.shape, classes]);
        for (const cell of indices(y.shape)) {
          expect(at(y, cell)).toBe(at(index, cell.slice(0, -1)) === cell[cell.length - 1] ? 1 : 0);
        }
        expect(index.oneHot(classes).dtype).toBe("float32");
      }),
    );
  });

  test("argmax gives the index back, and the sum over rows counts as bincount does", () => {
    fc.assert(
      fc.property(cases, ({ index, classes, dtype }) => {
        const y = oneHot(index, classes, { dtype });
        expect(numbers(y.argmax({ dim: -1 }))).toEqual(numbers(index));
        const counted = index.reshape([index.size]).bincount({ numBins: classes });
        expect(numbers(y.reshape([index.size, classes]).sum({ dim: 0 }))).toEqual(numbers(counted));
      }),
    );
  });

  test("times a table is a row of it", () => {
    fc.assert(
      fc.property(
        fc.tuple(size, some, some).chain(([n, V, D]) => fc.tuple(ints(n, 0, V - 1), tensorOf([V, D], general))),
        ([list, table]) => {
          const index = tensor(list);
          const picked = oneHot(index, table.shape[0]).matmul(table);
          expect(numbers(picked)).toEqual(numbers(table.indexSelect(0, index)));
        },
      ),
    );
  });

  test("refuses classes that are not there, and what is no index", () => {
    const index = (...list: number[]): Tensor => tensor(list, { dtype: "int32" });
    const refused: [() => Tensor, Error][] = [
      [
        () => oneHot(index(0, 3), 3),
        new RangeError("oneHot: index has 3 at flat index 1, expected indices from 0 to 2"),
      ],
      [
        () => oneHot(index(-1), 3),
        new RangeError("oneHot: index has -1 at flat index 0, expected indices from 0 to 2"),
      ],
      [
        () => oneHot(zeros([2]), 3),
        new TypeError("oneHot: index has dtype float32, expected int32 (convert with to())"),
      ],
      [() => oneHot(index(0), 0), new RangeError("oneHot: numClasses has 0, expected an integer from 1 to 2147483647")],
      [
        () => oneHot(index(0), 2, { depth: 2 } as object),
        new TypeError('oneHot: options has the name "depth", expected dtype'),
      ],
      [
        () => oneHot(index(0), 2, { dtype: "bool" as DType }),
        new TypeError("oneHot: dtype has dtype bool, expected float32 or float64 or int32"),
      ],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
  });
});
