import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { grad, gradcheck, noGrad, ones, type Tensor, tensor, valueAndGrad, vjp, zeros } from "../src/index.ts";
import { cotangent, fullShapes, general, numbers, plainNumbers, shapes, tensorOf } from "./arbitraries.ts";

const leaf = (data: number | number[]): Tensor => tensor(data, { requiresGrad: true });
const precise = (data: number | number[]): Tensor => tensor(data, { dtype: "float64" });
const cube = (x: Tensor): Tensor => x.mul(x).mul(x);

describe("grad", () => {
  test("is the derivative of a scalar function, in shape and dtype of its argument", () => {
    fc.assert(
      fc.property(
        shapes().chain((shape) => tensorOf(shape, general, "float64")),
        (x) => {
          const dx = grad((y: Tensor) => y.square().sum())(x);
          expect([dx.shape, dx.dtype]).toEqual([x.shape, "float64"]);
          expect(numbers(dx)).toEqual(numbers(x.mul(2)));
        },
      ),
    );
  });

  test("by the first argument, by another, or by several", () => {
    const f = (a: Tensor, b: Tensor, c: Tensor) => a.mul(b).mul(c).sum();
    const args = [tensor([2]), tensor([3]), tensor([5])] as const;
    expect(grad(f)(...args).toArray()).toEqual([15]);
    expect(grad(f, { argnums: 2 })(...args).toArray()).toEqual([6]);
    expect(grad(f, { argnums: [2, 0] })(...args).map((dx) => dx.toArray())).toEqual([[6], [15]]);
    expect(grad(f, { argnums: [] })(...args)).toEqual([]);
    expect(grad(f, { argnums: [1] })(...args).map((dx) => dx.toArray())).toEqual([[10]]);
  });

  test("one tensor in two places is two arguments", () => {
    const x = tensor([3]);
    const f = (a: Tensor, b: Tensor) => a.mul(b.square()).sum();
    expect(grad(f, { argnums: [0, 1] })(x, x).map((dx) => dx.toArray())).toEqual([[9], [18]]);
    expect(grad(f)(x, x).toArray()).toEqual([9]);
  });

  test("other arguments may be anything, integers too", () => {
    const f = (x: Tensor, index: Tensor, scale: number, name: { by: string }) =>
      x.indexSelect(0, index).mul(scale).mul(name.by.length).sum();
    const index = tensor(Int32Array.of(1, 1));
    expect(grad(f)(tensor([1, 2]), index, 10, { by: "abc" }).toArray()).toEqual([0, 60]);
  });

  test("of what does not depend on the argument is 0", () => {
    const x = tensor([1, 2]);
    const other = leaf(3);
    for (const f of [() => tensor(5), () => other.mul(2), (y: Tensor) => y.detach().sum()]) {
      expect(plainNumbers(grad(f)(x))).toEqual([0, 0]);
    }
    const [da, db] = grad((a: Tensor, _b: Tensor) => a.sum(), { argnums: [0, 1] })(x, ones([3]));
    expect([numbers(da), plainNumbers(db)]).toEqual([
      [1, 1],
      [0, 0, 0],
    ]);
  });

  test("of the identity is 1, and of its argument passed on unchanged", () => {
    expect(grad((x: Tensor) => x)(tensor(7)).toArray()).toBe(1);
    const [value, dx] = valueAndGrad((x: Tensor) => x)(leaf(7));
    expect([value.item(), dx.item()]).toEqual([7, 1]);
  });

  test("touches no x.grad: not of arguments, of tensors besides, or of leaves made inside", () => {
    const [x, w] = [leaf([1, 2]), leaf([3, 4])];
    let inner: Tensor | null = null;
    const dx = grad((y: Tensor) => {
      inner = leaf([5, 6]);
      return y.mul(w).mul(inner).sum();
    })(x);
    expect(numbers(dx)).toEqual([15, 24]);
    expect([x.grad, w.grad, (inner as unknown as Tensor).grad]).toEqual([null, null, null]);
  });

  test("does not walk the graph behind its arguments, and leaves it as it was", () => {
    const x = leaf([1, 2]);
    const h = x.square();
    expect(numbers(grad((y: Tensor) => y.mul(3).sum())(h))).toEqual([3, 3]);
    h.sum().backward();
    expect(gradOf(x)).toEqual([2, 4]);
    // That graph is freed now, which is nothing to a gradient by h.
    expect(numbers(grad((y: Tensor) => y.mul(3).sum())(h))).toEqual([3, 3]);
  });

  test("has no graph behind its result unless an argument requires a gradient", () => {
    const f = (x: Tensor) => cube(x).sum();
    expect(grad(f)(tensor([2])).requiresGrad).toBe(false);
    const x = leaf([2]);
    const dx = grad(f)(x);
    dx.sum().backward();
    expect(gradOf(x)).toEqual([12]);
    expect(noGrad(() => grad(f)(x)).requiresGrad).toBe(false);
    expect(noGrad(() => grad(f)(x)).toArray()).toEqual([12]);
  });

  test("takes noGrad inside as a constant", () => {
    const dx = grad((x: Tensor) => x.mul(noGrad(() => x.mul(10))).sum())(tensor([1, 2]));
    expect(numbers(dx)).toEqual([10, 20]);
  });

  test("restores its state when the function throws", () => {
    const failing = grad((_x: Tensor): Tensor => {
      throw new Error("inside");
    });
    expect(() => failing(ones([2]))).toThrow("inside");
    // Were the transform still counted, this result would carry a graph.
    expect(grad((x: Tensor) => x.square().sum())(ones([2])).requiresGrad).toBe(false);
    expect(leaf([1]).mul(2).requiresGrad).toBe(true);
  });
});

const gradOf = (x: Tensor): number[] | null => (x.grad === null ? null : plainNumbers(x.grad));

describe("gradients of gradients", () => {
  test("to the third order and beyond", () => {
    const powers = [1, 2, 3, 4, 5].map((p) => (x: Tensor) => {
      let y = x;
      for (let i = 1; i < p; i++) y = y.mul(x);
      return y;
    });
    const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1));
    powers.forEach((f, i) => {
      const p = i + 1;
      let derivative = f;
      for (let n = 1; n <= 5; n++) {
        derivative = grad(derivative);
        const expected = n > p ? 0 : (factorial(p) / factorial(p - n)) * 2 ** (p - n);
        expect(derivative(precise(2)).item()).toBe(expected);
      }
    });
    const third = grad(grad(grad((x: Tensor) => x.sin())));
    expect(third(precise(0.5)).item()).toBeCloseTo(-Math.cos(0.5), 14);
  });

  test("of a function of several numbers are those of differences", () => {
    fc.assert(
      fc.property(
        fc
          .array(fc.integer({ min: 1, max: 2 }), { maxLength: 2 })
          .chain((shape) => tensorOf(shape, general, "float64")),
        (x) => {
          const f = (y: Tensor) => y.sin().mul(y.sum()).sum();
          gradcheck(grad(f), [x], { atol: 1e-6, rtol: 1e-5 });
          gradcheck(
            grad((y: Tensor) => grad(f)(y).square().sum()),
            [x],
            { atol: 1e-5, rtol: 1e-5 },
          );
        },
      ),
      { numRuns: 25 },
    );
  });

  test("do not confuse the inner variable with the outer one", () => {
    // d/dx [x · d/dy (x + y)] = 1, where a shared mark for both would give 2.
    const f = (x: Tensor): Tensor => x.mul(grad((y: Tensor) => x.add(y))(tensor(1)));
    expect(grad(f)(tensor(1)).item()).toBe(1);
  });

  test("flow through a closure over the outer variable", () => {
    // d/dy (x² y³) at y = x is 3 x⁴, whose derivative is 12 x³.
    const f = (x: Tensor): Tensor => grad((y: Tensor) => x.mul(x).mul(cube(y)))(x);
    expect(f(tensor(2)).item()).toBe(48);
    expect(grad(f)(tensor(2)).item()).toBe(96);
    // The same with the inner point held fixed: d/dx (x² · 3 · 2²) = 24 x.
    const fixed = (x: Tensor): Tensor => grad((y: Tensor) => x.mul(x).mul(cube(y)))(tensor(2));
    expect(grad(fixed)(tensor(5)).item()).toBe(120);
  });

  test("flow through valueAndGrad and vjp, into the value too", () => {
    const f = (x: Tensor): Tensor => {
      const [value, dx] = valueAndGrad(cube)(x);
      return value.add(dx);
    };
    expect(grad(f)(tensor(2)).item()).toBe(12 + 12);
    const g = (x: Tensor): Tensor => {
      const [value, pull] = vjp(cube)(x);
      return value.add(pull(x)[0]);
    };
    // x³ + 3x² · x = 4x³
    expect(grad(g)(tensor(2)).item()).toBe(48);
  });

  test("by backward, of a gradient inside a loss", () => {
    const x = leaf([1, -2]);
    grad((y: Tensor) => cube(y).sum())(x)
      .square()
      .sum()
      .backward();
    // (3x²)² has the derivative 36 x³.
    expect(gradOf(x)).toEqual([36, -288]);
  });
});

describe("valueAndGrad", () => {
  test("is the function's value and its gradient, from one run", () => {
    let runs = 0;
    const f = (x: Tensor) => {
      runs++;
      return cube(x).sum();
    };
    const [value, dx] = valueAndGrad(f)(tensor([1, 2]));
    expect([value.item(), numbers(dx), runs]).toEqual([9, [3, 12], 1]);
    expect([value.requiresGrad, dx.requiresGrad]).toEqual([false, false]);
  });

  test("takes argnums as grad does", () => {
    const f = (a: Tensor, b: Tensor) => a.mul(b).sum();
    const [, [db, da]] = valueAndGrad(f, { argnums: [1, 0] })(tensor([2]), tensor([3]));
    expect([db.item(), da.item()]).toEqual([2, 3]);
  });

  test("its value has a graph when an argument requires a gradient", () => {
    const x = leaf([2]);
    const [value] = valueAndGrad((y: Tensor) => cube(y).sum())(x);
    value.backward();
    expect(gradOf(x)).toEqual([12]);
  });
});

describe("vjp", () => {
  test("pull(g) is gᵀ times the Jacobian, for every argument and as often as asked", () => {
    fc.assert(
      fc.property(
        fullShapes(2).chain((shape) => fc.tuple(tensorOf(shape), tensorOf(shape), cotangent, cotangent)),
        ([a, b, first, second]) => {
          const [y, pull] = vjp((x: Tensor, z: Tensor) => x.mul(z).sub(z))(a, b);
          expect(plainNumbers(y)).toEqual(plainNumbers(a.mul(b).sub(b)));
          for (const make of [first, second, first]) {
            const g = make(y.shape);
            const [da, db] = pull(g);
            expect(plainNumbers(da)).toEqual(plainNumbers(g.mul(b)));
            expect(plainNumbers(db)).toEqual(plainNumbers(g.mul(a).sub(g)));
          }
        },
      ),
    );
  });

  test("g may be left out when there is one element", () => {
    const [, pull] = vjp(cube)(tensor([2]));
    expect(pull()[0].toArray()).toEqual([12]);
  });

  test("of the identity gives g back; of a constant zeros; of no arguments nothing", () => {
    const g = tensor([5, 6]);
    expect(numbers(vjp((x: Tensor) => x)(ones([2]))[1](g)[0])).toEqual([5, 6]);
    expect(plainNumbers(vjp((_x: Tensor) => zeros([2]))(ones([3]))[1](g)[0])).toEqual([0, 0, 0]);
    expect(vjp(() => zeros([2]))()[1](g)).toEqual([]);
  });

  test("touches no x.grad", () => {
    const x = leaf([1, 2]);
    vjp(cube)(x)[1](ones([2]));
    expect(x.grad).toBe(null);
  });

  test("is recorded when an argument or g requires a gradient", () => {
    const [, pull] = vjp(cube)(tensor([2]));
    expect(pull(ones([1]))[0].requiresGrad).toBe(false);
    const g = leaf([1]);
    pull(g)[0].sum().backward();
    expect(gradOf(g)).toEqual([12]);
    const x = leaf([2]);
    vjp(cube)(x)[1](ones([1]))[0]
      .sum()
      .backward();
    expect(gradOf(x)).toEqual([12]);
  });
});

describe("what is refused", () => {
  const f = (x: Tensor): Tensor => x.sum();
  const x = ones([2]);
  const promise = (op: string) =>
    new TypeError(
      `${op}: fn has a promise as its result, expected a synchronous function (state is restored when it returns)`,
    );
  test.each<[string, () => unknown, Error]>([
    [
      "a result of several elements",
      () => grad((y: Tensor) => y)(x),
      new TypeError("grad: the output has shape [2] and no cotangent, expected one element, or a cotangent g"),
    ],
    [
      "a constant result of several elements",
      () => valueAndGrad((_x: Tensor) => zeros([3]))(x),
      new TypeError("valueAndGrad: the output has shape [3] and no cotangent, expected one element, or a cotangent g"),
    ],
    [
      "a result that is no tensor",
      () => grad((() => 3) as never)(x),
      new TypeError("grad: fn has 3 as its result, expected a tensor"),
    ],
    ["a promise", () => grad((async () => x.sum()) as never)(x), promise("grad")],
    ["a promise", () => valueAndGrad((async () => x.sum()) as never)(x), promise("valueAndGrad")],
    ["a promise", () => vjp((async () => x.sum()) as never)(x), promise("vjp")],
    [
      "an argument that is no tensor",
      () => grad(f as never)(3),
      new TypeError("grad: argument 0 has 3, expected a tensor (it is differentiated)"),
    ],
    [
      "an argument that is not there",
      () => grad(f, { argnums: 1 })(x),
      new RangeError("grad: argnums has 1, expected less than 1 (the arguments)"),
    ],
    [
      "an argument counted from the end",
      () => valueAndGrad(f, { argnums: [-1] })(x),
      new RangeError(
        "valueAndGrad: argnums has -1, expected an integer of at least 0 (places of arguments, or a list of them)",
      ),
    ],
    [
      "an argument of integers",
      () => vjp(f)(zeros([2], { dtype: "int32" })),
      new TypeError("vjp: argument 0 has dtype int32, expected float32 or float64 (integers have no gradient)"),
    ],
    [
      "an unknown option",
      () => grad(f, { argnum: 1 } as never),
      new TypeError('grad: options has the name "argnum", expected argnums'),
    ],
    [
      "g of another shape",
      () => vjp(cube)(x)[1](ones([3])),
      new RangeError("vjp: g has shape [3], expected [2] (the cotangent has the shape of the output)"),
    ],
    [
      "g of another dtype",
      () => vjp(cube)(x)[1](ones([2], { dtype: "float64" })),
      new TypeError("vjp: g has dtype float64, expected float32 (the cotangent has the dtype of the output)"),
    ],
    [
      "no g for several elements",
      () => vjp(cube)(x)[1](),
      new TypeError("vjp: the output has shape [2] and no cotangent, expected one element, or a cotangent g"),
    ],
  ])("%s", (_, call, error) => {
    expect(call).toThrow(error);
    // Whatever was refused, nothing is recorded that should not be.
    expect(ones([2]).mul(2).requiresGrad).toBe(false);
    expect(leaf([2]).mul(2).requiresGrad).toBe(true);
  });
});
