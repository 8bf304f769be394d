/**
 * npm run test:headlessgl: the suite on headless-gl, which is WebGL for Node.
 *
 *   npm run test:headlessgl               runs it, or says what is missing
 *   npm run test:headlessgl -- --build    compiles the package gl before, which takes minutes
 *
 * A command of its own, since it needs a compiler and a display.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { folder, install, runTests } from "./command.ts";

const COMPILER = "python3 make g++ pkg-config libx11-dev libxext-dev libxi-dev libgl1-mesa-dev";
const DISPLAY = "xvfb xauth libgl1-mesa-dri";

const gl = `${folder}node_modules/gl`;

/** npm is told not to run the scripts of packages, so that nobody compiles for minutes who did not ask. */
function build(): void {
  const gyp = `${folder}node_modules/node-gyp/bin/node-gyp.js`;
  const { status } = spawnSync(process.execPath, [gyp, "rebuild", "--directory", gl], { stdio: "inherit" });
  if (status !== 0) throw new Error(`gl does not compile; it needs ${COMPILER} (Debian: apt-get install)`);
}

install();
const asked = process.argv.indexOf("--build");
if (asked >= 0) {
  process.argv.splice(asked, 1);
  build();
}

const hasXvfb = spawnSync("xvfb-run", ["--help"]).error === undefined;
const missing: string[] = [];
if (!existsSync(`${gl}/build/Release/webgl.node`)) {
  missing.push(`gl is not compiled: apt-get install ${COMPILER}, then npm run test:headlessgl -- --build`);
}
if (!process.env.DISPLAY && !hasXvfb) missing.push(`there is no display, and no xvfb-run: apt-get install ${DISPLAY}`);

if (missing.length > 0) {
  console.error(["headlessgl cannot run:", ...missing.map((line) => `  ${line}`)].join("\n"));
  process.exitCode = 1;
} else {
  const screen = process.env.DISPLAY ? [] : ["xvfb-run", "-a", "-s", "-screen 0 640x480x24"];
  process.exitCode = runTests({ ROUTES: "headlessgl" }, screen);
}
