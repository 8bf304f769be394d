/** Browsers in which something is missing or goes wrong: the CPU runs and says why, or one clear error. Nothing hangs. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GpuCounts } from "../../src/gpu/index.ts";
import { type Browser, bundle, launch, serve, watch } from "./browser.ts";
import { close } from "./expectedUses.ts";
import type { Page } from "./page.ts";

let site: Awaited<ReturnType<typeof serve>>;

beforeAll(async () => {
  site = await serve(await bundle());
}, 60_000);

afterAll(() => {
  site.server.close();
});

interface Found {
  readonly name: string;
  readonly why: string;
  readonly route?: string;
  readonly found: number[];
  readonly loops: number[];
  readonly launches: number;
  readonly counts: GpuCounts | null;
}

/** Runs a program in a new tab; what the tab complains about is an error. `init`: a script that comes before the page's. */
async function inTab(
  browser: Browser,
  program: string,
  init?: () => void,
  complains: readonly string[] = [],
): Promise<unknown> {
  const tab = await browser.newPage();
  const complaints = watch(tab);
  if (init !== undefined) await tab.addInitScript({ content: `(${init})()` });
  await tab.goto(site.url);
  const result = await tab.evaluate(
    (name) => (globalThis as unknown as { moegrad: Page }).moegrad.runProgram(name),
    program,
  );
  await tab.close();
  expect(complaints).toEqual(complains);
  return result;
}

/** The loops, since the page's policy forbids WebAssembly, too. */
function expectCpu({ name, why, found, loops, counts }: Found): void {
  expect(why).toMatch(/; WebAssembly with SIMD does not run here: .*Content Security policy/);
  expect([name, found, counts]).toEqual(["loops", loops, null]);
  expect(loops).toHaveLength(15);
}

describe("a browser without WebGL and WebGPU", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launch(["--disable-gpu", "--disable-3d-apis"]);
  }, 60_000);
  afterAll(() => browser.close());

  test("computes on the CPU and says what it has tried", { timeout: 60_000 }, async () => {
    // Chromium's own remark on the question whether there is an adapter.
    const found = (await inTab(browser, "any device", undefined, ["No available adapters."])) as Found;
    expect(found.why).toMatch(
      /^asked for a GPU, runs on the CPU: no route of gpu\.js@2\.24\.1 works here: webgpu: .+; webgl2: the browser has none; webgl: the browser has none; headlessgl: it is for Node/,
    );
    expectCpu(found);
    expect(found.launches).toBe(0);
  });
});

describe("a browser", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launch();
  }, 60_000);
  afterAll(() => browser.close());

  test("takes the best route when none is named", { timeout: 60_000 }, async () => {
    const { name, route, found, loops, counts } = (await inTab(browser, "any device")) as Found;
    expect([name, route, counts?.fallbacks, counts?.readbacks]).toEqual(["gpu", "webgpu", 0, 1]);
    close(found, loops);
  });

  test("passes over a GPU that computes wrong, with what it gave", { timeout: 60_000 }, async () => {
    const found = (await inTab(browser, "any device", wrongExp)) as Found;
    const wrong = String.raw`it computes exp wrongly: \[5\.4\d+, [^\]]+\] for \[5\.3\d+, [^\]]+\]`;
    expect(found.why).toMatch(new RegExp(`webgl2: ${wrong}; webgl: ${wrong}`));
    expectCpu(found);
  });

  test("takes WebGL where there is no adapter of WebGPU", { timeout: 60_000 }, async () => {
    const { why, route, found, loops } = (await inTab(browser, "any device", noAdapter)) as Found;
    expect(route).toBe("webgl2");
    expect(why).toMatch(/; passed over webgpu: navigator.gpu has no adapter$/);
    close(found, loops);
  });

  test("with small textures computes what fits, and names what does not", { timeout: 60_000 }, async () => {
    const [small, large, after] = (await inTab(browser, "small textures", smallTextures)) as unknown[];
    expect([small, after]).toEqual([
      [3, 3],
      [4, 4],
    ]);
    expect(large).toMatch(/^add: the launch of \[5000\].* has failed on webgl2: .*larger than .*64/);
  });

  test("goes from one route to another", { timeout: 60_000 }, async () => {
    const { why, early, messages, now } = (await inTab(browser, "two routes")) as Record<string, unknown>;
    expect(why).toMatch(/^webgl on /);
    expect([early, now]).toEqual([
      [2, 3],
      [4, 5],
    ]);
    const [op, read, again] = messages as string[];
    expect(read).toMatch(/gone: the device was replaced by a later useDevice/);
    for (const message of [op, again]) expect(message).toMatch(/its numbers on a device that was replaced/);
  });

  test("opens as much for two calls at once as for one", { timeout: 60_000 }, async () => {
    expect(await inTab(browser, "two calls at once")).toEqual(await inTab(browser, "one call"));
  });

  test("runs what the call that ends last has asked for", { timeout: 60_000 }, async () => {
    expect(await inTab(browser, "two devices at once")).toEqual({ name: "gpu", found: [2] });
  });
});

// What follows is sent to a page as text: a driver with a wrong exp, no adapter, and textures of 64 × 64.

function wrongExp(): void {
  interface GL {
    shaderSource(shader: unknown, source: string): void;
  }
  const page = globalThis as unknown as Record<string, { prototype: GL }> & { navigator: object };
  for (const name of ["WebGLRenderingContext", "WebGL2RenderingContext"]) {
    const { prototype } = page[name];
    const { shaderSource } = prototype;
    prototype.shaderSource = function (shader, source): void {
      shaderSource.call(this, shader, source.replaceAll("exp(", "1.01*exp("));
    };
  }
  Object.defineProperty(page.navigator, "gpu", { value: undefined });
}

function noAdapter(): void {
  const { navigator } = globalThis as unknown as { navigator: { gpu: { requestAdapter(): Promise<null> } } };
  navigator.gpu.requestAdapter = () => Promise.resolve(null);
}

function smallTextures(): void {
  interface GL {
    readonly MAX_TEXTURE_SIZE: number;
    getParameter(name: number): unknown;
  }
  const page = globalThis as unknown as Record<string, { prototype: GL }>;
  for (const name of ["WebGLRenderingContext", "WebGL2RenderingContext"]) {
    const { prototype } = page[name];
    const { getParameter } = prototype;
    prototype.getParameter = function (this: GL, asked: number): unknown {
      return asked === this.MAX_TEXTURE_SIZE ? 64 : getParameter.call(this, asked);
    };
  }
}
