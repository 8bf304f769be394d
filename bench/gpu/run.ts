/** npm run bench -- --device gpu: Chromium, the routes that work in it, and all cases on each. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import type { RouteName } from "../../src/gpu/index.ts";
import { type Browser, findChromium, launch, versionOf } from "../../test/gpu/browser.ts";
import { lackingPackages } from "../../test/gpu/machine.ts";
import type { Children } from "../children.ts";
import type { Options } from "../options.ts";
import { installPeers } from "../peers/install.ts";
import { progressLine } from "../progress.ts";
import { UsageError } from "../usage.ts";
import { buildPage, servePage } from "./browser.ts";
import { chosenGpuCases } from "./choice.ts";
import type { GpuResults, GpuRow, RouteResult } from "./results.ts";
import { type GpuPlan, gpuSteps, inspect, runGpuSuite } from "./suite.ts";
import { gpuFailures, gpuHeader, gpuLine, routeWords } from "./table.ts";

const testFolder = fileURLToPath(new URL("../../test/gpu", import.meta.url));
const tfjsFolder = fileURLToPath(new URL("../peers/node_modules/@tensorflow/tfjs", import.meta.url));

type Say = (text: string) => void;

/** Runs what the options ask for. Throws a UsageError where no browser or no route is to be had. */
export async function benchGpu(
  options: Options,
  folder: string,
  children: Children,
  output: NodeJS.WriteStream,
): Promise<GpuResults> {
  const say: Say = (text) => void output.write(`${text}\n`);
  checkChromium();
  await installTestPackages(children, say);
  const missing: Record<string, string> = {};
  const failed = options.peers ? await installPeers(children, say) : null;
  if (failed !== null) missing.tfjs = failed;
  const { url, server } = await servePage(await buildPage(), folder);
  // Playwright ends the process after Ctrl-C, once the browser is closed.
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const browser = await launch();
  try {
    const before = loadavg()[0];
    const processor = cpus()[0]?.model ?? "unknown processor";
    const versions = versionsOf(options.peers && failed === null);
    say(`Chromium ${browser.version()}, ${processor}, load ${before.toFixed(1)}`);
    say(
      Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(", "),
    );
    const routes = await openRoutes(options.routes, browser, url, missing);
    for (const route of routes) say(routeWords(route));
    for (const [name, reason] of Object.entries(missing)) say(`without ${name}: ${reason}`);
    const cases = chosenGpuCases(
      options,
      routes.some(({ software }) => !software),
    );
    const plan = { cases, routes, peers: "tfjs" in versions, quick: options.quick, folder, url };
    const rows = await runPlan(plan, browser, children, output);
    const date = new Date().toISOString().slice(0, 10);
    const load = [before, loadavg()[0]] as const;
    return { date, browser: `Chromium ${browser.version()}`, processor, load, versions, routes, missing, rows };
  } finally {
    await browser.close();
    server.close();
  }
}

async function runPlan(
  plan: GpuPlan,
  browser: Browser,
  children: Children,
  output: NodeJS.WriteStream,
): Promise<GpuRow[]> {
  const rows: GpuRow[] = [];
  const progress = progressLine(output, gpuSteps(plan));
  output.write(`\n${gpuHeader()}\n`);
  try {
    for await (const row of runGpuSuite(plan, browser, children, progress.step)) {
      progress.clear();
      rows.push(row);
      const on = plan.routes.find(({ route }) => route === row.route) as RouteResult;
      output.write(`${[gpuLine(row, on), ...gpuFailures(row)].join("\n")}\n`);
    }
  } finally {
    progress.clear();
  }
  return rows;
}

function checkChromium(): void {
  try {
    findChromium();
  } catch (error) {
    throw new UsageError((error as Error).message.replace("npm run test:gpu", "npm run bench -- --device gpu"));
  }
}

/** gpu.js and Playwright, which the tests have in a folder of their own. */
async function installTestPackages(children: Children, say: Say): Promise<void> {
  if (lackingPackages() === null) return;
  say("installing gpu.js and Playwright into test/gpu, once (about 140 MB)");
  await children.run("npm", ["ci", "--prefix", testFolder, "--no-audit", "--no-fund", "--loglevel", "error"]);
}

function versionsOf(peers: boolean): Record<string, string> {
  const file = `${tfjsFolder}/package.json`;
  const own = { "gpu.js": versionOf("gpu.js") };
  return peers && existsSync(file) ? { ...own, tfjs: JSON.parse(readFileSync(file, "utf8")).version } : own;
}

/** The routes that work; the others, with the reason, are missing. */
async function openRoutes(
  names: readonly RouteName[],
  browser: Browser,
  url: string,
  missing: Record<string, string>,
): Promise<RouteResult[]> {
  const routes: RouteResult[] = [];
  for (const name of names) {
    const found = await inspect(browser, url, name);
    if (typeof found === "string") missing[name] = found;
    else routes.push(found);
  }
  if (routes.length > 0) return routes;
  const why = Object.entries(missing).map(([name, reason]) => `${name}: ${reason}`);
  throw new UsageError(`--device has "gpu", expected one that works in this Chromium (${why.join("; ")})`);
}
