/**
 * npm run test:gpu: every kernel's form on every route of a real Chromium, and programs that look at the queue.
 *
 *   npm run test:gpu                    webgl2, webgl, webgpu
 *   ROUTES=webgl2 npm run test:gpu      one of them
 *
 * Apart from `npm test`, which needs Node alone. The page is built and minified by Vite, and its security policy allows
 * scripts of its own and nothing else.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { type Browser, bundle, install, launch, serve, type Tab, versionOf } from "./browser.ts";
import { expected } from "./expected.ts";
import type { Page } from "./page.ts";

declare global {
  // What page.ts puts there, in the browser.
  var moegrad: Page;
}

type Route = "webgl2" | "webgl" | "webgpu";
const routes = (process.env.ROUTES ?? "webgl2,webgl,webgpu").split(",") as Route[];

install();
const browser: Browser = await launch();
const { url, server } = await serve(await bundle());
console.log(`Chromium ${browser.version()}, gpu.js ${versionOf("gpu.js")}`);

after(async () => {
  await browser.close();
  server.close();
});

/** Errors and warnings that the page wrote: a fallback of gpu.js is one. */
function watch(tab: Tab): string[] {
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

async function open(): Promise<{ tab: Tab; complaints: string[] }> {
  const tab = await browser.newPage();
  const complaints = watch(tab);
  await tab.goto(url);
  return { tab, complaints };
}

const first = await open();
const { kernels, tested, programs, count } = await first.tab.evaluate(() => {
  const { kernels, tested, programs, count } = globalThis.moegrad;
  return { kernels, tested, programs, count };
}, null);
await first.tab.close();

test(`every kernel with a form has cases (${count} in all); the loops run ${kernels.loops.join(", ")}`, () => {
  assert.deepEqual(
    kernels.forms.filter((name) => !tested.includes(name)),
    [],
  );
  assert.deepEqual(programs.sort(), Object.keys(expected).sort());
});

for (const route of routes) {
  describe(route, async () => {
    const { tab, complaints } = await open();
    const device = await tab.evaluate((name) => globalThis.moegrad.use(name), route);
    console.log(device.why);

    test("is what runs, with nothing passed over", () => {
      assert.equal(device.name, "gpu", device.why);
      assert.equal(device.gpu?.route, route);
      assert.deepEqual(device.gpu?.passedOver, []);
    });

    for (const name of kernels.forms) {
      test(`${name} equals its loops`, async () => {
        assert.deepEqual(await tab.evaluate((kernel) => globalThis.moegrad.testKernel(kernel), name), []);
      });
    }

    for (const name of programs) {
      test(`program: ${name}`, async () => {
        // What earlier programs left to the collector would change the count.
        const own = name === "memory" ? (await open()).tab : tab;
        await own.evaluate((r) => globalThis.moegrad.use(r), route);
        expected[name](await own.evaluate((program) => globalThis.moegrad.runProgram(program), name));
        if (own !== tab) await own.close();
      });
    }

    test("the page has complained about nothing", async () => {
      await tab.close();
      assert.deepEqual(complaints, []);
    });
  });
}
