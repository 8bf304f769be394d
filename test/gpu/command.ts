/** What the commands share that run the suite by itself: its packages, and vitest. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { lackingPackages } from "./machine.ts";

export const folder = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Installs gpu.js, webgpu and Playwright into this folder where they are missing or others are asked for. */
export function install(): void {
  if (lackingPackages() === null) return;
  console.log("installing gpu.js, webgpu and Playwright into test/gpu, once (about 110 MB)");
  const args = ["ci", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel", "error"];
  const { status } = spawnSync("npm", args, { stdio: "inherit" });
  if (status !== 0) throw new Error(`npm ci failed in test/gpu with status ${status}`);
}

/** Runs vitest on the GPU's tests and gives its exit status. `before`: a command that runs another one. */
export function runTests(env: Readonly<Record<string, string>>, before: readonly string[] = []): number {
  const vitest = [process.execPath, `${root}node_modules/vitest/vitest.mjs`, "run", "--project", "gpu"];
  const [command, ...args] = [...before, ...vitest, ...process.argv.slice(2)];
  return spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } }).status ?? 1;
}
