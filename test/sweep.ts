/** How exact the simd forms of elementwise kernels are: the largest errors over dense sweeps of inputs. */
import { expect, test } from "vitest";
import type { Kernel } from "../src/device/kernel.ts";
import { formOn, ulps } from "./suite.ts";

/** Float32 numbers, evenly spaced. */
export const evenly = (from: number, to: number, count = 200_001): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));

/** Numbers of every size that float32 has, of both signs: 97 of each power of two. */
export const everySize = Float32Array.from({ length: 2 * 97 * 276 }, (_, i) => {
  const [power, step] = [(i >> 1) % 276, Math.floor((i >> 1) / 276)];
  return (i % 2 === 0 ? 1 : -1) * 2 ** (power - 149) * (1 + step / 97);
});

const ends = [0, 2 ** -149, 2 ** -127, 2 ** -126, 1, 87, 88.5, 89, 104, 1e4, 1e19, 1e20, 3.4e38, Infinity, Number.NaN];
/** ±0, ±∞, NaN, the smallest and the largest numbers, those where eˣ begins and ends, logits of ±1e4. */
export const awkward = Float32Array.from(ends.flatMap((x) => [x, -x]));

/** The largest errors: in ulp where |y| ≥ 1e-3, as a distance below, as a distance anywhere. */
export interface Errors {
  readonly ulps: number;
  readonly below: number;
  readonly distance: number;
}

/** The errors of a kernel's simd form beside its reference. Where that is ±0 or not finite, both have to be the same. */
export function errorsOf(kernel: Kernel<object>, inputs: readonly Float32Array[]): Errors {
  const form = formOn(kernel, "simd");
  if (form === undefined) throw new Error(`${kernel.name} has no simd form`);
  const [actual, exact] = [new Float32Array(inputs[0].length), new Float64Array(inputs[0].length)];
  form(actual, inputs, {});
  kernel.reference(
    exact,
    inputs.map((x) => Float64Array.from(x)),
    {},
  );
  const found = { ulps: 0, below: 0, distance: 0 };
  actual.forEach((y, i) => {
    const rounded = Math.fround(exact[i]);
    if (exact[i] === 0 || !Number.isFinite(y) || !Number.isFinite(rounded)) {
      if (!Object.is(y, rounded))
        throw new Error(`${kernel.name} of ${inputs.map((x) => x[i])} is ${y}, not ${rounded}`);
      return;
    }
    const distance = Math.abs(y - exact[i]);
    found.distance = Math.max(found.distance, distance);
    if (Math.abs(exact[i]) >= 1e-3) found.ulps = Math.max(found.ulps, ulps(y, exact[i]));
    else found.below = Math.max(found.below, distance);
  });
  return found;
}

type Bound = readonly [kernel: Kernel<object>, ulps: number, below: number, ranges?: readonly Float32Array[]];

/** Kernels of one tensor: their simd forms keep the bounds of their docstrings. */
export function keepTheirBounds(bounds: readonly Bound[]): void {
  test.each(bounds.map(([kernel, ...rest]) => [kernel.name, kernel, ...rest] as const))(
    "%s by simd has the bound that it states",
    (_, kernel, mostUlps, mostBelow, ranges = [evenly(-30, 30), evenly(-2, 2), everySize, awkward]) => {
      for (const xs of ranges) {
        const found = errorsOf(kernel, [xs]);
        expect(found.ulps).toBeLessThanOrEqual(mostUlps);
        expect(found.below).toBeLessThanOrEqual(mostBelow);
      }
    },
  );
}

type SlopeBound = readonly [kernel: Kernel<object>, slope: number, ranges: readonly Float32Array[]];

/** Backwards dx = g · f′(z): their simd forms are off by at most `slope` · |g|. */
export function keepTheirSlopes(bounds: readonly SlopeBound[]): void {
  test.each(bounds.map(([kernel, ...rest]) => [kernel.name, kernel, ...rest] as const))(
    "%s by simd has the bound that it states",
    (_, kernel, slope, ranges) => {
      for (const z of ranges) {
        for (const g of [1, -0.7, 3e4]) {
          const found = errorsOf(kernel, [z.map(() => g), z]);
          expect(found.distance).toBeLessThanOrEqual(slope * Math.abs(g));
        }
      }
    },
  );
}
