import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  arange,
  type DType,
  eye,
  full,
  Generator,
  manualSeed,
  ones,
  rand,
  randint,
  randn,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { anyFloat, anyInt, count, numbers, shapes, tensorOf } from "./arbitraries.ts";

const dtypes: DType[] = ["float32", "float64", "int32"];

/** An integer that float32 would round. */
const tooFine = (start: string): Error => {
  const why = 'above 2²⁴ it has not every integer: use dtype "float64", or "int32" up to 2³¹ − 1';
  return new RangeError(`${start}, expected numbers that float32 can hold (${why})`);
};

describe("tensor", () => {
  test("of nested lists has their shape and numbers, and gives them back", () => {
    fc.assert(
      fc.property(
        // A list that is empty outside says nothing of the sizes inside.
        shapes(4)
          .filter((shape) => !shape.slice(0, -1).includes(0))
          .chain((shape) => tensorOf(shape, anyFloat)),
        (x) => {
          const y = tensor(x.toArray());
          expect(y.shape).toEqual(x.shape);
          expect(y.data).toEqual(x.data);
        },
      ),
    );
  });

  test("of a number is a scalar", () => {
    const x = tensor(3);
    expect(x.shape).toEqual([]);
    expect(x.item()).toBe(3);
  });

  test.each([
    [[], [0]],
    [
      [[], []],
      [2, 0],
    ],
    [[[[]]], [1, 1, 0]],
  ])("of %j has shape %j", (data, shape) => {
    expect(tensor(data).shape).toEqual(shape);
  });

  test("of lists is float32, rounded, unless a dtype is given", () => {
    expect(tensor([0.1]).dtype).toBe("float32");
    expect(tensor([0.1]).data).toEqual(Float32Array.of(0.1));
    for (const dtype of dtypes) expect(tensor([[1, 2]], { dtype }).dtype).toBe(dtype);
    expect(tensor([0.1], { dtype: "float64" }).item()).toBe(0.1);
  });

  test.each([
    [Float32Array.of(0.1, -0, Number.NaN), "float32"],
    [Float64Array.of(0.1, 1e300), "float64"],
    [Int32Array.of(-(2 ** 31), 2 ** 31 - 1), "int32"],
  ] as const)("of %o keeps dtype and numbers", (data, dtype) => {
    const x = tensor(data);
    expect(x.dtype).toBe(dtype);
    expect(x.shape).toEqual([data.length]);
    expect(x.data).toEqual(data);
  });

  test("of numbers rounds fractions and magnitudes, but no integer of up to 2⁵³", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.maxSafeInteger(), fc.integer(), fc.double({ noNaN: true, max: 1e38, min: -1e38 })),
        (x) => {
          const made = () => tensor([x]).item();
          if (Number.isSafeInteger(x) && Math.fround(x) !== x) expect(made).toThrow(RangeError);
          else expect(made()).toBe(Math.fround(x));
          expect(tensor([x], { dtype: "float64" }).item()).toBe(x);
          expect(tensor(Float64Array.of(x), { dtype: "float32" }).item()).toBe(Math.fround(x));
        },
      ),
    );
  });

  test("copies: later writes to the source are not seen", () => {
    const source = Float32Array.of(1, 2);
    const x = tensor(source);
    source[0] = 9;
    expect(numbers(x)).toEqual([1, 2]);
    const part = tensor(new Float32Array(Float32Array.of(0, 1, 2, 3).buffer, 4, 2));
    expect(numbers(part)).toEqual([1, 2]);
    expect(part.data.buffer.byteLength).toBe(8);
  });

  test.each([
    [Int8Array.of(-128, 127)],
    [Uint8Array.of(0, 255)],
    [Uint8ClampedArray.of(0, 255)],
    [Int16Array.of(-(2 ** 15), 2 ** 15 - 1)],
    [Uint16Array.of(0, 2 ** 16 - 1)],
    [Uint32Array.of(0, 2 ** 24, 2 ** 31)],
  ])("of %o is float32, exactly", (data) => {
    expect(tensor(data).dtype).toBe("float32");
    expect(numbers(tensor(data))).toEqual(Array.from(data));
    expect(tensor(data, { dtype: "float64" }).dtype).toBe("float64");
  });

  test("of a typed array with a dtype converts: floats round to float32, integers must be integers", () => {
    expect(tensor(Float64Array.of(0.1), { dtype: "float32" }).item()).toBe(Math.fround(0.1));
    expect(tensor(Float32Array.of(0.1), { dtype: "float64" }).item()).toBe(Math.fround(0.1));
    expect(tensor(Float64Array.of(3, -0), { dtype: "int32" }).data).toEqual(Int32Array.of(3, 0));
    expect(tensor(Int32Array.of(7), { dtype: "float64" }).data).toEqual(Float64Array.of(7));
    expect(tensor(Uint32Array.of(2 ** 31 - 1), { dtype: "int32" }).item()).toBe(2 ** 31 - 1);
  });

  test("NaN and ∞ are numbers of both float dtypes", () => {
    for (const dtype of ["float32", "float64"] as const) {
      expect(numbers(tensor([Number.NaN, Infinity, -Infinity], { dtype }))).toEqual([Number.NaN, Infinity, -Infinity]);
    }
  });

  test("integers of every size go through int32", () => {
    fc.assert(
      fc.property(fc.array(anyInt), (list) => {
        expect(numbers(tensor(list, { dtype: "int32" }))).toEqual(list);
      }),
    );
  });

  test.each<[string, () => Tensor, Error]>([
    [
      "a list that is too short",
      () => tensor([[1, 2], [3]]),
      new RangeError("tensor: the entry at [1] has 1 entries, expected 2 (as many as the first there)"),
    ],
    [
      "a list that is too long, inside",
      () =>
        tensor([
          [[1], [2]],
          [[3], [4, 5]],
        ]),
      new RangeError("tensor: the entry at [1, 1] has 2 entries, expected 1 (as many as the first there)"),
    ],
    [
      "a list after an empty one",
      () => tensor([[], [1]]),
      new RangeError("tensor: the entry at [1] has 1 entries, expected 0 (as many as the first there)"),
    ],
    [
      "a number where the first is a list",
      () => tensor([[1, 2], 3]),
      new TypeError("tensor: the entry at [1] has 3, expected a list of 2 (as the first)"),
    ],
    [
      "a list where the first is a number",
      () => tensor([1, [2]]),
      new TypeError("tensor: the entry at [1] has [2], expected a number (depth 1, as the first)"),
    ],
    [
      "a string in a list",
      () => tensor([1, "2" as never]),
      new TypeError('tensor: the entry at [1] has "2", expected a number (depth 1, as the first)'),
    ],
    [
      "a hole in a list",
      () => tensor([1, undefined as never]),
      new TypeError("tensor: the entry at [1] has undefined, expected a number (depth 1, as the first)"),
    ],
    [
      "a boolean in a list",
      () => tensor([true as never]),
      new TypeError("tensor: the entry at [0] has true, expected a number (depth 1, as the first)"),
    ],
    [
      "a typed array in a list",
      () => tensor([Float32Array.of(1) as never]),
      new TypeError("tensor: the entry at [0] has [1], expected a number (depth 1, as the first)"),
    ],
    [
      "a string",
      () => tensor("12" as never),
      new TypeError('tensor: data has "12", expected a number, nested lists of numbers, or a typed array'),
    ],
    [
      "null",
      () => tensor(null as never),
      new TypeError("tensor: data has null, expected a number, nested lists of numbers, or a typed array"),
    ],
    [
      "a tensor",
      () => tensor(ones([2]) as never),
      new TypeError("tensor: data has a Tensor, expected a number, nested lists of numbers, or a typed array"),
    ],
    [
      "a list that contains itself",
      () => {
        const endless: never[] = [];
        endless.push(endless as never);
        return tensor(endless);
      },
      new RangeError(
        "tensor: data has more than 64 levels of lists, expected at most 64 (does a list contain itself?)",
      ),
    ],
    [
      "a word for requiresGrad",
      () => tensor([1], { requiresGrad: "no" as never }),
      new TypeError('tensor: requiresGrad has "no", expected true or false'),
    ],
    [
      "a BigInt64Array",
      () => tensor(BigInt64Array.of(1n)),
      new TypeError('tensor: data has "BigInt64Array", expected a typed array of numbers'),
    ],
    [
      "a BigUint64Array",
      () => tensor(BigUint64Array.of(1n)),
      new TypeError('tensor: data has "BigUint64Array", expected a typed array of numbers'),
    ],
    [
      "a DataView",
      () => tensor(new DataView(new ArrayBuffer(8)) as never),
      new TypeError('tensor: data has "DataView", expected a typed array of numbers'),
    ],
    [
      "1.5 as int32",
      () => tensor([0, 1.5], { dtype: "int32" }),
      new RangeError("tensor: data has 1.5 at flat index 1, expected numbers that int32 can hold"),
    ],
    [
      "NaN as int32",
      () => tensor(Number.NaN, { dtype: "int32" }),
      new RangeError("tensor: data has NaN at flat index 0, expected numbers that int32 can hold"),
    ],
    [
      "∞ as int32",
      () => tensor([[1], [Infinity]], { dtype: "int32" }),
      new RangeError("tensor: data has Infinity at flat index 1, expected numbers that int32 can hold"),
    ],
    [
      "2³¹ as int32",
      () => tensor(Float64Array.of(2 ** 31), { dtype: "int32" }),
      new RangeError("tensor: data has 2147483648 at flat index 0, expected numbers that int32 can hold"),
    ],
    [
      "10⁴⁰ as float32",
      () => tensor(1e40),
      new RangeError("tensor: data has 1e+40 at flat index 0, expected numbers that float32 can hold"),
    ],
    [
      "10⁴⁰ of a Float64Array as float32",
      () => tensor(Float64Array.of(1e40), { dtype: "float32" }),
      new RangeError("tensor: data has 1e+40 at flat index 0, expected numbers that float32 can hold"),
    ],
    [
      "2²⁴ + 1 of a Uint32Array, which float32 would round",
      () => tensor(Uint32Array.of(2 ** 24, 2 ** 24 + 1)),
      tooFine("tensor: data has 16777217 at flat index 1"),
    ],
    ["2²⁴ + 1 in a list", () => tensor([[1], [2 ** 24 + 1]]), tooFine("tensor: data has 16777217 at flat index 1")],
    ["−2⁵³ + 1", () => tensor(1 - 2 ** 53), tooFine("tensor: data has -9007199254740991 at flat index 0")],
    [
      "2²⁴ + 1 of an Int32Array as float32",
      () => tensor(Int32Array.of(2 ** 24 + 1), { dtype: "float32" }),
      tooFine("tensor: data has 16777217 at flat index 0"),
    ],
    ["full of 2²⁴ + 1", () => full([2], 2 ** 24 + 1), tooFine("full: value has 16777217 at flat index 0")],
    [
      "a range that goes beyond 2²⁴",
      () => arange(2 ** 24, 2 ** 24 + 3),
      tooFine("arange: the list has 16777217 at flat index 1"),
    ],
    [
      "an unknown dtype",
      () => tensor([1], { dtype: "float16" as never }),
      new TypeError("tensor: dtype has dtype float16, expected float32 or float64 or int32"),
    ],
    [
      "an unknown option",
      () => tensor([1], { type: "int32" } as never),
      new TypeError('tensor: options has the name "type", expected dtype, requiresGrad'),
    ],
    [
      "a shape in place of the options",
      () => tensor(Float32Array.of(1, 2), [2, 1] as never),
      new TypeError("tensor: options has [2, 1], expected an object with dtype, requiresGrad"),
    ],
    [
      "a gradient for int32",
      () => tensor([1], { dtype: "int32", requiresGrad: true }),
      new TypeError(
        "tensor: dtype has dtype int32, expected float32 or float64 (requiresGrad; integers have no gradient)",
      ),
    ],
  ])("refuses %s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});

describe("filled tensors", () => {
  test.each(dtypes)("full, zeros, ones and eye of %s", (dtype) => {
    fc.assert(
      fc.property(shapes(), fc.integer({ min: -9, max: 9 }), (shape, value) => {
        for (const [x, expected] of [
          [full(shape, value, { dtype }), value],
          [zeros(shape, { dtype }), 0],
          [ones(shape, { dtype }), 1],
        ] as const) {
          expect(x.dtype).toBe(dtype);
          expect(x.shape).toEqual(shape);
          expect(numbers(x)).toEqual(new Array(count(shape)).fill(expected));
        }
      }),
    );
    expect(eye(2, 3, { dtype }).toArray()).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ]);
    expect(eye(2, 2, { dtype }).dtype).toBe(dtype);
  });

  test("eye is square by default and may be empty", () => {
    expect(eye(2).toArray()).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(eye(0).shape).toEqual([0, 0]);
    expect(eye(3, 1).toArray()).toEqual([[1], [0], [0]]);
  });

  test("the list of sizes may be changed afterwards", () => {
    const shape = [2];
    const made = [full(shape, 1), rand(shape), randint(0, 2, shape)];
    shape[0] = 5;
    for (const x of made) expect(x.shape).toEqual([2]);
  });

  test("values that float32 rounds are rounded; NaN, ∞ and −0 stay", () => {
    expect(numbers(full([3], 0.1))).toEqual(new Array(3).fill(Math.fround(0.1)));
    expect(full([], Number.NaN).item()).toBeNaN();
    expect(full([], -Infinity).item()).toBe(-Infinity);
    expect(full([], -0).item()).toBe(-0);
    expect(ones([]).div(-0).item()).toBe(-Infinity);
  });

  test.each<[string, () => Tensor, Error]>([
    [
      "a negative size",
      () => zeros([2, -1]),
      new RangeError("zeros: shape has [2, -1], expected sizes that are integers of at least 0"),
    ],
    [
      "half a size",
      () => ones([1.5]),
      new RangeError("ones: shape has [1.5], expected sizes that are integers of at least 0"),
    ],
    [
      "a number in place of a shape",
      () => zeros(3 as never),
      new TypeError("zeros: shape has 3, expected a list of sizes (such as [2, 3])"),
    ],
    [
      "more elements than a tensor can have",
      () => zeros([2 ** 16, 2 ** 16]),
      new RangeError("zeros: the tensor has shape [65536, 65536], expected at most 2147483647 elements (2³¹ − 1)"),
    ],
    [
      "a negative size of eye",
      () => eye(-1),
      new RangeError("eye: shape has [-1, -1], expected sizes that are integers of at least 0"),
    ],
    [
      "a value that int32 does not have",
      () => full([2], 0.5, { dtype: "int32" }),
      new RangeError("full: value has 0.5 at flat index 0, expected numbers that int32 can hold"),
    ],
    [
      "a value that is no number",
      () => full([2], "3" as never),
      new TypeError('full: value has "3", expected a number'),
    ],
    [
      "an unknown dtype",
      () => zeros([2], { dtype: "bool" as never }),
      new TypeError("zeros: dtype has dtype bool, expected float32 or float64 or int32"),
    ],
    [
      "an unknown option",
      () => eye(2, 2, { rng: 1 } as never),
      new TypeError('eye: options has the name "rng", expected dtype, requiresGrad'),
    ],
    [
      "a gradient for int32",
      () => ones([2], { dtype: "int32", requiresGrad: true }),
      new TypeError(
        "ones: dtype has dtype int32, expected float32 or float64 (requiresGrad; integers have no gradient)",
      ),
    ],
  ])("refuse %s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});

describe("arange", () => {
  test("counts from 0 below end, float32", () => {
    fc.assert(
      fc.property(fc.nat(50), (n) => {
        const x = arange(n);
        expect(x.dtype).toBe("float32");
        expect(numbers(x)).toEqual(Array.from({ length: n }, (_, i) => i));
      }),
    );
  });

  test("with start and step holds start + i · step for as long as that has not reached end", () => {
    const eighths = fc.integer({ min: -40, max: 40 }).map((n) => n / 8);
    fc.assert(
      fc.property(
        eighths,
        eighths,
        eighths.filter((s) => s !== 0),
        (start, end, step) => {
          const expected: number[] = [];
          for (let x = start; step > 0 ? x < end : x > end; x += step) expected.push(x + 0);
          expect(numbers(arange(start, end, step)).map((x) => x + 0)).toEqual(expected);
        },
      ),
    );
  });

  test("takes its options after one, two or three numbers", () => {
    for (const x of [
      arange(3, { dtype: "int32" }),
      arange(0, 3, { dtype: "int32" }),
      arange(0, 3, 1, { dtype: "int32" }),
    ]) {
      expect(x.data).toEqual(Int32Array.of(0, 1, 2));
    }
    expect(arange(2, { requiresGrad: true }).requiresGrad).toBe(true);
  });

  test.each<[string, () => Tensor, Error]>([
    ["step 0", () => arange(0, 3, 0), new RangeError("arange: step has 0, expected a finite number that is not 0")],
    ["an end of NaN", () => arange(Number.NaN), new RangeError("arange: end has NaN, expected a finite number")],
    ["a start of ∞", () => arange(Infinity, 0), new RangeError("arange: start has Infinity, expected a finite number")],
    [
      "nothing",
      () => arange(undefined as never),
      new TypeError("arange: start has undefined, expected a finite number"),
    ],
    [
      "more numbers than a tensor can have",
      () => arange(2 ** 31),
      new RangeError("arange: the range has 2147483648 numbers, expected at most 2147483647 (2³¹ − 1)"),
    ],
    [
      "a fourth number",
      () => arange(0, 1, 2, 3 as never),
      new TypeError("arange: options has 3, expected an object with dtype, requiresGrad"),
    ],
    [
      "half steps in int32",
      () => arange(0, 2, 0.5, { dtype: "int32" }),
      new RangeError("arange: the list has 0.5 at flat index 1, expected numbers that int32 can hold"),
    ],
    [
      "an unknown option",
      () => arange(3, { step: 2 } as never),
      new TypeError('arange: options has the name "step", expected dtype, requiresGrad'),
    ],
  ])("refuses %s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});

describe("random tensors", () => {
  test("draw from the generator that is given, element by element", () => {
    fc.assert(
      fc.property(fc.integer(), shapes(), (seed, shape) => {
        const n = count(shape);
        const next = new Generator(seed);
        const expected = Array.from({ length: n }, () => next.uniform());
        expect(numbers(rand(shape, { rng: new Generator(seed) }))).toEqual(expected);

        const normals = new Generator(seed);
        const drawn = Array.from({ length: n }, () => normals.normal());
        expect(numbers(randn(shape, { rng: new Generator(seed), dtype: "float64" }))).toEqual(drawn);
        expect(numbers(randn(shape, { rng: new Generator(seed) }))).toEqual(drawn.map(Math.fround));
      }),
    );
  });

  test("manualSeed makes the generator that is used when none is given", () => {
    const rng = manualSeed(3);
    const first = [rand([4]), randn([3]), randint(0, 9, [5])].map(numbers);
    expect(rng).toBeInstanceOf(Generator);
    manualSeed(3);
    expect([rand([4]), randn([3]), randint(0, 9, [5])].map(numbers)).toEqual(first);
    expect(numbers(rand([4]))).not.toEqual(first[0]);
  });

  test("a generator that is given leaves the other one alone", () => {
    manualSeed(3);
    const expected = numbers(rand([4]));
    manualSeed(3);
    rand([9], { rng: new Generator(1) });
    expect(numbers(rand([4]))).toEqual(expected);
  });

  test("randint lies in [low, high) and is int32", () => {
    fc.assert(
      fc.property(fc.integer({ min: -99, max: 99 }), fc.integer({ min: 1, max: 99 }), fc.integer(), (low, n, seed) => {
        const x = randint(low, low + n, [20], { rng: new Generator(seed) });
        expect(x.dtype).toBe("int32");
        for (const v of x.data) expect(v >= low && v < low + n).toBe(true);
      }),
    );
    const whole = randint(-(2 ** 31), 2 ** 31, [100], { rng: new Generator(1) });
    expect(Math.min(...whole.data)).toBeLessThan(-(2 ** 30));
    expect(Math.max(...whole.data)).toBeGreaterThan(2 ** 30);
  });

  test.each([rand, randn])("%o may require a gradient", (draw) => {
    expect(draw([2], { requiresGrad: true }).requiresGrad).toBe(true);
    expect(draw([2]).requiresGrad).toBe(false);
  });

  test.each<[string, () => Tensor, Error]>([
    [
      "rand of integers",
      () => rand([2], { dtype: "int32" }),
      new TypeError("rand: dtype has dtype int32, expected float32 or float64 (draw integers with randint)"),
    ],
    [
      "randn of integers",
      () => randn([2], { dtype: "int32" }),
      new TypeError("randn: dtype has dtype int32, expected float32 or float64 (draw integers with randint)"),
    ],
    [
      "a negative size",
      () => randn([-1]),
      new RangeError("randn: shape has [-1], expected sizes that are integers of at least 0"),
    ],
    [
      "an unknown option",
      () => rand([2], { seed: 1 } as never),
      new TypeError('rand: options has the name "seed", expected dtype, requiresGrad, rng'),
    ],
    [
      "a seed in place of a generator",
      () => randn([2], { rng: 7 as never }),
      new TypeError("randn: rng has 7, expected a Generator (make one with new Generator(seed))"),
    ],
    [
      "randint of nothing",
      () => randint(3, 3, [2]),
      new RangeError("randint: high has 3, expected an integer from 4 to 2147483648 (above low)"),
    ],
    [
      "half a bound",
      () => randint(0.5, 3, [2]),
      new RangeError("randint: low has 0.5, expected an integer from -2147483648 to 2147483647"),
    ],
    [
      "a shape that was forgotten",
      () => randint(0, 3, undefined as never),
      new TypeError("randint: shape has undefined, expected a list of sizes (such as [2, 3])"),
    ],
    [
      "a dtype for randint",
      () => randint(0, 3, [2], { dtype: "float32" } as never),
      new TypeError('randint: options has the name "dtype", expected rng'),
    ],
  ])("refuse %s", (_, call, error) => {
    expect(call).toThrow(error);
  });
});
