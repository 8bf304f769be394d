/** The library as it would be published, in a folder that has installed it as its users do. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** What a command printed; one that fails is an error with all that it printed. */
export function run(command: string, args: readonly string[], cwd: string): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** Packs the library and installs it, gpu.js and Vite in a copy of app/. Needs the registry, or npm's cache of it. */
export function installApp(): { app: string; remove: () => void } {
  const temp = mkdtempSync(join(tmpdir(), "moegrad-app-"));
  const remove = (): void => rmSync(temp, { recursive: true, force: true });
  try {
    // `prepack` builds: what is tested is never a stale dist.
    run("npm", ["pack", "--pack-destination", temp], join(here, "../.."));
    const tarball = readdirSync(temp).find((name) => name.endsWith(".tgz")) ?? "";
    const app = join(temp, "app");
    cpSync(join(here, "app"), app, { recursive: true });
    // gpu.js has an optional dependency whose script would compile for minutes; no page needs it.
    const quiet = ["--no-audit", "--no-fund", "--loglevel", "error"];
    run("npm", ["install", "--prefer-offline", "--ignore-scripts", ...quiet, join(temp, tarball)], app);
    return { app, remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Puts what bundles are made of beside the app that has installed the library. */
export function addEntries(app: string): void {
  mkdirSync(join(app, "bundled"));
  for (const name of ["page.js", "run.js", "worker.js"])
    cpSync(join(here, "bundled", name), join(app, "bundled", name));
  cpSync(join(here, "driver.ts"), join(app, "driver.ts"));
  cpSync(join(here, "app", "train.js"), join(app, "app", "train.js"));
}
