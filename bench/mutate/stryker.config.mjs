/** Stryker's settings. run.ts says, by environment variables, what each run is called and which tests it has. */
const { MUTATE_NAME = "all" } = process.env;

export default {
  testRunner: "vitest",
  plugins: [import.meta.resolve("@stryker-mutator/vitest-runner")],
  vitest: { configFile: "bench/mutate/vitest.config.ts", related: false },
  // Every mutant is in the code at once, switched on in turn, and only tests that reach it are run.
  coverageAnalysis: "perTest",
  // Another wording is not a fault. What a message must say, its own test says.
  mutator: { excludedMutations: ["StringLiteral"] },
  ignorePatterns: ["/.stryker-tmp", "/coverage", "/dist", "/docs"],
  tempDirName: `.stryker-tmp/${MUTATE_NAME}`,
  // Mutants whose code and tests have not changed keep their result of the last run.
  incremental: true,
  // A mutant that runs while files load spoils all tests at once, and would have to be tried on every one of them.
  ignoreStatic: true,
  concurrency: 1,
  incrementalFile: `.stryker-tmp/${MUTATE_NAME}.json`,
  reporters: ["clear-text", "html"],
  htmlReporter: { fileName: `.stryker-tmp/${MUTATE_NAME}.html` },
  clearTextReporter: { allowColor: false, allowEmojis: false, logTests: false, reportTests: false },
  warnings: { slow: false },
};
