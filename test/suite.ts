/**
 * The four properties of a kernel, on every device: it equals its reference, its pullback is right, its laws hold, and it
 * refuses what it should. The first two are here; laws and refusals stand with each kernel.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { DType, Flat, HostForm, Kernel } from "../src/device/kernel.ts";
import { allocate } from "../src/device/kernel.ts";
import { asHostForm } from "../src/device/simd.ts";
import { Generator, grad, gradcheck, type Tensor, vjp } from "../src/index.ts";

/** The forms under test. A device is added here when it exists, and every kernel's test then runs on it. */
export const devices = ["loops", "simd"] as const;
type DeviceName = (typeof devices)[number];

/** The form of a kernel on a device, on host arrays; undefined when it has none of its own there. */
export const formOn = <A>(kernel: Kernel<A>, device: DeviceName): HostForm<A> | undefined =>
  device === "loops" ? kernel.loops : asHostForm(kernel);

/** Inputs of one kernel call. */
export interface KernelCase<A> {
  readonly inputs: readonly Flat[];
  readonly attrs: A;
  readonly length: number;
  readonly dtype: DType;
}

const asFloat64 = (x: Flat): Flat => (x instanceof Float32Array ? Float64Array.from(x) : x);

/**
 * A view of an array that throws where a cell is read or written that the array does not have. JavaScript lets both pass
 * in silence, so that a loop with one turn too many would give the right numbers here and the wrong ones elsewhere.
 */
function guarded(x: Flat): Flat {
  const check = (key: string | symbol): void => {
    if (typeof key === "string" && !(key in x)) throw new RangeError(`cell ${key} of ${x.length}`);
  };
  return new Proxy(x, {
    get(_, key) {
      check(key);
      const value: unknown = Reflect.get(x, key, x);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, x, args);
        return ArrayBuffer.isView(result) ? guarded(result as Flat) : result;
      };
    },
    set(_, key, value) {
      check(key);
      return Reflect.set(x, key, value, x);
    },
  });
}

/** What a form gives for a case. The output starts dirty, each form's with other dirt: a form must write every cell. */
function runForm<A>(form: Kernel<A>["loops"], { inputs, attrs, length, dtype }: KernelCase<A>, dirt: number): Flat {
  const out = allocate(dtype, length).fill(dirt);
  form(out, inputs, attrs);
  return out;
}

/** Distance from float32 x to y in units of the last place of y (never less than that of 2⁻¹²⁶). */
export function ulps(x: number, y: number): number {
  if (Object.is(x, y) || x === y) return 0;
  if (!Number.isFinite(x) || !Number.isFinite(y)) return Number.isNaN(x) && Number.isNaN(y) ? 0 : Infinity;
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(y))));
  return Math.abs(x - y) / 2 ** (exponent - 23);
}

/**
 * "exact" for dyadic inputs, units of the last place of float32 (or, for results below 1e-3, the distance `below`), or an
 * absolute distance that may depend on the case.
 */
export type Bound<A> =
  | "exact"
  | { readonly ulps: number; readonly below?: number }
  | { readonly absolute: (c: KernelCase<A>) => number };

/**
 * How far sums of products may be off that are rounded to float32 at every step: terms · 2⁻²³ · Σ |a · b|, with the largest
 * numbers there are for every a and b.
 */
export const sumInFloat32 = <A>(terms: (c: KernelCase<A>) => number): Bound<A> => ({
  absolute: (c) => {
    const largest = c.inputs.filter((x) => x instanceof Float32Array).map((x) => Math.max(0, ...x.map(Math.abs)));
    return terms(c) ** 2 * 2 ** -23 * largest.reduce((product, x) => product * x, 1);
  },
});

/**
 * Every form of the kernel equals its reference, which runs on float64 copies of the same numbers.
 *
 * The bound is that of the kernel's docstring, for every form or one each.
 */
export function equalsReference<A>(
  kernel: Kernel<A>,
  cases: fc.Arbitrary<KernelCase<A>>,
  bound: Bound<A> | { readonly loops: Bound<A>; readonly simd: Bound<A> },
): void {
  const apart = typeof bound === "object" && "loops" in bound;
  const forms = devices.flatMap((device) => {
    const form = formOn(kernel, device);
    return form === undefined ? [] : [{ device, form, within: apart ? bound[device] : bound }];
  });
  const label = bound === "exact" ? "exactly" : "within its error bound";
  test.each(forms)(`${kernel.name} equals its reference ${label} on $device`, ({ device, form, within }) => {
    fc.assert(
      fc.property(cases, (c) => {
        // Vectors are of floats: integers are left to the loops, but for places of floats.
        if (device === "simd" && c.dtype !== "float32" && !c.inputs.some((x) => x instanceof Float32Array)) return;
        const actual = runForm(form, c, 7);
        const inputs = c.inputs.map(asFloat64);
        const dtype = c.dtype === "float32" ? "float64" : c.dtype;
        const exact = runForm(kernel.reference, { ...c, inputs, dtype }, 9);
        for (let i = 0; i < actual.length; i++) {
          const expected = c.dtype === "float32" ? Math.fround(exact[i]) : exact[i];
          if (within === "exact") expect(actual[i] + 0).toBe(expected + 0);
          else if ("ulps" in within && (within.below === undefined || !(Math.abs(exact[i]) < 1e-3))) {
            expect(ulps(actual[i], exact[i])).toBeLessThanOrEqual(within.ulps);
          } else if ("ulps" in within)
            expect(Math.abs(actual[i] - exact[i])).toBeLessThanOrEqual(within.below as number);
          else expect(Math.abs(actual[i] - exact[i])).toBeLessThanOrEqual(within.absolute(c));
        }
      }),
    );
  });

  // A simd form sees a memory, not arrays: what it must not touch is watched by asHostForm itself.
  test.each(["reference", "loops"] as const)(`${kernel.name} touches no cell that is not there, in its %s`, (form) => {
    fc.assert(
      fc.property(cases, ({ inputs, attrs, length, dtype }) => {
        const out = guarded(allocate(dtype, length));
        expect(() => kernel[form](out, inputs.map(guarded), attrs)).not.toThrow();
      }),
      { numRuns: 25 },
    );
  });
}

/** What a row has of an input: so many floats, or one class from −1 to classes − 1. */
type RowInput = number | { readonly classes: number };

/**
 * The simd form of a kernel that works row by row gives a row the same bits among thousands as alone: calls are cut where
 * their number of elements says, and any thread takes any of them.
 */
export function standsAlone<A>(kernel: Kernel<A>, attrs: A, rowInputs: readonly RowInput[], width: number): void {
  test(`${kernel.name} gives a row the same bits in any company on simd`, () => {
    const form = formOn(kernel, "simd") as HostForm<A>;
    const rng = new Generator(7);
    const rows = 5000;
    const widths = rowInputs.map((w) => (typeof w === "number" ? w : 1));
    const inputs = rowInputs.map((w) =>
      typeof w === "number"
        ? Float32Array.from({ length: rows * w }, () => 4 * rng.uniform() - 2)
        : Int32Array.from({ length: rows }, () => rng.integer(w.classes + 1) - 1),
    );
    const together = new Float32Array(rows * width);
    form(together, inputs, attrs);
    for (const r of [0, 1, 1819, 1820, 1821, 2047, 2048, rows - 1]) {
      const alone = new Float32Array(width);
      const own = inputs.map((x, i) => x.slice(r * widths[i], (r + 1) * widths[i]));
      form(alone, own, attrs);
      expect(together.slice(r * width, (r + 1) * width)).toEqual(alone);
    }
  });
}

// The 0 makes −0, which the product of two scalars may be, the same as 0.
const dot = (a: Tensor, b: Tensor): number => a.to("float64").mul(b.to("float64")).sum().item() + 0;

/**
 * A linear map f and its pullback are adjoint: ⟨pullback(g), v⟩ = ⟨g, f(v)⟩, exactly for dyadic numbers.
 *
 * Each case gives the map and where to try it: x (any point), v (a direction) and g (a cotangent of the output's shape).
 */
export function isAdjoint(
  name: string,
  cases: fc.Arbitrary<{ f: (x: Tensor) => Tensor; x: Tensor; v: Tensor; g: (shape: readonly number[]) => Tensor }>,
): void {
  test(`${name} and its pullback are adjoint`, () => {
    fc.assert(
      fc.property(cases, ({ f, x, v, g }) => {
        const [y, pull] = vjp(f)(x);
        const cotangent = g(y.shape);
        const [dx] = pull(cotangent);
        expect(dx.shape).toEqual(x.shape);
        expect(dot(dx, v)).toBe(dot(cotangent, f(v)));
      }),
    );
  });
}

/**
 * First and second gradient of a smooth function, in float64, against differences over every entry.
 *
 * `second: false` where the function has none worth the time.
 */
export function hasRightGradient(
  name: string,
  cases: fc.Arbitrary<{ f: (...inputs: Tensor[]) => Tensor; inputs: Tensor[] }>,
  { second = true, numRuns = 25 }: { second?: boolean; numRuns?: number } = {},
): void {
  test(`${name} has the gradient that differences give`, () => {
    fc.assert(
      fc.property(cases, ({ f, inputs }) => {
        gradcheck(f, inputs, { atol: 1e-6, rtol: 1e-5 });
      }),
      { numRuns },
    );
  });
  if (!second) return;
  test(`${name} has the second gradient that differences give`, () => {
    fc.assert(
      fc.property(cases, ({ f, inputs }) => {
        const argnums = inputs.flatMap((x, i) => (x.dtype === "int32" ? [] : [i]));
        for (const i of argnums) {
          // A curved function of the output, so that linear ops have a second gradient too.
          const first = grad(
            (...xs: Tensor[]) =>
              f(...xs)
                .square()
                .sum(),
            { argnums: i },
          );
          gradcheck((...xs) => first(...xs), inputs, { atol: 1e-5, rtol: 1e-5 });
        }
      }),
      { numRuns: Math.ceil(numRuns / 2) },
    );
  });
}
