/** The assembler's bytes are modules that the platform accepts, and compute what they say. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  assemble,
  type Code,
  type Func,
  f32x4,
  f64x2,
  fn,
  i32,
  room,
  select,
  v128,
} from "../../src/device/assembler.ts";
import { instantiate, newMemory } from "../../src/device/platform.ts";

/** Runs functions on a fresh memory that starts with the given numbers, and gives the floats that are there afterwards. */
function floatsAfter(
  functions: readonly Func[],
  start: readonly number[],
  call: (f: ReturnType<typeof instantiate>) => void,
) {
  const memory = newMemory(4, false);
  const floats = new Float32Array(memory.buffer);
  floats.set(start);
  call(instantiate(assemble(functions, false), memory, 256));
  return floats;
}

const stored = (value: Code): Func => fn("f", ["i32"], (_, [at]) => i32.store(at.get, value));
const resultOf = (value: Code): number => new Int32Array(floatsAfter([stored(value)], [], ({ f }) => f(0)).buffer)[0];

describe("the assembler", () => {
  test("writes every integer constant", () => {
    const edges = [0, 1, -1, 63, 64, -64, -65, 127, 128, 8191, 8192, -8193, 2 ** 31 - 1, -(2 ** 31)];
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...edges), fc.integer()), (x) => {
        expect(resultOf(i32.const(x))).toBe(x);
      }),
      { numRuns: 60 },
    );
  });

  test("writes float constants, in all lanes", () => {
    fc.assert(
      fc.property(fc.float(), (x) => {
        const f = fn("f", [], () => v128.store(i32.const(0), f32x4.const(x)));
        expect([...floatsAfter([f], [], (e) => e.f()).subarray(0, 4)]).toEqual([x, x, x, x]);
      }),
      { numRuns: 30 },
    );
  });

  test("orders operands as they are written", () => {
    expect(resultOf(i32.sub(i32.const(7), i32.const(3)))).toBe(4);
    expect(resultOf(i32.lt(i32.const(-1), i32.const(1)))).toBe(1);
    expect(resultOf(select(i32.const(5), i32.const(6), i32.const(0)))).toBe(6);
  });

  test("loops while the condition holds, and not at all when it does not from the start", () => {
    const sum = fn("sum", ["i32", "i32"], (f, [at, n]) => {
      const [i, total] = f.locals("i32", "i32");
      return [f.while(i, n.get, 1, total.add([i.get])), i32.store(at.get, total.get)];
    });
    fc.assert(
      fc.property(fc.integer({ min: -3, max: 40 }), (n) => {
        const memory = floatsAfter([sum], [], (e) => e.sum(0, n));
        expect(new Int32Array(memory.buffer)[0]).toBe(n > 0 ? (n * (n - 1)) / 2 : 0);
      }),
    );
  });

  test("chooses between branches", () => {
    const f = fn("f", ["i32", "i32"], (b, [at, on]) =>
      b.when(on.get, i32.store(at.get, i32.const(1)), i32.store(at.get, i32.const(2))),
    );
    for (const [on, expected] of [
      [1, 1],
      [0, 2],
    ]) {
      expect(new Int32Array(floatsAfter([f], [], (e) => e.f(0, on)).buffer)[0]).toBe(expected);
    }
  });

  test("calls functions of the same module by name, wherever they stand", () => {
    const outer = fn("outer", [], (f) => f.call("inner", i32.const(8), i32.const(42)));
    const inner = fn("inner", ["i32", "i32"], (_, [at, x]) => i32.store(at.get, x.get));
    expect(new Int32Array(floatsAfter([outer, inner], [], (e) => e.outer()).buffer)[2]).toBe(42);
  });

  test("keeps locals of several types apart", () => {
    const f = fn("f", ["f64", "i32"], (b, [x, at]) => {
      const [low, high, y] = b.locals("v128", "v128", "i32");
      return [
        low.set(f64x2.splat(x.get)),
        high.set(f64x2.add(low.get, low.get)),
        y.set(at.get),
        v128.store(y.get, f32x4.fromF64(high.get)),
      ];
    });
    expect([...floatsAfter([f], [], (e) => e.f(1.5, 16)).subarray(4, 8)]).toEqual([3, 3, 0, 0]);
  });

  test("picks lanes of two vectors", () => {
    const f = fn("f", [], () =>
      v128.store(i32.const(32), v128.shuffle(v128.load(i32.const(0)), v128.load(i32.const(16)), [0, 4, 3, 7])),
    );
    expect([...floatsAfter([f], [1, 2, 3, 4, 5, 6, 7, 8], (e) => e.f()).subarray(8, 12)]).toEqual([1, 5, 4, 8]);
  });

  test("gives every instance its own room", () => {
    expect(resultOf(room)).toBe(256);
  });
});
