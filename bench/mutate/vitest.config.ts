import { defineConfig } from "vitest/config";

/** The tests that try to notice a mutant: run.ts names them. */
const include = (process.env.MUTATE_TESTS ?? "test/**/*.test.ts").split(",");

export default defineConfig({ test: { include, setupFiles: ["test/setup.ts"], testTimeout: 30_000 } });
