import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // CI has two cores; without this, vitest keeps one of them for itself.
    maxWorkers: 2,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "json-summary"],
    },
    projects: [
      {
        // The documentation imports the library as its users do.
        resolve: {
          alias: [
            { find: /^moegrad$/, replacement: fileURLToPath(new URL("src/index.ts", import.meta.url)) },
            { find: /^moegrad\/(\w+)$/, replacement: fileURLToPath(new URL("src/$1/index.ts", import.meta.url)) },
          ],
        },
        test: {
          name: "node",
          environment: "node",
          include: ["test/**/*.test.ts"],
          setupFiles: ["test/setup.ts"],
          // A property of some hundred runs in float64 can outlast the default of five seconds on a busy machine.
          testTimeout: 60_000,
        },
      },
    ],
  },
});
