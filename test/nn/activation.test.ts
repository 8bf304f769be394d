import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Activation, activate, checkActivation, isGated } from "../../src/nn/activation.ts";
import { general, numbers, plainNumbers, tensorOf } from "../arbitraries.ts";

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));
const formulas: Record<Exclude<Activation, "gelu">, (z: number) => number> = {
  linear: (z) => z,
  cubic: (z) => z ** 3,
  relu: (z) => Math.max(0, z),
  geluTanh: (z) => (z / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))),
  silu: (z) => z * sigmoid(z),
  swiglu: (z) => z * sigmoid(z),
};
const names = Object.keys(formulas) as (keyof typeof formulas)[];
const lists = fc.nat(5).chain((n) => tensorOf([n], general, "float64"));

describe("activate", () => {
  test.each(names)("%s is its formula", (name) => {
    fc.assert(
      fc.property(lists, (z) => {
        expect(numbers(activate(z, name))).toEqual(Array.from(z.data, (v) => expect.closeTo(formulas[name](v), 12)));
      }),
    );
  });

  test("gelu is the exact form", () => {
    fc.assert(
      fc.property(lists, (z) => {
        expect(plainNumbers(activate(z, "gelu"))).toEqual(plainNumbers(z.gelu()));
      }),
    );
  });

  test.each([...names, "gelu"] as const)("%s is multiplied by the other map when there is one", (name) => {
    fc.assert(
      fc.property(lists, (z) => {
        const up = z.mul(-0.5).add(1);
        expect(plainNumbers(activate(z, name, up))).toEqual(plainNumbers(activate(z, name).mul(up)));
      }),
    );
  });
});

test("swiglu alone is gated", () => {
  expect([...names, "gelu" as const].filter(isGated)).toEqual(["swiglu"]);
});

test("names that are not there are refused, those of every object too", () => {
  for (const name of [...names, "gelu"] as const) expect(checkActivation("layer", name)).toBe(name);
  for (const name of ["tanh", "toString", "geluTanH"]) {
    expect(() => checkActivation("layer", name as Activation)).toThrow(
      new TypeError(
        `layer: activation has "${name}", expected ` +
          '"linear", "cubic", "relu", "gelu", "geluTanh", "silu", "swiglu"',
      ),
    );
  }
});
