/** What runs in the browser: one kernel's cases on the current route, and programs that look at the queue. */
import type { Flat } from "../../src/device/kernel.ts";
import { allocate } from "../../src/device/kernel.ts";
import { run } from "../../src/device/run.ts";
import { gpuCounts, useGpu } from "../../src/gpu/index.ts";
import type { RouteName } from "../../src/gpu/route.ts";
import { device, Tensor, tensor, useDevice, where } from "../../src/index.ts";
import { type Case, cases, kernelNames } from "./cases.ts";
import { watchDriver } from "./driver.ts";
import { programs } from "./programs.ts";

/** The largest difference as a share of the largest number, or of the terms that it was made of; where integers differ, 1. */
function distance(actual: Flat, expected: Flat, terms: number): number {
  let [most, far] = [terms, 0];
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) most = Math.max(most, Math.abs(expected[i]));
    if (Object.is(actual[i] + 0, expected[i] + 0)) continue;
    if (expected instanceof Int32Array) return 1;
    const d = Math.abs(actual[i] - expected[i]);
    far = d >= 0 ? Math.max(far, d) : Infinity;
  }
  return far === 0 ? 0 : far / Math.max(most, 1e-30);
}

/** Integers of the device: those of the host alone would stay there. */
const made = (x: Int32Array): Tensor => {
  const yes = tensor(new Float32Array(x.length).fill(1)).gt(0);
  return where(yes, tensor(x), tensor(x));
};

/** Ways for the inputs to lie: on the host, where they are uploaded as they are read, or on the device, floats in fours. */
const places: Readonly<Record<string, (list: readonly Flat[]) => Tensor[]>> = {
  host(list) {
    const [first, ...rest] = list;
    const integers = list.every((x) => x instanceof Int32Array);
    return [integers ? made(first as Int32Array) : tensor(first), ...rest.map((x) => tensor(x))];
  },
  fours: (list) =>
    list.map((x) => {
      if (x instanceof Int32Array || x.length % 4 !== 0 || x.length < 8) return tensor(x);
      // A product of one term is exact, and made in fours.
      return tensor([[1]])
        .matmul(tensor(x).reshape([1, x.length]))
        .reshape([x.length]);
    }),
};

/** What a case gave that it should not have, or null. */
async function faultOf(c: Case, place: string): Promise<string | null> {
  const expected = allocate(c.dtype, c.length);
  c.kernel.loops(expected, c.inputs, c.attrs as never);
  if (place === "fours" && c.inputs.every((x) => x instanceof Int32Array)) return null;
  const inputs = places[place](c.inputs);
  const before = gpuCounts();
  const value = run(c.kernel, inputs, c.attrs as never, [c.length], c.dtype);
  const actual = await new Tensor(value).read();
  const after = gpuCounts();
  const what = `${c.kernel.name} ${JSON.stringify(c.attrs)} of ${c.inputs.map((x) => x.length).join(", ")} (${place})`;
  if (before === null || after === null) return "no GPU is in use";
  if (!(after.launches > before.launches)) return `${what}: nothing was launched`;
  if (after.readbacks !== before.readbacks + 1) return `${what}: ${after.readbacks - before.readbacks} readbacks`;
  if (after.fallbacks !== before.fallbacks) return `${what}: the loops ran`;
  const far = distance(actual, expected, c.terms ?? 0);
  const shown = `${Array.from(actual.slice(0, 8))} for ${Array.from(expected.slice(0, 8))}`;
  return far <= 2e-5 ? null : `${what}: off by ${far}: ${shown}`;
}

async function testKernel(name: string): Promise<string[]> {
  const found: string[] = [];
  for (const c of cases) {
    if (c.kernel.name !== name) continue;
    for (const place of Object.keys(places)) {
      try {
        const fault = await faultOf(c, place);
        if (fault !== null) found.push(fault);
      } catch (error) {
        found.push(`${JSON.stringify(c.attrs)} (${place}): ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  return found;
}

watchDriver();

const page = {
  kernels: kernelNames(),
  tested: [...new Set(cases.map(({ kernel }) => kernel.name))],
  count: cases.length,
  programs: Object.keys(programs),
  use: (route: RouteName) => useGpu({ route }),
  useDevice,
  device,
  counts: gpuCounts,
  testKernel,
  runProgram: (name: string) => programs[name](),
};

export type Page = typeof page;

(globalThis as unknown as { moegrad: Page }).moegrad = page;
