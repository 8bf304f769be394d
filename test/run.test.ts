import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DType, Flat, Kernel } from "../src/device/kernel.ts";
import { allocate } from "../src/device/kernel.ts";
import { hostData, run } from "../src/device/run.ts";
import { shared } from "../src/device/state.ts";
import { filledValue, hostValue, type Storage } from "../src/device/storage.ts";
import { tensor } from "../src/index.ts";

const dtypes = fc.constantFrom<DType>("float32", "float64", "int32");

/** A kernel that writes down what is done with it: y[i] = x₀[i] + by. */
function spy(fault: "none" | "check" | "form" = "none") {
  const calls: string[] = [];
  const form =
    (name: string) =>
    (out: Flat, [x]: readonly Flat[], { by }: { by: number }): void => {
      calls.push(name);
      if (fault === "form") throw new Error(`${name} failed`);
      for (let i = 0; i < out.length; i++) out[i] = x[i] + by;
    };
  const kernel: Kernel<{ by: number }> = {
    name: "spy",
    check() {
      calls.push("check");
      if (fault === "check") throw new RangeError("spy: x has a fault, expected none");
    },
    reference: form("reference"),
    loops: form("loops"),
  };
  return { kernel, calls };
}

const stored = (dtype: DType, length = 2) => filledValue(1, [length], dtype);

/** What run leaves in a listener's list. */
function heard(fn: () => void): Flat[] {
  const state = shared();
  const before = state.decisions;
  const decisions: Flat[] = [];
  state.decisions = decisions;
  try {
    fn();
    return decisions;
  } finally {
    state.decisions = before;
  }
}

describe("run", () => {
  test("runs the reference when any array is float64, in or out, and the loops otherwise; nothing else", () => {
    fc.assert(
      fc.property(fc.array(dtypes, { minLength: 1, maxLength: 4 }), dtypes, (inputs, output) => {
        const { kernel, calls } = spy();
        run(
          kernel,
          inputs.map((dtype) => stored(dtype)),
          { by: 1 },
          [2],
          output,
        );
        const exact = output === "float64" || inputs.includes("float64");
        expect(calls).toEqual(["check", exact ? "reference" : "loops"]);
      }),
    );
  });

  test("chooses by dtypes alone: values and sizes, none at all too, change nothing", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double(), { maxLength: 9 }),
        fc.constantFrom<DType>("float32", "float64"),
        (list, dtype) => {
          const { kernel, calls } = spy();
          const x = hostValue(
            allocate(dtype, list.length).map((_: number, i: number) => list[i]),
            [list.length],
          );
          run(kernel, [x], { by: 0 }, [list.length], dtype);
          expect(calls).toEqual(["check", dtype === "float64" ? "reference" : "loops"]);
        },
      ),
    );
  });

  test("gives a value of the shape and dtype that were asked for, and leaves its inputs alone", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }), dtypes, dtypes, (shape, from, to) => {
        const length = shape.reduce((a, b) => a * b, 1);
        const x = stored(from, length);
        const value = run(spy().kernel, [x], { by: 2 }, shape, to);
        expect(value.shape).toEqual(shape);
        expect([value.storage.dtype, value.storage.length]).toEqual([to, length]);
        expect(Array.from(hostData(value))).toEqual(new Array(length).fill(3));
        expect(Array.from(hostData(x))).toEqual(new Array(length).fill(1));
      }),
    );
  });

  test("hands the form its inputs in order, its attributes, and a clean output", () => {
    const [a, b] = [tensor([1, 2]), tensor([3], { dtype: "int32" })];
    const attrs = { by: 5 };
    const seen: unknown[] = [];
    const look = (out: Flat, inputs: readonly Flat[], given: object): void => {
      seen.push(Array.from(out), inputs, given);
    };
    run({ name: "look", reference: look, loops: look }, [a, b], attrs, [3], "float32");
    expect(seen).toEqual([[0, 0, 0], [a.data, b.data], attrs]);
    expect(seen[2]).toBe(attrs);
  });

  test("works without a check", () => {
    const { kernel, calls } = spy();
    const { check: _, ...unchecked } = kernel;
    run(unchecked, [stored("float32")], { by: 1 }, [2], "float32");
    expect(calls).toEqual(["loops"]);
  });

  test("when the check throws, no form runs, and nothing is left behind", () => {
    for (const dtype of ["float32", "float64"] as const) {
      const { kernel, calls } = spy("check");
      const x = stored(dtype);
      const decisions = heard(() => {
        expect(() => run(kernel, [x], { by: 1 }, [2], "int32")).toThrow(
          new RangeError("spy: x has a fault, expected none"),
        );
      });
      expect(calls).toEqual(["check"]);
      expect(decisions).toEqual([]);
      expect(Array.from(hostData(x))).toEqual([1, 1]);
    }
  });

  test("when the form throws, its error comes through, no other form is tried, and nothing is left behind", () => {
    const { kernel, calls } = spy("form");
    const decisions = heard(() => {
      expect(() => run(kernel, [stored("float32")], { by: 1 }, [2], "int32")).toThrow(new Error("loops failed"));
    });
    expect(calls).toEqual(["check", "loops"]);
    expect(decisions).toEqual([]);
  });

  test("records a decision, an int32 array made from floats, only while somebody listens", () => {
    fc.assert(
      fc.property(fc.array(dtypes, { minLength: 1, maxLength: 3 }), dtypes, (inputs, output) => {
        const call = () =>
          run(
            spy().kernel,
            inputs.map((dtype) => stored(dtype)),
            { by: 1 },
            [2],
            output,
          );
        expect(shared().decisions).toBe(null);
        call();
        expect(shared().decisions).toBe(null);

        let made: Flat | null = null;
        const decisions = heard(() => {
          made = hostData(call());
        });
        const isDecision = output === "int32" && inputs.some((dtype) => dtype !== "int32");
        expect(decisions).toEqual(isDecision ? [made] : []);
        if (isDecision) expect(decisions[0]).toBe(made);
      }),
    );
  });

  test("refuses numbers that are on another device", () => {
    const elsewhere: Storage = { dtype: "float32", length: 2, host: null, read: async () => new Float32Array(2) };
    const { kernel, calls } = spy();
    expect(() => run(kernel, [{ storage: elsewhere }], { by: 1 }, [2], "float32")).toThrow(
      new Error("run: input has its numbers on another device, expected the host"),
    );
    expect(calls).toEqual([]);
  });
});
