import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { askedRoutes, lacking, required } from "./test/gpu/machine.ts";

// The documentation imports the library as its users do.
const resolve = {
  alias: [
    { find: /^moegrad$/, replacement: fileURLToPath(new URL("src/index.ts", import.meta.url)) },
    { find: /^moegrad\/(\w+)$/, replacement: fileURLToPath(new URL("src/$1/index.ts", import.meta.url)) },
  ],
};

// What cannot run is listed at the end, unless it has to run: then it fails.
const routes = askedRoutes().filter((route) => required() || lacking(route).length === 0);
const gpuTests = routes.map((route) => `test/gpu/routes/${route}.ts`);
// Who names routes wants them alone.
if (!process.env.ROUTES) {
  if (routes.includes("webgl2")) gpuTests.push("test/gpu/*.gpu.ts");
  if (routes.includes("node-webgpu")) gpuTests.push("test/gpu/*.node.ts");
}

export default defineConfig({
  test: {
    // CI has two cores; without this, vitest keeps one of them for itself.
    maxWorkers: 2,
    globalSetup: "test/gpu/listing.ts",
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "json-summary"],
    },
    projects: [
      {
        resolve,
        test: {
          name: "node",
          environment: "node",
          include: ["test/**/*.test.ts"],
          setupFiles: ["test/setup.ts"],
          // A property of some hundred runs in float64 can outlast the default of five seconds on a busy machine.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "gpu",
          environment: "node",
          include: gpuTests,
          // A GPU that is a program on the CPU takes its time, most of all for 2,000 steps.
          testTimeout: 600_000,
        },
      },
    ],
  },
});
