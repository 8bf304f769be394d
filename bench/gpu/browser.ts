/** The page of the bench: built by Vite, served with the problems beside it, opened in Chromium. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Builds of tfjs for browsers, which take a name each on the page. */
const SCRIPTS: Readonly<Record<string, string>> = {
  "/tf.js": "@tensorflow/tfjs/dist/tf.min.js",
  "/tf-webgpu.js": "@tensorflow/tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js",
};
const HTML = [...Object.keys(SCRIPTS), "/page.js"]
  .map((path) => `<script ${path === "/page.js" ? 'type="module" ' : ""}src="${path}"></script>`)
  .join("\n");

/** The scripts of the page by path. */
export async function buildPage(): Promise<Map<string, string>> {
  const result = await build({
    root: join(root, "bench/gpu"),
    configFile: false,
    logLevel: "error",
    resolve: { alias: { "gpu.js": join(root, "test/gpu/node_modules/gpu.js/dist/gpu-browser.min.js") } },
    build: {
      write: false,
      minify: false,
      target: "es2022",
      rollupOptions: { input: join(root, "bench/gpu/page.ts"), output: { entryFileNames: "page.js" } },
    },
  });
  const files = new Map<string, string>();
  for (const [path, file] of Object.entries(SCRIPTS)) {
    files.set(path, readFileSync(join(root, "bench/peers/node_modules", file), "utf8"));
  }
  for (const built of Array.isArray(result) ? result : [result]) {
    if (!("output" in built)) continue;
    for (const file of built.output) if (file.type === "chunk") files.set(`/${file.fileName}`, file.code);
  }
  return files;
}

/** Serves the page, and the files of a folder below /problems. */
export async function servePage(
  files: ReadonlyMap<string, string>,
  problems: string,
): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    const [, problem] = /^\/problems\/(\d+\/[\w-]+\.(?:json|bin))$/.exec(path) ?? [];
    const script = files.get(path);
    const file = problem === undefined ? "" : join(problems, problem);
    // Only a page that is isolated has a clock that counts microseconds.
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    if (script !== undefined) response.setHeader("Content-Type", "text/javascript").end(script);
    else if (existsSync(file)) response.end(readFileSync(file));
    else if (path === "/") {
      response.setHeader("Content-Type", "text/html").end(HTML);
    } else response.writeHead(path === "/favicon.ico" ? 204 : 404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}
