import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as library from "../src/index.ts";
import { type DType, ones, SGD, type Shape, Tensor, tensor, zeros } from "../src/index.ts";
import { printNumbers } from "../src/print.ts";
import { anyFloat, at, count, indices, numbers, shapes, tensorOf } from "./arbitraries.ts";

const dtypes: DType[] = ["float32", "float64", "int32"];
const anyTensor = shapes().chain((shape) => tensorOf(shape, anyFloat));

describe("reading", () => {
  test("read() gives a copy of the numbers, in a typed array of the dtype", async () => {
    for (const [dtype, kind] of [
      ["float32", Float32Array],
      ["float64", Float64Array],
      ["int32", Int32Array],
    ] as const) {
      const x = tensor(
        [
          [1, 2],
          [3, 4],
        ],
        { dtype },
      );
      const copy = await x.read();
      expect(copy).toBeInstanceOf(kind);
      expect(copy).toEqual(x.data);
      copy[0] = 99;
      expect(numbers(x)).toEqual([1, 2, 3, 4]);
    }
  });

  test("data is an array that no later call changes", () => {
    const x = tensor([1, 2], { requiresGrad: true });
    const before = x.data;
    x.sum().backward();
    new SGD([x], { lr: 1 }).step();
    expect(numbers(x)).toEqual([0, 1]);
    expect(Array.from(before)).toEqual([1, 2]);
  });

  test("toArray() nests the numbers as deep as the shape", () => {
    fc.assert(
      fc.property(anyTensor, (x) => {
        const nested = x.toArray();
        const look = (index: readonly number[]) =>
          index.reduce<library.NestedArray>((list, i) => (list as library.NestedArray[])[i], nested);
        for (const index of indices(x.shape)) expect(look(index)).toBe(at(x, index));
        // The depth and the sizes, down to the first empty dim.
        let list = nested;
        for (const n of x.shape) {
          expect(list).toHaveLength(n);
          if (n === 0) return;
          list = (list as library.NestedArray[])[0];
        }
        expect(typeof list).toBe("number");
      }),
    );
  });

  test("item() is the one number of a tensor with one element", () => {
    for (const shape of [[], [1], [1, 1, 1]]) expect(tensor(3).reshape(shape).item()).toBe(3);
    for (const shape of [[0], [2], [1, 2]]) {
      expect(() => zeros(shape).item()).toThrow(
        new RangeError(`item: the tensor has shape [${shape.join(", ")}], expected one element`),
      );
    }
  });

  test("size and numel() count the elements", () => {
    fc.assert(
      fc.property(anyTensor, (x) => {
        expect(x.size).toBe(count(x.shape));
        expect(x.numel()).toBe(x.size);
        expect(x.data.length).toBe(x.size);
      }),
    );
  });

  test("toString() prints the numbers, inspect() their shape and dtype as well", () => {
    const x = tensor([[1, 2.5]]);
    expect(String(x)).toBe(printNumbers(x.data, x.shape, x.dtype));
    expect(`${x}`).toBe("[[1.  2.5]]");
    expect(inspect(x)).toBe("Tensor(shape [1, 2], float32)\n[[1.  2.5]]");
    x.requiresGrad = true;
    expect(inspect(x)).toBe("Tensor(shape [1, 2], float32, requiresGrad)\n[[1.  2.5]]");
    expect(inspect(tensor(3, { dtype: "int32" }))).toBe("Tensor(shape [], int32)\n3");
  });
});

describe("instanceof", () => {
  test("holds for tensors, those of another copy of the library too", () => {
    const foreign = { [Symbol.for("moegrad.Tensor")]: true };
    expect(ones([2]) instanceof Tensor).toBe(true);
    expect(foreign instanceof Tensor).toBe(true);
  });

  test.each([null, undefined, 3, "x", [], {}, Float32Array.of(1), { "moegrad.Tensor": true }])("not for %o", (x) => {
    expect((x as unknown) instanceof Tensor).toBe(false);
  });
});

/** What can be called by name. */
type Callable = Record<string, (...args: unknown[]) => unknown>;

describe("methods", () => {
  const x = tensor([
    [0.5, 1.25],
    [2, 0.125],
  ]);
  const b = tensor([
    [1, 1.25],
    [-1, 3],
  ]);
  const places = tensor(Int32Array.of(1, 0));
  const grid = tensor(
    [
      [1, 0],
      [0, 0],
    ],
    { dtype: "int32" },
  );
  const row = tensor([3, -2]);

  /** A tensor to call each method of, and further arguments. */
  const calls: Record<string, [self: Tensor, ...args: unknown[]]> = {
    ...Object.fromEntries(
      ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "matmul"].map(
        (name) => [name, [x, b]],
      ),
    ),
    ...Object.fromEntries(
      ["neg", "exp", "log", "sqrt", "square", "abs", "sign", "sin", "cos", "tanh", "sigmoid", "relu", "silu"].map(
        (name) => [name, [x]],
      ),
    ),
    where: [grid, x, b],
    clamp: [x, 0.25, 1],
    gelu: [x, { approximate: "tanh" }],
    to: [x, "float64"],
    sum: [x, { dim: 0, keepdim: true }],
    mean: [x, { dim: 1 }],
    max: [x, { dim: 0 }],
    min: [x, { dim: 1 }],
    argmax: [x, { dim: 1 }],
    softmax: [x, { dim: 0 }],
    logSoftmax: [x, { dim: 0 }],
    logsumexp: [x, { dim: 0 }],
    reshape: [x, [4]],
    permute: [x, [1, 0]],
    transpose: [x, 0, 1],
    expand: [x, [3, 2, 2]],
    slice: [x, { dim: 1, step: -1 }],
    indexSelect: [x, 0, places],
    indexAdd: [x, 0, places, b],
    gather: [x, 1, grid],
    scatterAdd: [x, 1, grid, b],
    topk: [x, 1, { dim: 0 }],
    argsort: [x, { dim: 0 }],
    sort: [x, { dim: 0 }],
    cumsum: [x, 1],
    oneHot: [places, 3],
    bincount: [places, { numBins: 3 }],
    layerNorm: [x, row, row, { eps: 0.5 }],
    rmsNorm: [x, row, { eps: 0.5 }],
    crossEntropy: [x, places],
    nllLoss: [x, places],
    mseLoss: [x, b],
  };

  const shared = Object.entries(Object.getOwnPropertyDescriptors(Tensor.prototype)).flatMap(([name, { value }]) =>
    typeof value === "function" && typeof (library as unknown as Callable)[name] === "function" ? [name] : [],
  );

  test.each(shared)("%s() is the free function of the same name", (name) => {
    expect(calls, `an example of ${name} belongs into this table`).toHaveProperty(name);
    const [self, ...args] = calls[name];
    const byMethod = (self as unknown as Callable)[name](...args);
    const byFunction = (library as unknown as Callable)[name](self, ...args);
    expect(plain(byMethod)).toEqual(plain(byFunction));
  });

  test("are there for the names of the contract", () => {
    for (const name of Object.keys(calls)) expect(shared).toContain(name);
  });
});

/** What a call gave, as data: shape, dtype and numbers of each tensor. */
function plain(result: unknown): unknown {
  if (result instanceof Tensor) return { shape: result.shape, dtype: result.dtype, numbers: numbers(result) };
  return Object.fromEntries(Object.entries(result as object).map(([key, value]) => [key, plain(value)]));
}

describe("requiresGrad", () => {
  test("is off for a new tensor and may be switched on and off on leaves", () => {
    const x = ones([2]);
    expect(x.requiresGrad).toBe(false);
    x.requiresGrad = true;
    expect(x.mul(2).requiresGrad).toBe(true);
    x.requiresGrad = false;
    expect(x.mul(2).requiresGrad).toBe(false);
  });

  test("what is made from a tensor with it has it, and a graph from then on", () => {
    const x = ones([2]);
    const early = x.mul(2);
    x.requiresGrad = true;
    expect(early.requiresGrad).toBe(false);
    expect(x.add(early).requiresGrad).toBe(true);
    expect(early.add(x).requiresGrad).toBe(true);
  });

  test("cannot be set on what an op made", () => {
    const y = ones([2], { requiresGrad: true }).mul(2);
    for (const on of [true, false]) {
      expect(() => {
        y.requiresGrad = on;
      }).toThrow(new Error("requiresGrad: the tensor has been made by mul, expected a leaf (use detach())"));
    }
  });

  test("cannot be set on integers", () => {
    const x = zeros([2], { dtype: "int32" });
    expect(() => {
      x.requiresGrad = true;
    }).toThrow(
      new TypeError(
        "requiresGrad: the tensor has dtype int32, expected float32 or float64 (integers have no gradient)",
      ),
    );
    x.requiresGrad = false;
    expect(x.requiresGrad).toBe(false);
  });

  test("detach() gives the same numbers without it, in shared storage", () => {
    const x = ones([2], { requiresGrad: true });
    for (const made of [x, x.mul(2)]) {
      const y = made.detach();
      expect(y.requiresGrad).toBe(false);
      expect(y.storage).toBe(made.storage);
      expect(y.shape).toEqual(made.shape);
    }
  });
});

describe("grad", () => {
  test("may be set to a tensor like x, or to null", () => {
    const x = zeros([2, 3]);
    expect(x.grad).toBe(null);
    const g = ones([2, 3]);
    x.grad = g;
    expect(x.grad).toBe(g);
    x.grad = null;
    expect(x.grad).toBe(null);
  });

  test.each<[string, unknown, Error]>([
    [
      "another shape",
      ones([3, 2]),
      new RangeError("grad: value has shape [3, 2], expected [2, 3] (the shape of the tensor)"),
    ],
    [
      "another dtype",
      ones([2, 3], { dtype: "float64" }),
      new TypeError("grad: value has dtype float64, expected float32 (the dtype of the tensor)"),
    ],
    ["a number", 0, new TypeError("grad: value has 0, expected a tensor (make one with tensor())")],
    ["undefined", undefined, new TypeError("grad: value has undefined, expected a tensor (make one with tensor())")],
  ])("refuses %s, and keeps what it was", (_, value, error) => {
    const x = zeros([2, 3]);
    const g = ones([2, 3]);
    x.grad = g;
    expect(() => {
      x.grad = value as Tensor;
    }).toThrow(error);
    expect(x.grad).toBe(g);
  });
});

describe("tensors like another", () => {
  test.each(dtypes)("have its shape and its dtype, %s", (dtype) => {
    fc.assert(
      fc.property(shapes(), fc.integer({ min: -9, max: 9 }), (shape: Shape, value) => {
        const x = zeros(shape, { dtype });
        for (const [y, expected] of [
          [x.fullLike(value), value],
          [x.zerosLike(), 0],
          [x.onesLike(), 1],
        ] as const) {
          expect([y.shape, y.dtype]).toEqual([shape, dtype]);
          expect(numbers(y)).toEqual(new Array(count(shape)).fill(expected));
        }
      }),
    );
  });
});

describe("assign, with which a step changes a parameter", () => {
  test("gives the tensor new numbers and leaves the old ones to those who share them", () => {
    const x = tensor([1, 2]);
    const alias = x.reshape([2, 1]);
    x.assign(tensor([3, 4]));
    expect(numbers(x)).toEqual([3, 4]);
    expect(numbers(alias)).toEqual([1, 2]);
    expect(x.version).toBe(1);
  });

  test("refuses another shape or dtype", () => {
    const x = tensor([1, 2]);
    expect(() => x.assign(ones([3]))).toThrow(new RangeError("assign: value has shape [3], expected [2]"));
    expect(() => x.assign(ones([2], { dtype: "float64" }))).toThrow(
      new TypeError("assign: value has dtype float64, expected float32"),
    );
    expect(x.version).toBe(0);
  });
});
