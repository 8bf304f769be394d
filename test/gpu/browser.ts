/** Chromium, a page with the library in it, and what has to be installed for both. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const folder = fileURLToPath(new URL(".", import.meta.url));

/** Playwright as far as it is used: its types are not in the library's own installation. */
interface Launcher {
  launch(options: { executablePath: string; args: string[] }): Promise<Browser>;
}

export interface Browser {
  newPage(): Promise<Tab>;
  version(): string;
  close(): Promise<void>;
}

export interface Tab {
  goto(url: string): Promise<unknown>;
  on(event: "console", listener: (message: { type(): string; text(): string }) => void): void;
  on(event: "pageerror", listener: (error: Error) => void): void;
  addInitScript(script: { content: string }): Promise<void>;
  evaluate<A, T>(fn: (argument: A) => T | Promise<T>, argument: A): Promise<T>;
  close(): Promise<void>;
}

/** Installs gpu.js and Playwright into this folder where they are missing or others are asked for. */
export function install(): void {
  const lock = `${folder}node_modules/.package-lock.json`;
  if (existsSync(lock) && statSync(lock).mtimeMs >= statSync(`${folder}package-lock.json`).mtimeMs) return;
  console.log("installing gpu.js and Playwright into test/gpu, once (about 140 MB)");
  const args = ["ci", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel", "error"];
  const { status } = spawnSync("npm", args, { stdio: "inherit" });
  if (status !== 0) throw new Error(`npm ci failed in test/gpu with status ${status}`);
}

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** The browser's program. Throws with how to get one. */
export function findChromium(): string {
  const asked = process.env.CHROMIUM;
  const found = (asked === undefined || asked === "" ? PLACES : [asked]).find((path) => existsSync(path));
  if (found !== undefined) return found;
  const tried = asked ? `CHROMIUM=${asked}` : PLACES.join(", ");
  throw new Error(
    `no Chromium at ${tried}: install one (Debian: apt-get install chromium), or name it: CHROMIUM=/path npm run test:gpu`,
  );
}

/** Without these, Chromium has neither WebGL nor an adapter of WebGPU where there is no GPU. */
const SOFTWARE = ["--enable-unsafe-swiftshader", "--enable-unsafe-webgpu"];

/** Starts the browser; its pages can collect their garbage, and measure their memory exactly. */
export function launch(flags: readonly string[] = SOFTWARE): Promise<Browser> {
  const require = createRequire(`${folder}package.json`);
  const { chromium } = require("playwright-core") as { chromium: Launcher };
  const args = ["--no-sandbox", "--js-flags=--expose-gc", "--enable-precise-memory-info", ...flags];
  return chromium.launch({ executablePath: findChromium(), args });
}

/** The page's script, the library and gpu.js in it, as Vite builds it for users. */
export async function bundle(): Promise<Map<string, string>> {
  const result = await build({
    root: folder,
    configFile: false,
    logLevel: "error",
    resolve: { alias: { "gpu.js": `${folder}node_modules/gpu.js/dist/gpu-browser.min.js` } },
    build: {
      write: false,
      minify: true,
      target: "es2022",
      rollupOptions: { input: `${folder}page.ts`, output: { entryFileNames: "page.js" } },
    },
  });
  const files = new Map<string, string>();
  for (const built of Array.isArray(result) ? result : [result]) {
    if (!("output" in built)) continue;
    for (const file of built.output) if (file.type === "chunk") files.set(`/${file.fileName}`, file.code);
  }
  return files;
}

/** The text files below a folder, by the path under which they are served. */
export function filesBelow(root: string): Map<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(root, name)).isFile(),
  );
  return new Map(names.map((name) => [`/${name.split(sep).join("/")}`, readFileSync(join(root, name), "utf8")]));
}

const BLANK = '<!doctype html><script type="module" src="/page.js"></script>';

/** Serves pages that may load their own scripts and nothing else: no eval, no inline code. */
export async function serve(files: ReadonlyMap<string, string>): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const path = pathname === "/" ? "/index.html" : pathname;
    const text = files.get(path) ?? (path === "/index.html" ? BLANK : undefined);
    response.setHeader("Content-Security-Policy", "default-src 'self'");
    const type = path.endsWith(".html") ? "text/html" : "text/javascript";
    if (text !== undefined) response.setHeader("Content-Type", type).end(text);
    else response.writeHead(path === "/favicon.ico" ? 204 : 404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

/** Errors and warnings that a page and its workers write, and what nobody catches there, promises included. */
export function watch(tab: Tab): string[] {
  const complaints: string[] = [];
  tab.on("console", (message) => {
    const text = message.text();
    if (message.type() !== "error" && message.type() !== "warning") return;
    // What a readback is, and no complaint.
    if (!text.includes("GPU stall due to ReadPixels")) complaints.push(text);
  });
  tab.on("pageerror", (error) => complaints.push(error.message));
  return complaints;
}

/** Versions, for the head of a report. */
export function versionOf(name: string): string {
  return JSON.parse(readFileSync(`${folder}node_modules/${name}/package.json`, "utf8")).version;
}
