/** The agreement report on the devices that Node has; on a GPU the cases behind it are those of the other tests. */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import type { Flat } from "../../src/device/kernel.ts";
import { tryKernel, VERSION } from "../../src/gpu/agreement.ts";
import { type Case, MOST } from "../../src/gpu/case.ts";
import { allCases } from "../../src/gpu/cases.ts";
import { agreement } from "../../src/gpu/index.ts";
import { useDevice } from "../../src/index.ts";

afterEach(() => useDevice("auto"));

describe("the report", () => {
  test.each(["loops", "simd"] as const)("says that all kernels agree on %s", async (name) => {
    await useDevice(name);
    const { device, kernels, cases, faults, text } = await agreement();
    expect(device.name).toBe(name);
    expect(faults).toBe(0);
    expect(text).toMatch(new RegExp(`\n${cases} cases of ${kernels.length} kernels: all agree$`));
    expect(text).toContain(`platform  Node ${process.versions.node}`);
    expect(kernels.map(({ kernel }) => kernel)).toContain("groupedMatmul");
    for (const { worst, bound } of kernels) expect(worst).toBeLessThanOrEqual(bound);
  });

  test("names the version of the package", () => {
    expect(JSON.parse(readFileSync("package.json", "utf8")).version).toBe(VERSION);
  });
});

/** The same case, with loops that add to the first number. */
const moved = (c: Case, by: number): Case => ({
  ...c,
  kernel: {
    ...c.kernel,
    loops(out: Flat, inputs: readonly Flat[], attrs: never) {
      c.kernel.reference(out, inputs, attrs);
      out[0] += by;
    },
  },
});

describe("a kernel that is off by more than its bound", () => {
  test("is shown with the numbers that it gave", async () => {
    await useDevice("loops");
    const softmax = allCases().filter(({ kernel }) => kernel.name === "softmax");
    const { faults, worst, bound } = await tryKernel("softmax", [moved(softmax[0], 1e-4)]);
    expect(worst).toBeGreaterThan(bound);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(/^softmax \{"n":5\} of 15 \(loops\): off by \d.\de-4: \[0\.\d+, /);
    expect((await tryKernel("softmax", softmax)).faults).toEqual([]);
  });

  test("may not be off at all where the numbers are to be the same", async () => {
    await useDevice("loops");
    const [topk] = allCases().filter(({ kernel }) => kernel.name === "topk");
    const { faults } = await tryKernel("topk", [moved(topk, 1)]);
    expect(faults).toHaveLength(1);
  });
});

test("no bound is above what all of them may have", () => {
  for (const { kernel, bound } of allCases()) expect(bound, kernel.name).toBeLessThanOrEqual(MOST);
});
