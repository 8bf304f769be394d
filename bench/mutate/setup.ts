/**
 * A mutant that keeps the library from loading leaves test files without tests, which Stryker would take for survival.
 * An error that nobody catches is counted as what it is.
 */
try {
  await import("../../src/index.ts");
} catch (error) {
  void Promise.reject(error);
}

export {};
