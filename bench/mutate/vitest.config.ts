import { defineConfig } from "vitest/config";

/** The tests that try to notice a mutant: run.ts names them. */
const include = (process.env.MUTATE_TESTS ?? "test/**/*.test.ts").split(",");

export default defineConfig({
  test: {
    include,
    setupFiles: ["bench/mutate/setup.ts", "test/setup.ts"],
    // In order: Stryker's own, which switches the mutant on, comes first.
    sequence: { setupFiles: "list" },
    testTimeout: 30_000,
  },
});
