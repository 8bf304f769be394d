/** The memory of the SIMD device is a cache: whatever it forgets, every tensor keeps its numbers. */
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { Engine, engineMemory } from "../../src/device/simd.ts";
import { shared } from "../../src/device/state.ts";
import { Generator, MoE, noGrad, randn, type Tensor, tensor, topKRouter, useDevice } from "../../src/index.ts";

/** A device whose memory holds a few tensors only. */
function small(capacity = 2 ** 16): Engine {
  const engine = new Engine(engineMemory(false), null, capacity);
  shared().device = { name: "simd", threads: 1, why: "a test", engine };
  return engine;
}

afterEach(() => useDevice("auto"));

/** Large enough for vectors to be used, small enough to draw many. */
const N = 6000;
const filled = (seed: number): Tensor => {
  const rng = new Generator(seed);
  return tensor(Float32Array.from({ length: N }, () => (rng.integer(17) - 8) / 8));
};

/** A program: ops on tensors made so far, by index, each next result appended. */
const program = fc.array(fc.record({ op: fc.constantFrom("add", "sub", "mul"), a: fc.nat(), b: fc.nat() }), {
  minLength: 1,
  maxLength: 40,
});

/** Runs it and gives every result; numbers stay small multiples of a power of two, so results are exact. */
function results(steps: readonly { op: string; a: number; b: number }[], read: (i: number) => boolean): number[][] {
  const made = [filled(1), filled(2), filled(3)];
  const early: number[][] = [];
  steps.forEach(({ op, a, b }, i) => {
    const [x, y] = [made[a % made.length], made[b % 3]];
    const z = op === "add" ? x.add(y) : op === "sub" ? x.sub(y) : x.mul(y).mul(0.125);
    made.push(z);
    if (read(i)) early.push([...z.data.subarray(0, 50)]);
  });
  return [...early, ...made.map((x) => [...x.data])];
}

describe("the SIMD device", () => {
  test("gives the numbers of the loops, however little its memory holds", async () => {
    await fc.assert(
      fc.asyncProperty(program, fc.nat(4), async (steps, every) => {
        await useDevice("loops");
        const expected = results(steps, (i) => i % 5 === every);
        small();
        expect(results(steps, (i) => i % 5 === every)).toEqual(expected);
      }),
      { numRuns: 20 },
    );
  });

  test("uses vectors where they pay and loops where they do not", () => {
    small();
    expect(filled(1).add(filled(2)).storage.place).not.toBe(null);
    expect(tensor([1, 2]).add(1).storage.place).toBe(null);
  });

  test("keeps an array that a user has read, whatever comes after", () => {
    small();
    const y = filled(1).add(filled(2));
    const seen = y.data;
    const before = [...seen];
    for (let i = 0; i < 30; i++) filled(i).mul(filled(i + 1));
    expect(y.data).toBe(seen);
    expect([...seen]).toEqual(before);
  });

  test("read() gives a copy of one's own", async () => {
    small();
    const y = filled(1).add(filled(2));
    const copy = await y.read();
    copy.fill(9);
    expect([...(await y.read())]).toEqual([...y.data]);
    expect(y.data).not.toBe(copy);
    expect(copy.buffer.byteLength).toBe(4 * N);
  });

  test("grows for a call that does not fit, and keeps what is there", () => {
    const engine = small(2 ** 12);
    const y = filled(1).add(filled(2));
    const capacity = engine.capacity;
    expect(capacity).toBeGreaterThanOrEqual(4 * 3 * 4 * N);
    const large = randn([50_000], { rng: new Generator(1) });
    large.add(large);
    expect(engine.capacity).toBeGreaterThan(capacity);
    expect([...y.data]).toEqual([...filled(1).data].map((v, i) => v + filled(2).data[i]));
  });

  test("grows while what it forgot is asked for again, so that a training step fits", () => {
    const engine = small(2 ** 12);
    const tensors = Array.from({ length: 40 }, (_, i) => filled(i));
    const rounds = (n: number): void => {
      for (let round = 0; round < n; round++) for (const x of tensors) x.add(x);
    };
    rounds(12);
    // Forty tensors, and as many results; at most a quarter of what is copied was there before.
    const needed = 40 * 4 * N;
    const { capacity } = engine;
    expect(capacity).toBeGreaterThanOrEqual(2 * needed);
    expect(capacity).toBeLessThanOrEqual(8 * needed);
    rounds(20);
    expect(engine.capacity).toBe(capacity);
  });

  test("trains a MoE to the bits of a device with room for all of it", () => {
    const train = (): number[] => {
      const rng = new Generator(3);
      const moe = new MoE({ dim: 32, hidden: 64, numExperts: 4, router: topKRouter({ k: 2 }), rng });
      const x = randn([96, 32], { rng });
      for (let step = 0; step < 3; step++) {
        moe.zeroGrad();
        moe.forward(x).output.square().mean().backward();
        noGrad(() => {
          for (const p of moe.parameters()) if (p.grad !== null) p.assign(p.sub(p.grad.mul(0.1)));
        });
      }
      return moe.parameters().flatMap((p) => [...p.data, ...(p.grad as Tensor).data]);
    };
    small(2 ** 12);
    const tight = train();
    small(2 ** 24);
    expect(train()).toEqual(tight);
  });

  test("frees what belongs to the graph alone, and says so when it is read", () => {
    small(2 ** 14);
    const w = filled(1);
    w.requiresGrad = true;
    const y = w.mul(filled(2));
    const hidden = y.square();
    hidden.sum().backward();
    // What a user holds is never freed.
    expect(hidden.data[0]).toBe(y.data[0] ** 2);
    expect([...(w.grad as Tensor).data].every(Number.isFinite)).toBe(true);

    const rng = new Generator(1);
    const moe = new MoE({ dim: 64, hidden: 128, numExperts: 2, rng });
    const { output } = moe.forward(randn([128, 64], { rng }));
    // The record of the second grouped matmul reads the activations, which nobody else can see.
    let inner: Tensor | null = null;
    for (let r = output.record; r !== null; r = r.inputs?.[0].record ?? null) {
      if (r.op.name === "groupedMatmul") {
        inner = (r.inputs as readonly Tensor[])[0];
        break;
      }
    }
    output.sum().backward();
    expect(() => (inner as Tensor).data).toThrow(
      new Error(
        "storage: the tensor has been freed by backward, dispose() or the end of its scope, expected one that is in use (read it before)",
      ),
    );
    expect(output.data.length).toBe(128 * 64);
  });
});
