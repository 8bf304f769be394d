/** A GPU in Node: navigator.gpu from the package webgpu, where that is installed, or headless-gl. */
import { register } from "node:module";
import { type DeviceInfo, useDevice } from "../../src/index.ts";
import { refuse } from "../usage.ts";

/** The packages are large and only who has a GPU wants them, so they are installed beside what tests the GPU, or nowhere. */
const INSTALL = "npm ci --prefix test/gpu";
const HOME = new URL("../../test/gpu/package.json", import.meta.url).href;

/** Has gpu.js and webgpu looked for in test/gpu first, whoever imports them. */
export function findPackages(): void {
  const hook = `export async function resolve(name, context, next) {
    if (name !== "gpu.js" && name !== "webgpu") return next(name, context);
    return next(name, { ...context, parentURL: ${JSON.stringify(HOME)} }).catch(() => next(name, context));
  }`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

/** What the package webgpu gives: WebGPU as Dawn, Chromium's own, implements it. */
interface WebGPU {
  create(flags: readonly string[]): object;
  globals: object;
}

/** Gives Node a `navigator.gpu` where it has none; or says in one line why not. */
export async function provideWebGPU(): Promise<string | null> {
  const before = (globalThis as { navigator?: { gpu?: object } }).navigator;
  if (before?.gpu !== undefined) return null;
  // Not a literal, since TypeScript would look for it.
  const name = "webgpu";
  let found: WebGPU;
  try {
    found = await import(name);
  } catch (error) {
    return error instanceof Error ? error.message.split("\n")[0] : String(error);
  }
  const gpu = { value: found.create([]), configurable: true };
  Object.assign(globalThis, found.globals);
  // Node has a navigator from version 21 on.
  if (before === undefined) {
    Object.defineProperty(globalThis, "navigator", {
      value: Object.defineProperty({}, "gpu", gpu),
      configurable: true,
    });
  } else Object.defineProperty(before, "gpu", gpu);
  return null;
}

/** Takes the GPU. Throws a UsageError where there is none: who asks for it by name does not want the CPU instead. */
export async function useGpu(): Promise<DeviceInfo> {
  findPackages();
  const reason = await provideWebGPU();
  const device = await useDevice("gpu");
  if (device.name === "gpu") return device;
  if (reason !== null) refuse("device", "gpu", `the packages for it, which are not here: ${INSTALL}`, reason);
  return refuse("device", "gpu", "a GPU and its driver", device.why.replace(/^asked for a GPU, runs on the CPU: /, ""));
}
