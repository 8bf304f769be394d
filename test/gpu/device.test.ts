/** useDevice("gpu") where there is no GPU: the best host device, and device() says why. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { gpuCounts, useGpu } from "../../src/gpu/index.ts";
import { device, tensor, useDevice } from "../../src/index.ts";

// Who runs these tests may have installed it.
vi.mock("gpu.js", () => {
  throw new Error("no gpu.js here");
});

afterEach(() => useDevice("auto"));

describe('useDevice("gpu") without gpu.js', () => {
  test("runs on the CPU and says how to get it", async () => {
    const info = await useDevice("gpu");
    expect(info.name).toBe("simd");
    expect(info.why).toContain("asked for a GPU, runs on the CPU: gpu.js, which compiles the shaders, is not there");
    expect(info.why).toContain("npm install gpu.js@2.24.1");
    expect(device()).toEqual(info);
    expect(tensor([1, 2]).add(1).toArray()).toEqual([2, 3]);
    expect(gpuCounts()).toBeNull();
  });

  test("useGpu is the same", async () => {
    expect(await useGpu()).toEqual(await useDevice("gpu"));
  });

  test("refuses routes that there are not, or elsewhere, and threads", async () => {
    await expect(useDevice("gpu", { route: "metal" as never })).rejects.toThrow(
      'useDevice: route has "metal", expected "webgpu", "webgl2", "webgl", "headlessgl"',
    );
    await expect(useDevice("simd", { route: "webgl" })).rejects.toThrow(TypeError);
    await expect(useDevice("gpu", { threads: 2 })).rejects.toThrow("useDevice: threads has 2, expected 1");
  });
});
