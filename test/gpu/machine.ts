/** The routes that the suite runs on, what each needs of the machine, and how to get it. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { findChromium } from "./browser.ts";

const folder = fileURLToPath(new URL(".", import.meta.url));

/** Three in tabs of Chromium and two in processes of Node. */
export const routes = ["webgl2", "webgl", "webgpu", "node-webgpu", "headlessgl"] as const;
export type Route = (typeof routes)[number];

/** All that need no compiler. headlessgl has a command of its own. */
const usual: readonly Route[] = ["webgl2", "webgl", "webgpu", "node-webgpu"];

/** The routes asked for: those of ROUTES, or the usual ones. */
export function askedRoutes(): readonly Route[] {
  const { ROUTES } = process.env;
  if (!ROUTES) return usual;
  const names = ROUTES.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !(routes as readonly string[]).includes(name));
  if (unknown === undefined) return names as Route[];
  throw new Error(`ROUTES has ${JSON.stringify(unknown)}, expected some of ${routes.join(", ")}`);
}

/** Whether a route that cannot run is a failure: when it was asked for by name, and in continuous integration. */
export const required = (): boolean => process.env.MOEGRAD_GPU === "required" || Boolean(process.env.ROUTES);

/** What a route lacks on this machine and how to get it, a line each; none when it can run. */
export function lacking(route: Route): string[] {
  const own =
    route === "headlessgl" ? lackingHeadlessGl() : route === "node-webgpu" ? lackingDawn() : lackingChromium();
  return [lackingPackages(), own].filter((line) => line !== null);
}

/** Looks for gpu.js, Playwright and webgpu in the versions that package.json asks for. */
export function lackingPackages(): string | null {
  const { dependencies } = readJson(`${folder}package.json`) as { dependencies: Record<string, string> };
  for (const [name, version] of Object.entries(dependencies)) {
    const file = `${folder}node_modules/${name}/package.json`;
    const found = existsSync(file) ? (readJson(file) as { version: string }).version : null;
    if (found !== version) return `${name}@${version} is not in test/gpu/node_modules: npm ci --prefix test/gpu`;
  }
  return null;
}

function lackingChromium(): string | null {
  try {
    findChromium();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Dawn comes with the package webgpu; it loads the system's Vulkan, and that a driver. */
function lackingDawn(): string | null {
  const { platform, arch } = process;
  const build = platform === "darwin" ? "darwin-universal" : `${platform}-${arch}`;
  const dist = `${folder}node_modules/webgpu/dist`;
  if (existsSync(dist) && !existsSync(`${dist}/${build}.dawn.node`)) return `the package webgpu has no ${build}`;
  if (platform !== "linux") return null;
  const libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64", "/lib64"];
  if (!libraries.some((path) => existsSync(`${path}/libvulkan.so.1`))) {
    return "no libvulkan.so.1: install it (Debian: apt-get install libvulkan1)";
  }
  const ownDriver = ["/dev/dri/renderD128", "/dev/nvidia0"].some((path) => existsSync(path));
  if (ownDriver || choosesVulkan() || findSwiftShader() !== null) return null;
  return "no driver for Vulkan: a GPU's own, or SwiftShader, which comes with Chromium (Debian: apt-get install chromium)";
}

/** Whether the user has said which driver Vulkan has to load. */
export const choosesVulkan = (): boolean => Boolean(process.env.VK_ICD_FILENAMES ?? process.env.VK_DRIVER_FILES);

/** Vulkan on the CPU, which lies beside every Chromium. */
export function findSwiftShader(): string | null {
  const places = ["/usr/lib/chromium", "/opt/google/chrome"];
  if (lackingChromium() === null) places.unshift(dirname(realpathSync(findChromium())));
  return places.map((path) => `${path}/vk_swiftshader_icd.json`).find((path) => existsSync(path)) ?? null;
}

function lackingHeadlessGl(): string | null {
  if (!existsSync(`${folder}node_modules/gl/build/Release/webgl.node`))
    return "gl is not built: npm run test:headlessgl";
  return process.env.DISPLAY ? null : "there is no display: npm run test:headlessgl starts one";
}

/** What the routes that did not run need, a line for each need; nothing when all ran. */
export function listLacking(): string[] {
  const routesOf = new Map<string, Route[]>();
  for (const route of askedRoutes()) {
    for (const need of lacking(route)) routesOf.set(need, [...(routesOf.get(need) ?? []), route]);
  }
  const lines = [...routesOf].map(([need, names]) => `  ${names.join(", ")}: ${need}`);
  return [...lines, "  headlessgl: has a command of its own: npm run test:headlessgl"];
}

const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
