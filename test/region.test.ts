/** scope(): what is freed, what is not, and that nobody has to use it. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AdamW, auxLoss, Generator, MoE, randn, scope, type Tensor, useDevice } from "../src/index.ts";

beforeEach(() => useDevice("simd"));
afterEach(() => useDevice("auto"));

const rng = new Generator(1);
/** Large enough to be on the device. */
const large = (): Tensor => randn([100, 100], { rng });
const freed = new Error(
  "storage: the tensor has been freed by backward, dispose() or the end of its scope, expected one that is in use (read it before)",
);

describe("scope", () => {
  test("frees what is made in it, and keeps its result", () => {
    const x = large();
    let inner: Tensor | null = null;
    const y = scope(() => {
      inner = x.add(x);
      return inner.mul(2);
    });
    expect(y.data[0]).toBe(4 * x.data[0]);
    expect(() => (inner as unknown as Tensor).data).toThrow(freed);
    expect(() => (inner as unknown as Tensor).add(1)).toThrow(freed);
  });

  test("finds the tensors of a result in lists and objects, however deep, and calls no getter", () => {
    const x = large();
    const result = scope(() => {
      const looped: { list: unknown[]; self?: unknown } = { list: [x.add(1), { deep: x.add(2) }, null, "text"] };
      looped.self = looped;
      return Object.defineProperty(looped, "trap", {
        enumerable: true,
        get: () => {
          throw new Error("a getter was called");
        },
      });
    });
    const [a, b] = result.list as [Tensor, { deep: Tensor }];
    expect(a.data[5]).toBe(Math.fround(x.data[5] + 1));
    expect(b.deep.data[5]).toBe(Math.fround(x.data[5] + 2));
  });

  test("leaves what was there before, and what was read on the host", () => {
    const before = large().add(1);
    let seen: ArrayLike<number> | null = null;
    let read: Tensor | null = null;
    scope(() => {
      before.add(1);
      read = before.mul(2);
      seen = read.data;
    });
    expect(before.data[0]).toBeDefined();
    expect((read as unknown as Tensor).data).toBe(seen);
  });

  test("a scope in a scope hands its result to the outer one", () => {
    const x = large();
    let inner: Tensor | null = null;
    const y = scope(() => {
      inner = scope(() => x.add(1));
      return inner.add(1);
    });
    expect(y.data[0]).toBe(Math.fround(Math.fround(x.data[0] + 1) + 1));
    expect(() => (inner as unknown as Tensor).data).toThrow(freed);
  });

  test("keeps what the graph of its result needs until backward has run", () => {
    const w = large();
    w.requiresGrad = true;
    const loss = scope(() => w.square().exp().sum());
    loss.backward();
    const expected = w.detach().square().exp().mul(w.detach()).mul(2);
    expect((w.grad as Tensor).sub(expected).abs().max().item()).toBeLessThan(1e-3);
  });

  test("training in scopes gives the bits of training without", () => {
    const train = (around: <T>(fn: () => T) => T): number[] => {
      const rng = new Generator(5);
      const moe = new MoE({ dim: 32, hidden: 64, numExperts: 4, bias: true, rng });
      const optimizer = new AdamW(moe.parameters(), { lr: 1e-2 });
      const x = randn([128, 32], { rng });
      const losses: number[] = [];
      for (let step = 0; step < 4; step++) {
        const loss = around(() => {
          const { output, routing } = moe.forward(x);
          const loss = output.sub(x).square().mean();
          optimizer.zeroGrad();
          loss.add(auxLoss([routing], { balance: 0.01 })).backward();
          optimizer.step();
          return loss;
        });
        losses.push(loss.item());
      }
      return [...losses, ...moe.parameters().flatMap((p) => [...p.data, ...(p.grad as Tensor).data])];
    };
    expect(train(scope)).toEqual(train((fn) => fn()));
  });

  test("does nothing on the loops, where the collector looks after everything", async () => {
    await useDevice("loops");
    const x = large();
    let inner: Tensor | null = null;
    scope(() => {
      inner = x.add(x);
    });
    expect((inner as unknown as Tensor).data[0]).toBe(2 * x.data[0]);
  });

  test("ends also when its function throws", () => {
    const x = large();
    const outer = scope(() => {
      expect(() =>
        scope(() => {
          throw new Error("inside");
        }),
      ).toThrow("inside");
      return x.add(1);
    });
    expect(outer.data[0]).toBe(Math.fround(x.data[0] + 1));
  });

  test("refuses what is no synchronous function", () => {
    expect(() => scope(3 as never)).toThrow(new TypeError("scope: fn has 3, expected a function"));
    expect(() => scope(async () => 1)).toThrow(TypeError);
  });
});

describe("dispose", () => {
  test("gives a tensor's memory back, and reading it throws", () => {
    const x = large();
    const y = x.add(1);
    y.dispose();
    expect(() => y.data).toThrow(freed);
    expect(x.data.length).toBe(10_000);
  });

  test("leaves what another tensor shares, or has as its gradient", () => {
    const x = large();
    const y = x.add(1);
    const flat = y.reshape([10_000]);
    y.dispose();
    expect(flat.data[0]).toBe(Math.fround(x.data[0] + 1));
    const w = large();
    w.requiresGrad = true;
    w.square().sum().backward();
    w.grad?.dispose();
    expect(w.grad?.data[0]).toBe(2 * w.data[0]);
  });
});
