/** The laws of kernels see forms that are deliberately wrong. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { f32x4 } from "../../src/device/assembler.ts";
import type { DType, Flat, HostForm, Kernel } from "../../src/device/kernel.ts";
import type { SimdForm } from "../../src/device/simd.ts";
import { laneForm } from "../../src/kernels/lanes.simd.ts";
import { type CheckKernelOptions, checkKernel, type KernelCase, kernelLaws } from "../../src/laws/index.ts";
import { catches, type Fault } from "./caught.ts";

type Attrs = { readonly n: number };

/** Doubles n numbers: the kernel whose loops are spoilt. */
const doubling = (loops: HostForm<Attrs>): Kernel<Attrs> => ({ name: "double", reference: right, loops });

function right(out: Flat, [x]: readonly Flat[], { n }: Attrs): void {
  for (let i = 0; i < n; i++) out[i] = 2 * x[i];
}

/** The form with its output changed afterwards. */
const then =
  (change: (out: Flat, x: Flat) => void): HostForm<Attrs> =>
  (out, inputs, attrs) => {
    right(out, inputs, attrs);
    change(out, inputs[0]);
  };

/** Cases of at least one number. */
const casesOf = (numbers: fc.Arbitrary<number>, dtype: DType = "float32"): fc.Arbitrary<KernelCase<Attrs>> =>
  fc.array(numbers, { minLength: 1, maxLength: 5 }).map((list) => ({
    inputs: [dtype === "int32" ? Int32Array.from(list) : Float32Array.from(list)],
    attrs: { n: list.length },
    length: list.length,
    dtype,
  }));

const positive = casesOf(fc.integer({ min: 1, max: 100 }));
const infinite = casesOf(fc.constant(Infinity));
const large = casesOf(fc.integer({ min: 2 ** 28, max: 2 ** 29 }), "int32");

/** One unit of the last place of float32 above x. */
const above = (x: number, units: number): number => x + units * 2 ** (Math.floor(Math.log2(x)) - 23);

const faults: readonly (Omit<Fault, "check"> & {
  loops: HostForm<Attrs>;
  options?: Partial<CheckKernelOptions<Attrs>>;
})[] = [
  {
    name: "is two units of the last place off, where one is allowed",
    law: "equals its reference",
    says: /element 0 is 2\.00000047\d*, the reference gives 2\n/,
    loops: then((out) => {
      out[0] = above(out[0], 2);
    }),
  },
  {
    name: "is one unit of the last place off, where none is allowed",
    law: "equals its reference",
    says: /element 0 is 2\.00000023\d*, the reference gives 2\n/,
    loops: then((out) => {
      out[0] = above(out[0], 1);
    }),
    options: { ulps: 0 },
  },
  {
    name: "is further off than the absolute distance that is allowed",
    law: "equals its reference",
    says: /element 0 is 2\.5, the reference gives 2\n/,
    loops: then((out) => {
      out[0] += 0.5;
    }),
    options: { atol: 0.25 },
  },
  {
    name: "gives a number where its reference gives ∞",
    law: "equals its reference",
    says: /element 0 is 5, the reference gives Infinity/,
    loops: then((out) => {
      out[0] = 5;
    }),
    options: { cases: infinite },
  },
  {
    name: "gives NaN",
    law: "equals its reference",
    says: /element 0 is NaN, the reference gives 2\n/,
    loops: then((out) => {
      out[0] = Number.NaN;
    }),
  },
  {
    name: "is 1 off in large integers",
    law: "equals its reference",
    says: /element 0 is 536870913, the reference gives 536870912/,
    loops: then((out) => {
      out[0] += 1;
    }),
    options: { cases: large },
  },
  {
    name: "skips a cell",
    law: "writes every cell",
    says: /element 0 is 7 or -3, by what was there before/,
    loops(out, [x], { n }) {
      for (let i = 1; i < n; i++) out[i] = 2 * x[i];
    },
  },
  {
    name: "adds to what was there",
    law: "writes every cell",
    says: /element 0 is 9 or -1, by what was there before/,
    loops(out, [x], { n }) {
      for (let i = 0; i < n; i++) out[i] += 2 * x[i];
    },
  },
  {
    name: "writes to its input",
    law: "reads only",
    says: /element 0 of input 0 was 1 and is 2/,
    loops: then((_, x) => {
      x[0] *= 2;
    }),
  },
  {
    name: "turns a 0 of its input into −0",
    law: "reads only",
    says: /element 0 of input 0 was 0 and is 0/,
    loops: then((_, x) => {
      x[0] = -0;
    }),
    options: { cases: casesOf(fc.constant(0)) },
  },
];

describe("a kernel that", () => {
  catches(
    faults.map(({ loops, options, ...fault }) => ({
      ...fault,
      check: (o) => checkKernel(doubling(loops), { cases: positive, ...options, ...o }),
    })),
    kernelLaws,
    /\n {2}\[[\d, Infinity]+\]\n {2}attrs \{"n":\d\}\n/,
  );
});

describe("checkKernel", () => {
  const held = (kernel: Kernel<Attrs>, options: Partial<CheckKernelOptions<Attrs>> = {}): boolean =>
    checkKernel(kernel, { cases: positive, numRuns: 20, seed: 1, raiseException: false, ...options }).every(
      (r) => r.ok,
    );

  const off = (units: number) => doubling(then((out) => out.set(out.map((x: number) => above(x, units)))));

  test("finds nothing to say of right kernels", () => {
    for (const cases of [positive, infinite, large, casesOf(fc.constantFrom(0, -0, Number.NaN))]) {
      expect(held(doubling(right), { cases, ulps: 0 })).toBe(true);
    }
  });

  test("allows what it is told to", () => {
    expect(held(off(1))).toBe(true);
    expect(held(off(3), { ulps: 3 })).toBe(true);
    expect(held(off(3), { ulps: 2 })).toBe(false);
    expect(held(off(3), { ulps: 0, atol: 1e-4 })).toBe(true);
  });

  test("takes a result that is rounded once for right, also past the largest float32", () => {
    expect(held(doubling(right), { cases: casesOf(fc.constant(3e38)), ulps: 0 })).toBe(true);
  });

  test("tries the form that it is told to", () => {
    const wrong: SimdForm<Attrs> = laneForm("triple", 1, 1, (_, x) => f32x4.mul(x.get, f32x4.const(3)));
    const kernel: Kernel<Attrs> = { ...doubling(right), simd: wrong };
    expect(held(kernel)).toBe(true);
    expect(held(kernel, { device: "simd" })).toBe(false);
    expect(() => held(doubling(right), { device: "simd" })).toThrow(
      new RangeError('checkKernel: device has "simd", expected a form that the kernel has (double)'),
    );
  });
});
