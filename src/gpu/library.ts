/// <reference path="./gpujs.d.ts" />
/**
 * gpu.js as this library uses it: the few names below, found only when a GPU is asked for.
 *
 * Its own types are not used: they lack what is needed here (`loopMaxIterations`, the WebGPU kernel) and call `input` a type.
 */

/** The version that everything here was tried with. */
export const GPUJS = "gpu.js@2.24.1";

/** What a kernel that keeps its result on the device returns. */
export interface Handle {
  toArray(): unknown;
  /** WebGL: the texels as they are, four numbers each. Null when it was deleted. */
  renderValues?(): Float32Array | null;
  delete(): void;
}

/** A compiled kernel, and behind `kernel` the object of the route on which it really runs. */
export interface Program {
  (...args: readonly unknown[]): Handle | Promise<Handle>;
  setOutput(size: readonly number[]): unknown;
  readonly kernel: { readonly fallbackReason?: unknown; readonly context?: unknown };
}

export interface Instance {
  createKernel(source: string, settings: object): Program;
  /** Text in front of every kernel, in the language of the route. */
  injectNative(source: string): unknown;
  destroy(): unknown;
}

type Class = abstract new (...args: never[]) => object;

export interface GpuJs {
  readonly GPU: {
    new (settings: { mode: string; context?: unknown; canvas?: unknown }): Instance;
    isWebGPUAvailable(): Promise<boolean>;
    readonly isWebGL2Supported: boolean;
    readonly isWebGLSupported: boolean;
    readonly isHeadlessGLSupported: boolean;
  };
  readonly input: (data: Float32Array, size: readonly number[]) => object;
  readonly WebGPUKernel: Class;
  readonly WebGL2Kernel: Class;
  readonly WebGLKernel: Class;
  readonly HeadlessGLKernel: Class;
}

/** gpu.js, or in one line why it is not there. Bundlers give it as a namespace, or as its default, which is then GPU itself. */
export async function loadGpuJs(): Promise<GpuJs | string> {
  let found: { GPU?: unknown; default?: { GPU?: unknown } };
  try {
    found = await import("gpu.js");
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return `gpu.js, which compiles the shaders, is not there: npm install ${GPUJS} (${reason})`;
  }
  const api = found.GPU === undefined ? found.default : found;
  if (typeof api !== "object" && typeof api !== "function") return `gpu.js has no GPU: npm install ${GPUJS}`;
  if (api.GPU !== undefined) return api as GpuJs;
  // The browser build hangs every other name on the class. A copy, since a class's statics do not spread.
  const names = ["input", "WebGPUKernel", "WebGL2Kernel", "WebGLKernel", "HeadlessGLKernel"] as const;
  const own = api as unknown as Record<string, unknown>;
  return { GPU: api, ...Object.fromEntries(names.map((name) => [name, own[name]])) } as unknown as GpuJs;
}
