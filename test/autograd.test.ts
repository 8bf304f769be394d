import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyOp, defineOp, type OpFn } from "../src/autograd.ts";
import { filledValue } from "../src/device/storage.ts";
import { concat, detectAnomaly, grad, gradcheck, noGrad, ones, SGD, type Tensor, tensor, vjp } from "../src/index.ts";
import { general, numbers, plainNumbers, tensorOf } from "./arbitraries.ts";

const leaf = (data: number | number[]): Tensor => tensor(data, { requiresGrad: true });
const gradOf = (x: Tensor): number[] | null => (x.grad === null ? null : plainNumbers(x.grad));

describe("backward", () => {
  test("puts dy/dx into x.grad of every leaf that requires it, in shape and dtype of x", () => {
    const a = leaf([1, 2]);
    const b = leaf(3);
    const c = tensor([5, 7]);
    a.mul(b).mul(c).sum().backward();
    expect(gradOf(a)).toEqual([15, 21]);
    expect(gradOf(b)).toEqual([19]);
    expect(b.grad?.shape).toEqual([]);
    expect(c.grad).toBe(null);
  });

  test("adds to what is there, until it is set to null", () => {
    const x = leaf([1, 2]);
    x.square().sum().backward();
    x.mul(3).sum().backward();
    expect(gradOf(x)).toEqual([2 + 3, 4 + 3]);
    x.grad = null;
    x.mul(3).sum().backward();
    expect(gradOf(x)).toEqual([3, 3]);
  });

  test("adding up never writes into an array that was handed out", () => {
    const x = leaf([1, 2]);
    x.sum().backward();
    const first = x.grad as Tensor;
    x.sum().backward();
    expect(plainNumbers(first)).toEqual([1, 1]);
    expect(gradOf(x)).toEqual([2, 2]);
  });

  test("of a leaf itself gives the cotangent", () => {
    const x = leaf([1, 2]);
    x.backward(tensor([5, 6]));
    expect(gradOf(x)).toEqual([5, 6]);
  });

  test("takes a cotangent g for outputs of any shape, and 1 for one element of any rank", () => {
    const x = leaf([1, 2]);
    x.mul(2).backward(tensor([10, 100]));
    expect(gradOf(x)).toEqual([20, 200]);
    x.grad = null;
    x.sum({ keepdim: true }).backward();
    expect(gradOf(x)).toEqual([1, 1]);
  });

  test("is linear in g", () => {
    fc.assert(
      fc.property(
        fc.nat(4).chain((n) => fc.tuple(tensorOf([n]), tensorOf([n]), tensorOf([n]))),
        ([x, g, h]) => {
          const by = (cotangent: Tensor): number[] | null => {
            const start = x.detach();
            start.requiresGrad = true;
            start.square().backward(cotangent);
            return gradOf(start);
          };
          const [left, right] = [by(g) as number[], by(h) as number[]];
          expect(by(g.add(h))).toEqual(left.map((v, i) => v + right[i] + 0));
        },
      ),
    );
  });

  test("follows every path of a diamond once, however often they part and meet", () => {
    const x = leaf(2);
    let y: Tensor = x;
    // 2ⁿ paths lead back; a walk that followed each would not come to an end.
    for (let i = 0; i < 60; i++) y = y.mul(0.5).add(y.mul(0.5));
    y.backward();
    expect(gradOf(x)).toEqual([1]);
  });

  test("counts an input twice that an op reads twice", () => {
    const x = leaf([3, -1]);
    x.mul(x).sum().backward();
    expect(gradOf(x)).toEqual([6, -2]);
    x.grad = null;
    concat([x, x, x]).sum().backward();
    expect(gradOf(x)).toEqual([3, 3]);
  });

  test("goes back through 100,000 ops", () => {
    const x = leaf(1);
    let y: Tensor = x;
    for (let i = 0; i < 100_000; i++) y = y.add(1);
    y.backward();
    expect(gradOf(x)).toEqual([1]);
    expect(y.item()).toBe(100_001);
  });

  test("reaches a leaf that is marked later through the ops from then on", () => {
    const x = tensor([1, 2]);
    const early = x.mul(10);
    x.requiresGrad = true;
    x.mul(3).add(early).sum().backward();
    expect(gradOf(x)).toEqual([3, 3]);
  });

  test("integers carry no graph, and stop none beside them", () => {
    const x = leaf([3, 1, 2]);
    const largest = x.argmax();
    expect(largest.requiresGrad).toBe(false);
    x.indexSelect(0, largest.reshape([1]))
      .mul(5)
      .sum()
      .backward();
    expect(gradOf(x)).toEqual([5, 0, 0]);
  });
});

describe("the graph", () => {
  test("is freed by backward, and a second one says so", () => {
    const x = leaf([1, 2]);
    const y = x.exp().sum();
    y.backward();
    const error = new Error(
      "backward: the graph behind reshape has been freed by an earlier backward, expected a graph that is still there " +
        "(pass retainGraph: true to the earlier one, or run the forward again)",
    );
    const before = gradOf(x);
    expect(() => y.backward()).toThrow(error);
    expect(gradOf(x)).toEqual(before);
  });

  test("what backward freed for one output is gone for another that shares it", () => {
    const x = leaf([1, 2]);
    const shared = x.exp();
    const [y, z] = [shared.sum(), shared.mean()];
    y.backward();
    expect(() => z.backward()).toThrow(/^backward: the graph behind exp has been freed/);
  });

  test("releases inputs and outputs", () => {
    const x = leaf([1, 2]);
    const y = x.exp();
    y.backward(ones([2]));
    expect(y.record).toMatchObject({ inputs: null, output: null });
  });

  test("stays with retainGraph, and is freed by the one without", () => {
    const x = leaf([1, 2]);
    const y = x.square().sum();
    y.backward(undefined, { retainGraph: true });
    y.backward();
    expect(gradOf(x)).toEqual([4, 8]);
    expect(() => y.backward()).toThrow(/freed/);
  });

  test("stays with retainGraph for another output that shares it", () => {
    const x = leaf([1, 2]);
    const shared = x.exp();
    const [y, z] = [shared.mul(0).sum(), shared.sum()];
    y.backward(undefined, { retainGraph: true });
    expect(gradOf(x)).toEqual([0, 0]);
    z.backward();
    expect(gradOf(x)).toEqual(plainNumbers(x.exp()));
  });

  test("of the gradient is made with createGraph, which keeps the graph of the output too", () => {
    const x = leaf([1, 2]);
    const y = x.pow(3).sum();
    y.backward(undefined, { createGraph: true });
    const first = x.grad as Tensor;
    expect(plainNumbers(first)).toEqual([3, 12]);
    x.grad = null;
    first.sum().backward(undefined, { createGraph: true });
    const second = x.grad as unknown as Tensor;
    expect(plainNumbers(second)).toEqual([6, 12]);
    x.grad = null;
    second.sum().backward();
    expect(gradOf(x)).toEqual([6, 6]);
  });

  test("is not made for gradients otherwise, whatever g brings along", () => {
    const x = leaf([1, 2]);
    x.square().sum().backward();
    expect(x.grad?.requiresGrad).toBe(false);
    x.grad = null;
    const g = leaf([1, 1]).mul(2);
    x.add(1).backward(g);
    expect(x.grad as unknown as Tensor).toMatchObject({ requiresGrad: false });
    expect(gradOf(x)).toEqual([2, 2]);
  });

  test("goes on through a cotangent with createGraph", () => {
    const [x, scale] = [leaf([1, 2]), leaf(3)];
    x.square().backward(ones([2]).mul(scale), { createGraph: true });
    const dx = x.grad as Tensor;
    x.grad = null;
    dx.sum().backward();
    expect(gradOf(scale)).toEqual([6]);
  });

  test("holds the numbers of the forward pass: backward after step() is refused and changes no gradient", () => {
    const w = leaf([1, 2]);
    const x = leaf([3, 4]);
    const y = x.mul(w).sum();
    const z = w.exp().sum();
    w.grad = ones([2]);
    new SGD([w], { lr: 1 }).step();
    const error = (what: string) =>
      new Error(
        `backward: ${what} has been changed by step() or loadStateDict() since it was read, expected the values ` +
          "of the forward pass (run the forward again)",
      );
    expect(() => y.backward()).toThrow(error("b [2] of mul"));
    expect(() => z.backward()).toThrow(error("x [2] of exp"));
    expect([gradOf(x), gradOf(w)]).toEqual([null, [1, 1]]);
    // The graph is still there: the error is about the numbers, not about the records.
    expect(() => y.backward()).toThrow(error("b [2] of mul"));
    const again = x.mul(w).sum();
    again.backward();
    expect(gradOf(x)).toEqual([0, 1]);
  });

  test("an op of any number of inputs names the changed one by its place", () => {
    const [a, b] = [leaf([1]), leaf([2])];
    const y = concat([a, b]).sum();
    b.assign(tensor([3]));
    expect(() => y.backward()).toThrow(/^backward: input 1 \[1\] of concat has been changed by step\(\)/);
  });

  test("applyOp keeps a list of its own", () => {
    const { op: times } = defineOp<[a: Tensor, b: Tensor]>({
      name: "times",
      inputs: ["a", "b"],
      forward: ([a, b]) => a.mul(b),
      vjp: (g, { inputs: [a, b] }) => [() => g.mul(b), () => g.mul(a)],
    });
    const [a, b] = [leaf([2]), leaf([3])];
    const inputs = [a, b];
    const y = applyOp(times, inputs, []);
    inputs.pop();
    y.backward();
    expect([gradOf(a), gradOf(b)]).toEqual([[3], [2]]);
  });

  test("a cotangent of the wrong shape is named, not broadcast", () => {
    const broken: OpFn<[x: Tensor]> = defineOp({
      name: "broken",
      inputs: ["x"],
      forward: ([x]) => filledValue(1, x.shape, x.dtype),
      vjp: (g) => [() => g.sum()],
    });
    expect(() =>
      broken(leaf([1, 2]))
        .sum()
        .backward(),
    ).toThrow(new RangeError("vjp of broken: cotangent of x has shape [], expected [2]"));
  });

  test("asks an op only for the cotangents that are needed", () => {
    const asked: string[] = [];
    const listening: OpFn<[a: Tensor, b: Tensor]> = defineOp({
      name: "listening",
      inputs: ["a", "b"],
      forward: ([a]) => filledValue(1, a.shape, a.dtype),
      vjp: (g) => [
        () => {
          asked.push("a");
          return g;
        },
        () => {
          asked.push("b");
          return g;
        },
      ],
    });
    listening(ones([2]), leaf([1, 2]))
      .sum()
      .backward();
    expect(asked).toEqual(["b"]);
    grad((x: Tensor) => listening(x, leaf([1, 2])).sum())(ones([2]));
    expect(asked).toEqual(["b", "a"]);
    // Nor for those of a branch with a graph of its own that does not come from x.
    const branch = listening(leaf([1, 2]).mul(2), ones([2]));
    grad((x: Tensor) => listening(x, branch).sum())(ones([2]));
    expect(asked).toEqual(["b", "a", "a"]);
  });

  test("of a branch that does not come from the argument may have changed", () => {
    const w = leaf([3, 4]);
    const [, pull] = vjp((x: Tensor) => x.mul(w.square()))(tensor([1, 2]));
    w.assign(tensor([5, 6]));
    expect(plainNumbers(pull(ones([2]))[0])).toEqual([9, 16]);
  });

  test("ends where an op has no cotangent for an input", () => {
    const blind: OpFn<[x: Tensor]> = defineOp({
      name: "blind",
      inputs: ["x"],
      forward: ([x]) => filledValue(1, x.shape, x.dtype),
      vjp: () => [null],
    });
    const x = leaf([1, 2]);
    blind(x.mul(3)).add(x).sum().backward();
    expect(gradOf(x)).toEqual([1, 1]);
  });
});

test("detectAnomaly does not look at numbers that are not on the host", () => {
  const away: OpFn<[x: Tensor]> = defineOp({
    name: "away",
    inputs: ["x"],
    forward: ([x]) => ({
      storage: { dtype: x.dtype, length: x.size, host: null, read: () => x.read() },
      shape: x.shape,
    }),
    vjp: (g) => [() => g],
  });
  expect(detectAnomaly(() => away(ones([2]))).shape).toEqual([2]);
});

describe("noGrad", () => {
  test("records nothing inside, and everything again behind it", () => {
    const x = leaf([1, 2]);
    const inside = noGrad(() => x.mul(2));
    expect(inside.requiresGrad).toBe(false);
    expect(x.mul(2).requiresGrad).toBe(true);
    x.mul(inside).sum().backward();
    expect(gradOf(x)).toEqual([2, 4]);
  });

  test("gives back what the block returns, and nests", () => {
    const x = leaf([1]);
    const result = noGrad(() => {
      noGrad(() => 0);
      return [x.mul(2).requiresGrad, "done"];
    });
    expect(result).toEqual([false, "done"]);
  });

  test("restores its state when the block throws", () => {
    const x = leaf([1]);
    expect(() =>
      noGrad(() => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(x.mul(2).requiresGrad).toBe(true);
  });

  test("refuses a block that returns a promise, and restores its state", () => {
    const x = leaf([1]);
    expect(() => noGrad(async () => x.mul(2))).toThrow(
      new TypeError(
        "noGrad: fn has a promise as its result, expected a synchronous function (state is restored when it returns)",
      ),
    );
    expect(x.mul(2).requiresGrad).toBe(true);
  });
});

describe("detach", () => {
  test("cuts the graph: what comes behind counts as a constant", () => {
    const x = leaf([2, 3]);
    x.mul(x.detach()).sum().backward();
    expect(gradOf(x)).toEqual([2, 3]);
    expect(() => x.detach().sum().backward()).toThrow(/^backward: the output has no graph behind it/);
  });

  test("gives a leaf of its own, whose gradient is its own", () => {
    const x = leaf([2, 3]);
    const y = x.mul(2).detach();
    y.requiresGrad = true;
    y.square().sum().backward();
    expect(gradOf(y)).toEqual([8, 12]);
    expect(gradOf(x)).toBe(null);
  });
});

describe("what backward refuses", () => {
  test.each<[string, () => void, Error]>([
    [
      "an output of several elements without g",
      () => leaf([1, 2]).mul(2).backward(),
      new TypeError("backward: the output has shape [2] and no cotangent, expected one element, or a cotangent g"),
    ],
    [
      "an output of no element without g",
      () => leaf([]).mul(2).backward(),
      new TypeError("backward: the output has shape [0] and no cotangent, expected one element, or a cotangent g"),
    ],
    [
      "an output without a graph",
      () => ones([]).mul(2).backward(),
      new Error("backward: the output has no graph behind it, expected a result of ops on a tensor with requiresGrad"),
    ],
    [
      "integers",
      () => leaf([1, 2]).argmax().backward(),
      new Error("backward: the output has no graph behind it, expected a result of ops on a tensor with requiresGrad"),
    ],
    [
      "g of another shape",
      () =>
        leaf([1, 2])
          .mul(2)
          .backward(ones([2, 1])),
      new RangeError("backward: g has shape [2, 1], expected [2] (the cotangent has the shape of the output)"),
    ],
    [
      "g of another dtype",
      () =>
        leaf([1, 2])
          .mul(2)
          .backward(ones([2], { dtype: "float64" })),
      new TypeError("backward: g has dtype float64, expected float32 (the cotangent has the dtype of the output)"),
    ],
    [
      "options in place of g",
      () =>
        leaf(1)
          .mul(2)
          .backward({ retainGraph: true } as never),
      new TypeError("backward: g has a Object, expected a tensor (make one with tensor())"),
    ],
    [
      "an unknown option",
      () =>
        leaf(1)
          .mul(2)
          .backward(undefined, { retain: true } as never),
      new TypeError('backward: options has the name "retain", expected retainGraph, createGraph'),
    ],
  ])("%s", (_, call, error) => {
    expect(call).toThrow(error);
  });

  test("after a refusal the graph is as before", () => {
    const x = leaf([1, 2]);
    const y = x.mul(2);
    expect(() => y.backward()).toThrow(TypeError);
    expect(() => y.backward(ones([3]))).toThrow(RangeError);
    y.backward(ones([2]));
    expect(gradOf(x)).toEqual([2, 2]);
  });
});

/** Steps of a random program: which op, and which two of the numbers so far it reads. */
const program = fc.array(fc.tuple(fc.nat(6), fc.nat(99), fc.nat(99)), { minLength: 1, maxLength: 12 });

const steps: ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a, b) => a.add(b),
  (a, b) => a.sub(b),
  (a, b) => a.mul(b),
  (a) => a.tanh(),
  (a) => a.sin(),
  (a, b) => a.mul(0.5).add(b.cos()),
  (a, b) => a.sigmoid().mul(b),
];

/** Every number may be read any number of times, so that diamonds and shared parts are frequent. tanh keeps them small. */
function runProgram(list: readonly (readonly [number, number, number])[], inputs: readonly Tensor[]): Tensor {
  const made = [...inputs];
  for (const [op, a, b] of list) made.push(steps[op](made[a % made.length], made[b % made.length]).tanh());
  return made.slice(inputs.length).reduce((a, b) => a.add(b));
}

describe("any program", () => {
  const drawn = fc.record({
    list: program,
    inputs: fc.tuple(tensorOf([2], general, "float64"), tensorOf([2], general, "float64")),
  });

  test("has the gradient that differences give", () => {
    fc.assert(
      fc.property(drawn, ({ list, inputs }) => {
        gradcheck((...xs: Tensor[]) => runProgram(list, xs), inputs, { atol: 1e-6, rtol: 1e-5 });
      }),
    );
  });

  test("has one gradient, by backward and by grad", () => {
    fc.assert(
      fc.property(drawn, ({ list, inputs }) => {
        const f = (...xs: Tensor[]) => runProgram(list, xs).sum();
        const byGrad = grad(f, { argnums: [0, 1] })(...inputs);
        const leaves = inputs.map((x) => {
          const start = x.detach();
          start.requiresGrad = true;
          return start;
        });
        f(...leaves).backward();
        leaves.forEach((x, i) => {
          expect(numbers(x.grad ?? x.zerosLike())).toEqual(numbers(byGrad[i]));
        });
      }),
    );
  });

  test("has a symmetric matrix of second derivatives", () => {
    fc.assert(
      fc.property(drawn, ({ list, inputs: [a, b] }) => {
        const f = (x: Tensor, y: Tensor) => runProgram(list, [x, y]).sum();
        // Row 0 of ∂/∂y ∂f/∂x against column 0 of ∂/∂x ∂f/∂y.
        const first = tensor([1, 0], { dtype: "float64" });
        const xy = grad((x: Tensor, y: Tensor) => grad(f)(x, y).mul(first).sum(), { argnums: 1 })(a, b);
        const yx = [0, 1].map((j) => {
          const unit = tensor(j === 0 ? [1, 0] : [0, 1], { dtype: "float64" });
          return grad((x: Tensor, y: Tensor) => grad(f, { argnums: 1 })(x, y).mul(unit).sum())(a, b).data[0];
        });
        numbers(xy).forEach((v, j) => {
          expect(v).toBeCloseTo(yx[j], 10);
        });
      }),
    );
  });
});
