import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arange, type DType, full, type NestedArray, type Tensor, tensor } from "../src/index.ts";
import { printNumbers } from "../src/print.ts";
import { anyFloat, anyInt, shapes, tensorOf } from "./arbitraries.ts";

/** What NumPy 2.4 prints for a number or lists of them, as str(np.array(data, dtype)). */
type Golden = [data: NestedArray, dtype: DType, text: string];

const scalars: Golden[] = [
  [0, "float32", "0.0"],
  [-0, "float32", "-0.0"],
  [1, "float32", "1.0"],
  [-2.5, "float32", "-2.5"],
  [0.1, "float32", "0.1"],
  [0.3333333333333333, "float32", "0.33333334"],
  [0.0001, "float32", "1e-04"],
  [9e-5, "float32", "9e-05"],
  [123456.7, "float32", "123456.7"],
  [999999.5, "float32", "999999.5"],
  [1000000, "float32", "1e+06"],
  [16777216, "float32", "1.6777216e+07"],
  [1e16, "float32", "1e+16"],
  [1.5e-45, "float32", "1e-45"],
  [Number.NaN, "float32", "nan"],
  [-Infinity, "float32", "-inf"],
  [0, "float64", "0.0"],
  [-0, "float64", "-0.0"],
  [1, "float64", "1.0"],
  [-2.5, "float64", "-2.5"],
  [0.1, "float64", "0.1"],
  [0.3333333333333333, "float64", "0.3333333333333333"],
  [0.0001, "float64", "0.0001"],
  [9e-5, "float64", "9e-05"],
  [123456.7, "float64", "123456.7"],
  [999999.5, "float64", "999999.5"],
  [1000000, "float64", "1000000.0"],
  [16777216, "float64", "16777216.0"],
  [1e16, "float64", "1e+16"],
  [5e-324, "float64", "5e-324"],
  [Number.NaN, "float64", "nan"],
  [-Infinity, "float64", "-inf"],
  [7, "int32", "7"],
  [-2147483648, "int32", "-2147483648"],
];

const lists: Golden[] = [
  [[], "float32", "[]"],
  [[1], "float32", "[1.]"],
  [[1, 2.5, -3], "float32", "[ 1.   2.5 -3. ]"],
  [[0.1, 0.25], "float32", "[0.1  0.25]"],
  [[0.1, 0.25], "float64", "[0.1  0.25]"],
  [[-0, 0], "float32", "[-0.  0.]"],
  [[0.3333333333333333, 0.6666666666666666], "float32", "[0.33333334 0.6666667 ]"],
  [[0.3333333333333333, 0.6666666666666666], "float64", "[0.33333333 0.66666667]"],
  [[0.001953125, 1.1], "float32", "[0.00195312 1.1       ]"],
  [[0.005859375, 1.1], "float64", "[0.00585938 1.1       ]"],
  [[100, 0.123456789012], "float64", "[100.           0.12345679]"],
  [[999999, 1000], "float32", "[999999.   1000.]"],
  [[1000000, 1000], "float32", "[1.e+06 1.e+03]"],
  [[99999999, 100000], "float64", "[99999999.   100000.]"],
  [[100000000, 100000], "float64", "[1.e+08 1.e+05]"],
  [[0.0001, 0.01], "float64", "[0.0001 0.01  ]"],
  [[0.0001, 0.01], "float32", "[0.0001 0.01  ]"],
  [[9e-5, 0.01], "float64", "[9.e-05 1.e-02]"],
  [[1000, 1], "float64", "[1000.    1.]"],
  [[1001, 1], "float64", "[1.001e+03 1.000e+00]"],
  [[1.1, 1e-5], "float32", "[1.1e+00 1.0e-05]"],
  [[1e-5, 1e-100], "float64", "[1.e-005 1.e-100]"],
  [[1e300, -1], "float64", "[ 1.e+300 -1.e+000]"],
  [[8589934592, 1.5], "float32", "[8.589935e+09 1.500000e+00]"],
  [[123456789.125, 0.5], "float64", "[1.23456789e+08 5.00000000e-01]"],
];

const notFinite: Golden[] = [
  [[Number.NaN], "float32", "[nan]"],
  [[Infinity], "float32", "[inf]"],
  [[-Infinity], "float32", "[-inf]"],
  [[Number.NaN, -Infinity], "float32", "[ nan -inf]"],
  [[1, Number.NaN], "float32", "[ 1. nan]"],
  [[1.5, Infinity, -2.25], "float32", "[ 1.5    inf -2.25]"],
  [[-1.5, Number.NaN, -Infinity], "float32", "[-1.5  nan -inf]"],
  [[1e-10, Number.NaN, Infinity], "float64", "[1.e-10    nan    inf]"],
  [[Number.NaN, 0], "float64", "[nan  0.]"],
];

const integers: Golden[] = [
  [[1, -20, 300], "int32", "[  1 -20 300]"],
  [[0], "int32", "[0]"],
  [[-2147483648, 2147483647], "int32", "[-2147483648  2147483647]"],
  [
    [
      [1, 2],
      [30, 40],
    ],
    "int32",
    ["[[ 1  2]", " [30 40]]"].join("\n"),
  ],
];

const nested: Golden[] = [
  [
    [
      [1, 2],
      [3, 4.5],
    ],
    "float32",
    ["[[1.  2. ]", " [3.  4.5]]"].join("\n"),
  ],
  [
    [
      [[1], [2]],
      [[-3], [4]],
    ],
    "float32",
    ["[[[ 1.]", "  [ 2.]]", "", " [[-3.]", "  [ 4.]]]"].join("\n"),
  ],
  [
    [
      [[[1, 2]], [[3, 4]]],
      [[[5, 6]], [[7, 8]]],
    ],
    "float32",
    ["[[[[1. 2.]]", "", "  [[3. 4.]]]", "", "", " [[[5. 6.]]", "", "  [[7. 8.]]]]"].join("\n"),
  ],
  [[[], []], "float32", "[]"],
  [
    [
      [1e-9, 1],
      [Number.NaN, 2],
    ],
    "float32",
    ["[[1.e-09 1.e+00]", " [   nan 2.e+00]]"].join("\n"),
  ],
  [[[[]]], "float32", "[]"],
];

const whole = (n: number): Tensor => arange(n, { dtype: "int32" });

/** As above, for arrays that are wider than a line or larger than what is shown. */
const large: [title: string, x: Tensor, lines: string[]][] = [
  [
    "a list of two lines",
    arange(30),
    [
      "[ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14. 15. 16. 17.",
      " 18. 19. 20. 21. 22. 23. 24. 25. 26. 27. 28. 29.]",
    ],
  ],
  [
    "a list of two lines of integers",
    whole(26),
    ["[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23", " 24 25]"],
  ],
  [
    "a matrix whose rows take two lines",
    arange(40).div(2).reshape([2, 20]),
    [
      "[[ 0.   0.5  1.   1.5  2.   2.5  3.   3.5  4.   4.5  5.   5.5  6.   6.5",
      "   7.   7.5  8.   8.5  9.   9.5]",
      " [10.  10.5 11.  11.5 12.  12.5 13.  13.5 14.  14.5 15.  15.5 16.  16.5",
      "  17.  17.5 18.  18.5 19.  19.5]]",
    ],
  ],
  [
    "float64 on two lines",
    arange(12, { dtype: "float64" }).div(3),
    [
      "[0.         0.33333333 0.66666667 1.         1.33333333 1.66666667",
      " 2.         2.33333333 2.66666667 3.         3.33333333 3.66666667]",
    ],
  ],
  [
    "a row that takes two lines, deep inside",
    whole(25).mul(100).reshape([1, 1, 25]),
    [
      "[[[   0  100  200  300  400  500  600  700  800  900 1000 1100 1200 1300",
      "   1400 1500 1600 1700 1800 1900 2000 2100 2200 2300 2400]]]",
    ],
  ],
  [
    "no spaces at the end of a line that goes on",
    tensor(new Array(6).fill([0.9, 1, 1.1, 1.25]).flat()),
    [
      "[0.9  1.   1.1  1.25 0.9  1.   1.1  1.25 0.9  1.   1.1  1.25 0.9  1.",
      " 1.1  1.25 0.9  1.   1.1  1.25 0.9  1.   1.1  1.25]",
    ],
  ],
  ["a list that is cut", whole(1001), ["[   0    1    2 ...  998  999 1000]"]],
  ["a list of floats that is cut", arange(1001).div(8), ["[  0.      0.125   0.25  ... 124.75  124.875 125.   ]"]],
  [
    "a matrix cut both ways",
    whole(1600).reshape([40, 40]),
    [
      "[[   0    1    2 ...   37   38   39]",
      " [  40   41   42 ...   77   78   79]",
      " [  80   81   82 ...  117  118  119]",
      " ...",
      " [1480 1481 1482 ... 1517 1518 1519]",
      " [1520 1521 1522 ... 1557 1558 1559]",
      " [1560 1561 1562 ... 1597 1598 1599]]",
    ],
  ],
  [
    "a matrix whose few rows are all shown",
    whole(1200).reshape([3, 400]),
    [
      "[[   0    1    2 ...  397  398  399]",
      " [ 400  401  402 ...  797  798  799]",
      " [ 800  801  802 ... 1197 1198 1199]]",
    ],
  ],
  [
    "a matrix whose few columns are all shown",
    arange(1200).div(2).reshape([400, 3]),
    [
      "[[0.000e+00 5.000e-01 1.000e+00]",
      " [1.500e+00 2.000e+00 2.500e+00]",
      " [3.000e+00 3.500e+00 4.000e+00]",
      " ...",
      " [5.955e+02 5.960e+02 5.965e+02]",
      " [5.970e+02 5.975e+02 5.980e+02]",
      " [5.985e+02 5.990e+02 5.995e+02]]",
    ],
  ],
  [
    "matrices in a list that is cut",
    whole(1008).reshape([7, 1, 144]),
    [
      "[[[   0    1    2 ...  141  142  143]]",
      "",
      " [[ 144  145  146 ...  285  286  287]]",
      "",
      " [[ 288  289  290 ...  429  430  431]]",
      "",
      " ...",
      "",
      " [[ 576  577  578 ...  717  718  719]]",
      "",
      " [[ 720  721  722 ...  861  862  863]]",
      "",
      " [[ 864  865  866 ... 1005 1006 1007]]]",
    ],
  ],
];

describe("prints as NumPy does", () => {
  test.each(scalars)("the number %d as %s: %s", (data, dtype, text) => {
    expect(tensor(data, { dtype }).toString()).toBe(text);
  });

  test.each([...lists, ...notFinite, ...integers, ...nested])("%j as %s: %s", (data, dtype, text) => {
    expect(tensor(data, { dtype }).toString()).toBe(text);
  });

  test.each(large)("%s", (_, x, lines) => {
    expect(x.toString()).toBe(lines.join("\n"));
  });

  test("an empty tensor of any shape as []", () => {
    for (const shape of [[0], [0, 3], [3, 0], [2, 0, 4]]) expect(full(shape, 0).toString()).toBe("[]");
  });

  test("a thousand numbers are shown, all of them", () => {
    const lines = whole(1000).toString().split("\n");
    expect(lines.length).toBe(56);
    expect(lines[0]).toBe("[  0   1   2   3   4   5   6   7   8   9  10  11  12  13  14  15  16  17");
    expect(lines[55]).toBe(" 990 991 992 993 994 995 996 997 998 999]");
  });

  test("what is not shown does not change how the rest is written", () => {
    const data = new Float32Array(2000).fill(1);
    data[1000] = 1e9;
    expect(tensor(data).toString()).toBe("[1. 1. 1. ... 1. 1. 1.]");
  });
});

describe("what is printed", () => {
  const read = (text: string): number =>
    text === "inf" ? Infinity : text === "-inf" ? -Infinity : text === "nan" ? Number.NaN : Number(text);

  test("by itself gives a float32 or float64 back", () => {
    fc.assert(
      fc.property(anyFloat, (x) => {
        expect(Math.fround(read(printNumbers(Float32Array.of(x), [], "float32")))).toBe(x);
      }),
    );
    fc.assert(
      fc.property(fc.double(), (x) => {
        expect(read(printNumbers(Float64Array.of(x), [], "float64"))).toBe(x);
      }),
    );
  });

  test("gives int32 back, in brackets as deep as the shape", () => {
    fc.assert(
      fc.property(
        shapes().chain((shape) => tensorOf(shape, anyInt, "int32")),
        (x) => {
          const text = x.toString();
          if (x.size === 0) expect(text).toBe("[]");
          else expect(JSON.parse(text.replace(/(?<=[\d\]])\s+(?=[-\d[])/g, ","))).toEqual(x.toArray());
        },
      ),
    );
  });

  test("has columns of one width and no line beyond 75 characters", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }).chain((n) => tensorOf([2, n], anyInt, "int32")),
        (x) => {
          const lines = x.toString().split("\n");
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(75);
          // Every number ends where the one above it does.
          const ends = lines.map((line) => Array.from(line.matchAll(/\d(?!\d)/g), (match) => match.index));
          for (const list of ends) expect(list).toEqual(ends[0].slice(0, list.length));
        },
      ),
    );
  });
});
