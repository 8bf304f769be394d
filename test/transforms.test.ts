/** customOp and detectAnomaly. grad, valueAndGrad and vjp have a file of their own, grad.test.ts. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type CustomOp,
  customOp,
  detectAnomaly,
  Generator,
  grad,
  MoE,
  noGrad,
  type Tensor,
  tensor,
  valueAndGrad,
  vjp,
  zeros,
} from "../src/index.ts";
import { general, numbers, plainNumbers, tensorOf } from "./arbitraries.ts";
import { hasRightGradient } from "./suite.ts";

const leaf = (data: number | number[]): Tensor => tensor(data, { requiresGrad: true });
const gradOf = (x: Tensor): number[] | null => (x.grad === null ? null : plainNumbers(x.grad));

describe("customOp", () => {
  const clip = customOp({ name: "clip", forward: (x: Tensor) => x.clamp(-1, 1), vjp: (g) => [g] });

  test("straight-through: the value is forward's, the gradient passes as vjp says", () => {
    fc.assert(
      fc.property(tensorOf([4], general), tensorOf([4], general), (x, g) => {
        const [y, pull] = vjp(clip)(x);
        expect(numbers(y)).toEqual(numbers(x.clamp(-1, 1)));
        expect(numbers(pull(g)[0])).toEqual(numbers(g));
      }),
    );
    // Where the true derivative is 0, the gradient of what follows comes through.
    expect(grad((x: Tensor) => clip(x).square().sum())(tensor([5, 0.5])).toArray()).toEqual([2, 1]);
    const second = grad((x: Tensor) => grad((y: Tensor) => clip(y).sum())(x).sum());
    expect(plainNumbers(second(tensor([5, 0.5])))).toEqual([0, 0]);
  });

  const turn = customOp({
    name: "turn",
    forward: (x: Tensor, y: Tensor) => x.sin().mul(y),
    vjp: (g, { inputs: [x, y] }) => [g.mul(x.cos()).mul(y), g.mul(x.sin())],
  });
  const power = customOp({
    forward: (x: Tensor) => x.exp(),
    vjp: (g, { output }) => [g.mul(output)],
  });
  hasRightGradient(
    "a derivative of one's own, made of ops on inputs and output,",
    fc.tuple(tensorOf([2], general), tensorOf([2], general)).map((inputs) => ({
      f: (x: Tensor, y: Tensor) => power(turn(x, y)),
      inputs: [...inputs],
    })),
    { numRuns: 10 },
  );

  test("reads its inputs once: what vjp does with their list changes nothing", () => {
    const times = customOp({
      forward: (a: Tensor, b: Tensor) => a.mul(b),
      vjp: (g, { inputs }) => {
        const [a, b] = (inputs as unknown as Tensor[]).splice(0, 2);
        return [g.mul(b), g.mul(a)];
      },
    });
    const [a, b] = [tensor([2], { requiresGrad: true }), tensor([3], { requiresGrad: true })];
    const y = times(a, b);
    y.backward(undefined, { retainGraph: true });
    y.backward();
    expect([a.grad, b.grad].map((g) => (g as Tensor).item())).toEqual([6, 4]);
  });

  test("leaves one record under its name, and forward may do without ops", () => {
    const x = leaf([1, 2, 3]);
    const sorted = customOp({
      name: "sorted",
      forward: (y: Tensor) => tensor(y.data.toSorted((a, b) => b - a)),
      vjp: (g) => [g.mul(7)],
    })(x);
    expect(numbers(sorted)).toEqual([3, 2, 1]);
    expect(sorted.record?.op.name).toBe("sorted");
    // One record, with nothing between it and its inputs.
    expect(turn(x, x).record?.inputs?.every((input) => input === x)).toBe(true);
    sorted.sum().backward();
    expect(gradOf(x)).toEqual([7, 7, 7]);
    expect(power(x).record?.op.name).toBe("customOp");
    expect(noGrad(() => power(x)).requiresGrad).toBe(false);
    expect(power(tensor([1])).requiresGrad).toBe(false);
  });

  test("an op that gives back its input is still an op", () => {
    const x = leaf([2]);
    const reversal = customOp({ forward: (y: Tensor) => y, vjp: (g) => [g.neg()] });
    const y = reversal(x);
    expect(y).not.toBe(x);
    y.mul(3).sum().backward();
    expect(gradOf(x)).toEqual([-3]);
  });

  test("null stands for no cotangent: zeros for a float, nothing for an integer", () => {
    const rows = customOp({
      forward: (x: Tensor, index: Tensor, scale: Tensor) => x.indexSelect(0, index).mul(scale),
      vjp: (g, { inputs: [x, index, scale] }) => [x.zerosLike().indexAdd(0, index, g.mul(scale)), null, null],
    });
    const [x, scale] = [leaf([1, 2]), leaf([10])];
    const y = rows(x, tensor(Int32Array.of(1, 1, 0)), scale);
    expect(numbers(y)).toEqual([20, 20, 10]);
    y.sum().backward();
    expect([gradOf(x), gradOf(scale)]).toEqual([[10, 20], [0]]);
  });

  test("vjp runs once for all inputs, and not at all when none needs a gradient", () => {
    let runs = 0;
    const counted = customOp({
      forward: (x: Tensor, y: Tensor) => x.add(y),
      vjp: (g) => {
        runs++;
        return [g, g];
      },
    });
    const [x, y] = [leaf([1]), leaf([2])];
    counted(x, y).sum().backward();
    expect([runs, gradOf(x), gradOf(y)]).toEqual([1, [1], [1]]);
    const z = leaf([3]);
    grad((u: Tensor) => u.add(counted(x, y).detach()).sum())(z);
    expect(runs).toBe(1);
  });

  test("refuses parts that are missing or wrong, at the definition, at the call, or in backward", () => {
    const forward = (x: Tensor): Tensor => x.mul(2);
    const x = leaf([1, 2]);
    const define = (spec: object) => customOp({ forward, vjp: (g) => [g], ...spec } as CustomOp<[Tensor]>);
    const backward = (cotangents: unknown) => () =>
      define({ name: "double", vjp: () => cotangents })(x)
        .sum()
        .backward();
    const refused: [() => unknown, Error][] = [
      [() => define({ forward: null }), new TypeError("customOp: forward has null, expected a function")],
      [() => define({ vjp: undefined }), new TypeError("customOp: vjp has undefined, expected a function")],
      [
        () => define({ backward: forward }),
        new TypeError('customOp: options has the name "backward", expected name, forward, vjp'),
      ],
      [
        () => define({ name: "double" })(5 as unknown as Tensor),
        new TypeError("double: the inputs has [5], expected at least one tensor, and tensors only"),
      ],
      [
        () => (define({ name: "double" }) as unknown as () => Tensor)(),
        new TypeError("double: the inputs has [], expected at least one tensor, and tensors only"),
      ],
      [
        () => define({ name: "double", forward: () => 5 })(x),
        new TypeError("double: forward has 5 as its result, expected a tensor"),
      ],
      [
        backward([]),
        new TypeError("vjp of double: the result has [], expected a list of 1 (one cotangent or null per input)"),
      ],
      [
        backward(undefined),
        new TypeError(
          "vjp of double: the result has undefined, expected a list of 1 (one cotangent or null per input)",
        ),
      ],
      [backward([zeros([3])]), new RangeError("vjp of double: cotangent of 0 has shape [3], expected [2]")],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
    expect(() => backward([null, null])()).toThrow("expected a list of 1");
    expect(gradOf(x)).toBeNull();
  });
});

describe("detectAnomaly", () => {
  const x = tensor([
    [1, 2],
    [0, -1],
  ]);

  test("names the op and the first bad place, in any shape and dtype", () => {
    expect(() => detectAnomaly(() => x.exp().mul(2))).not.toThrow();
    expect(() => detectAnomaly(() => x.log().sum())).toThrow(
      new RangeError(
        "detectAnomaly: the output of log has -Infinity at [1, 0], expected finite numbers (shape [2, 2])",
      ),
    );
    expect(() => detectAnomaly(() => x.to("float64").sqrt())).toThrow(
      new RangeError("detectAnomaly: the output of sqrt has NaN at [1, 1], expected finite numbers (shape [2, 2])"),
    );
    expect(() => detectAnomaly(() => tensor(1000).exp())).toThrow(
      new RangeError("detectAnomaly: the output of exp has Infinity at [], expected finite numbers (shape [])"),
    );
    expect(() => detectAnomaly(() => noGrad(() => x.log()))).toThrow(RangeError);
  });

  test("says where a number went bad, not where it was noticed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }), fc.nat(24), (n, m, place) => {
        const bad = place % (n * m);
        const list = Float32Array.from({ length: n * m }, (_, i) => (i < bad ? 1 : 0));
        const y = tensor(list).reshape([n, m]);
        expect(() => detectAnomaly(() => y.add(0).div(y).mul(0).sum())).toThrow(
          `the output of div has NaN at [${Math.floor(bad / m)}, ${bad % m}]`,
        );
      }),
      { numRuns: 30 },
    );
  });

  test("gives the result of fn, and takes integers and what was never computed as they are", () => {
    expect(detectAnomaly(() => "done")).toBe("done");
    expect(numbers(detectAnomaly(() => tensor(Int32Array.of(1, 0)).add(1)))).toEqual([2, 1]);
    expect(detectAnomaly(() => tensor([Infinity])).item()).toBe(Infinity);
    expect(numbers(detectAnomaly(() => zeros([0, 3]).log()))).toEqual([]);
  });

  test("backward: names the op whose cotangent went bad, and which input's", () => {
    const p = leaf([4, 0]);
    expect(() => detectAnomaly(() => p.sqrt().sum().backward())).toThrow(
      new RangeError(
        "detectAnomaly: the cotangent of x of sqrt has Infinity at [1], expected finite numbers (shape [2])",
      ),
    );
    const [a, b] = [leaf([1, 0]), leaf([0.5, 0.5])];
    expect(() => detectAnomaly(() => a.pow(b).sum().backward())).toThrow(
      "the cotangent of a of pow has Infinity at [1]",
    );
    const mine = customOp({ name: "mine", forward: (y: Tensor) => y.mul(1), vjp: (g) => [g.div(0)] });
    expect(() => detectAnomaly(() => mine(b).sum().backward())).toThrow(
      "the cotangent of 0 of mine has Infinity at [0]",
    );
    expect(() => detectAnomaly(() => grad((y: Tensor) => y.sqrt().sum())(tensor([0])))).toThrow(
      "the cotangent of x of sqrt has Infinity at [0]",
    );
  });

  test("backward: looks at a graph that was made before, and not at steps inside a derivative that end well", () => {
    const p = leaf([0, 1]);
    const y = p.sqrt().sum();
    expect(() => detectAnomaly(() => y.backward(undefined, { retainGraph: true }))).toThrow("of sqrt has Infinity");
    y.backward();
    expect(gradOf(p)).toEqual([Infinity, 0.5]);
    const steps = customOp({
      forward: (z: Tensor) => z.mul(1),
      vjp: (g) => [g.mul(0).log().exp().add(1)],
    });
    const q = leaf([1, 2]);
    detectAnomaly(() => steps(q).sum().backward());
    expect(gradOf(q)).toEqual([1, 1]);
  });

  test("is off afterwards, also when fn throws", () => {
    const isOn = (): boolean => {
      try {
        x.log();
        return false;
      } catch {
        return true;
      }
    };
    expect(isOn()).toBe(false);
    expect(detectAnomaly(isOn)).toBe(true);
    expect(isOn()).toBe(false);
    expect(() => detectAnomaly(() => x.log())).toThrow(RangeError);
    expect(isOn()).toBe(false);
    expect(() => detectAnomaly(() => leaf([0]).sqrt().sum().backward())).toThrow(RangeError);
    expect(isOn()).toBe(false);
    // Nested: the inner one ends, by itself or by throwing, and the outer one goes on.
    const nested = detectAnomaly(() => {
      detectAnomaly(() => zeros([1]).exp());
      const first = isOn();
      expect(() => detectAnomaly(() => x.log())).toThrow(RangeError);
      leaf([1]).sqrt().sum().backward();
      return [first, isOn()];
    });
    expect(nested).toEqual([true, true]);
    expect(isOn()).toBe(false);
  });

  test("refuses a promise", () => {
    expect(() => detectAnomaly(async () => x)).toThrow(
      new TypeError(
        "detectAnomaly: fn has a promise as its result, expected a synchronous function (state is restored when it returns)",
      ),
    );
  });

  test("finds nothing in a MoE and its losses, forward and backward, at logits of ±1e4", () => {
    const moe = new MoE({ dim: 2, hidden: 3, numExperts: 3, rng: new Generator(1) });
    moe.loadStateDict({
      ...moe.stateDict(),
      "router.weight": tensor([
        [1e4, 0, -1e4],
        [0, 1e4, 0],
      ]),
    });
    const [value] = valueAndGrad((y: Tensor) =>
      detectAnomaly(() => {
        const { output, routing } = moe.forward(y);
        return output.sum().add(routing.losses.balance);
      }),
    )(tensor([[1, 0.5]]));
    expect(Number.isFinite(value.item())).toBe(true);
    detectAnomaly(() =>
      moe
        .forward(tensor([[1, 0.5]]))
        .output.sum()
        .backward(),
    );
  });
});
