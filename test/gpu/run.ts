/**
 * npm run test:gpu: every kernel's form and whole training programs on every route that needs no compiler.
 *
 *   npm run test:gpu                      webgl2, webgl and webgpu in Chromium, and webgpu in Node
 *   ROUTES=webgl2 npm run test:gpu        one of them
 *   npm run test:gpu -- -t matmul         what has this in its name
 *
 * `npm test` runs the same, as far as the machine can; here a route that cannot run fails.
 */
import { install, runTests } from "./command.ts";

install();
process.exitCode = runTests({ MOEGRAD_GPU: "required" });
