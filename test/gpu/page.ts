/** What runs in the browser: one kernel's cases on the current route, and programs that look at the queue. */
import { tryKernel } from "../../src/gpu/agreement.ts";
import { agreement, gpuCounts, useGpu } from "../../src/gpu/index.ts";
import type { RouteName } from "../../src/gpu/route.ts";
import { device, useDevice } from "../../src/index.ts";
import { cases, kernelNames } from "./cases.ts";
import { watchDriver } from "./driver.ts";
import { pagePrograms } from "./pages.ts";
import { programs } from "./programs.ts";

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
  testKernel: async (name: string) => (await tryKernel(name, cases)).faults,
  agreement,
  runProgram: (name: string) => (programs[name] ?? pagePrograms[name])(),
};

export type Page = typeof page;

(globalThis as unknown as { moegrad: Page }).moegrad = page;
