/**
 * The published library in a browser: a Vite app that installs the tarball and gpu.js, and bundles by Vite and esbuild on a
 * page and in workers. Every page may load its own scripts and nothing else.
 */
import { renameSync } from "node:fs";
import { join } from "node:path";
import * as esbuild from "esbuild";
import { build as viteBuild } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GpuCounts } from "../../src/gpu/index.ts";
import type { RouteName } from "../../src/gpu/route.ts";
import { type Browser, filesBelow, launch, serve, type Tab, watch } from "./browser.ts";
import { addEntries, installApp, run } from "./tarball.ts";

const [APP_STEPS, STEPS] = [30, 3];

/** What bundled/run.js gives. */
interface Trained {
  readonly name: string;
  readonly why: string;
  readonly route: RouteName;
  readonly losses: number[];
  readonly launches: number;
  readonly counts: GpuCounts;
}

let installed: ReturnType<typeof installApp>;
let browser: Browser;
let loops: number[];

beforeAll(async () => {
  installed = installApp();
  browser = await launch();
  loops = trainByLoops(installed.app, APP_STEPS);
}, 600_000);

afterAll(async () => {
  await browser?.close();
  installed?.remove();
}, 120_000);

/** The losses of the app's training on typed-array loops, by the installed library in Node. */
function trainByLoops(app: string, steps: number): number[] {
  const program = `
    import { useDevice } from "moegrad";
    import { train } from "./train.js";
    await useDevice("loops");
    await train(${steps}, (loss) => console.log(loss));`;
  return run("node", ["--input-type=module", "--eval", program], app).trim().split("\n").map(Number);
}

/** Within 1 % of the loops, at every step. */
function expectLosses(losses: readonly number[], steps: number): void {
  expect(losses).toHaveLength(steps);
  for (const [i, loss] of losses.entries()) {
    expect(Math.abs(loss - loops[i]), `${loss} for ${loops[i]} at step ${i}`).toBeLessThanOrEqual(0.01 * loops[i]);
  }
}

/** Opens a page of files in a tab, runs what is to be seen there, and expects that nobody complains. */
async function visit<T>(
  files: ReadonlyMap<string, string>,
  query: string,
  see: (tab: Tab) => Promise<T>,
  init = "",
): Promise<T> {
  const { url, server } = await serve(files);
  const tab = await browser.newPage();
  const complaints = watch(tab);
  try {
    if (init !== "") await tab.addInitScript({ content: init });
    await tab.goto(url + query);
    const seen = await see(tab);
    expect(complaints).toEqual([]);
    return seen;
  } finally {
    await tab.close();
    server.close();
  }
}

/** The driver's counters, for a page that knows nothing of them. */
async function driverScript(): Promise<string> {
  const contents = 'import { driver, watchDriver } from "./driver.ts"; watchDriver(); globalThis.driver = driver;';
  const resolveDir = new URL(".", import.meta.url).pathname;
  const { outputFiles } = await esbuild.build({ stdin: { contents, resolveDir }, bundle: true, write: false });
  return outputFiles[0].text;
}

/** What the app shows when it is done. */
async function lookAt(
  tab: Tab,
): Promise<{ device: string; losses: number[]; counts: GpuCounts | null; launches: number }> {
  const text = (id: string): Promise<string> =>
    tab.evaluate((name) => {
      const page = globalThis as unknown as { document: { getElementById(id: string): { textContent: string } } };
      return page.document.getElementById(name).textContent;
    }, id);
  while ((await text("counts")) === "") await new Promise((resolve) => setTimeout(resolve, 100));
  const launches = await tab.evaluate(
    () => (globalThis as unknown as { driver: { launches: number } }).driver.launches,
    null,
  );
  const losses = (await text("losses")).split("\n").map(Number);
  return {
    device: await text("device"),
    losses,
    counts: JSON.parse(await text("counts")) as GpuCounts | null,
    launches,
  };
}

describe("a Vite app", () => {
  test("trains on webgl2 and reads back one number a step", { timeout: 120_000 }, async () => {
    run("npm", ["run", "build"], installed.app);
    const seen = await visit(filesBelow(join(installed.app, "dist")), "?route=webgl2", lookAt, await driverScript());
    expect(seen.device).toMatch(/^webgl2 on /);
    expectLosses(seen.losses, APP_STEPS);
    expect(loops[APP_STEPS - 1]).toBeLessThan(loops[0] / 2);
    const { launches = 0, readbacks, fallbacks } = seen.counts ?? {};
    expect([readbacks, fallbacks]).toEqual([APP_STEPS, 0]);
    expect(launches).toBeGreaterThan(50 * APP_STEPS);
    expect(seen.launches).toBeGreaterThanOrEqual(launches);
  });

  test("without gpu.js builds too, and says on the CPU what it lacks", { timeout: 120_000 }, async () => {
    const [here, away] = ["node_modules/gpu.js", "gpu.js-away"].map((path) => join(installed.app, path));
    renameSync(here, away);
    try {
      run("npm", ["run", "build"], installed.app);
    } finally {
      renameSync(away, here);
    }
    const seen = await visit(filesBelow(join(installed.app, "dist")), "", lookAt, await driverScript());
    expect(seen.device).toMatch(/^asked for a GPU, runs on the CPU: gpu\.js, which compiles the shaders, is not there/);
    expect(seen.device).toContain("npm install gpu.js@2.24.1");
    expectLosses(seen.losses, APP_STEPS);
    expect([seen.counts, seen.launches]).toEqual([null, 0]);
  });
});

/** Minified files by path: the page, a module worker, and where the bundler can a classic worker. */
const bundlers: Record<string, () => Promise<Map<string, string>>> = {
  async Vite() {
    const outDir = join(installed.app, "out-vite");
    const input = { page: join(installed.app, "bundled/page.js"), worker: join(installed.app, "bundled/worker.js") };
    const output = { entryFileNames: "[name].js" };
    const shared = { root: installed.app, configFile: false, logLevel: "error" } as const;
    await viteBuild({ ...shared, build: { outDir, minify: true, rollupOptions: { input, output } } });
    // A classic worker is one file, with what is imported lazily in it.
    const lib = { entry: input.worker, formats: ["iife" as const], name: "worker", fileName: () => "classic.js" };
    await viteBuild({ ...shared, build: { outDir, minify: true, emptyOutDir: false, lib } });
    return filesBelow(outDir);
  },
  async "esbuild with keepNames"() {
    const outdir = join(installed.app, "out-esbuild");
    const settings = { bundle: true, minify: true, keepNames: true, logLevel: "error" as const };
    const [page, worker] = ["page.js", "worker.js"].map((name) => join(installed.app, "bundled", name));
    await esbuild.build({ ...settings, entryPoints: [page, worker], format: "esm", splitting: true, outdir });
    await esbuild.build({ ...settings, entryPoints: { classic: worker }, format: "iife", outdir });
    return filesBelow(outdir);
  },
};

/** Where in a tab it trains, and by which routes: WebGL 1 and 2 differ in nothing that a worker could change. */
const places: Record<string, { routes: RouteName[]; train(tab: Tab, route: RouteName): Promise<Trained> }> = {
  "on the page": {
    routes: ["webgl2", "webgl", "webgpu"],
    train: (tab, route) =>
      tab.evaluate(([name, steps]) => (globalThis as unknown as Trainer).run(name, steps), [route, STEPS] as const),
  },
  "in a module worker": {
    routes: ["webgl2", "webgpu"],
    train: (tab, route) => inWorker(tab, "/worker.js", "module", route),
  },
  "in a classic worker": {
    routes: ["webgl2", "webgpu"],
    train: (tab, route) => inWorker(tab, "/classic.js", "classic", route),
  },
};

interface Trainer {
  run(route: string, steps: number): Promise<Trained>;
  runInWorker(url: string, type: string, route: string, steps: number): Promise<Trained>;
}

const inWorker = (tab: Tab, url: string, type: string, route: RouteName): Promise<Trained> =>
  tab.evaluate(([path, kind, name, steps]) => (globalThis as unknown as Trainer).runInWorker(path, kind, name, steps), [
    url,
    type,
    route,
    STEPS,
  ] as const);

describe.each(Object.keys(bundlers))("bundled and minified by %s", (bundler) => {
  let files: Map<string, string>;

  beforeAll(async () => {
    if (bundler === Object.keys(bundlers)[0]) addEntries(installed.app);
    files = await bundlers[bundler]();
  }, 180_000);

  describe.each(Object.keys(places))("%s", (place) => {
    test.each(places[place].routes)("%s trains as the loops do", { timeout: 90_000 }, async (route) => {
      const trained = await visit(files, "", (tab) => places[place].train(tab, route));
      expect([trained.name, trained.route], trained.why).toEqual(["gpu", route]);
      expectLosses(trained.losses, STEPS);
      const { launches, readbacks, fallbacks } = trained.counts;
      expect([readbacks, fallbacks]).toEqual([STEPS, 0]);
      expect(launches).toBeGreaterThan(50 * STEPS);
      expect(trained.launches).toBeGreaterThanOrEqual(launches);
    });
  });
});
