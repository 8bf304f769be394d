/**
 * Routes: the ways of gpu.js to a GPU, each asked for by name.
 *
 * gpu.js falls back in silence, to WebAssembly or to plain JavaScript, where a route is missing or a kernel does not
 * compile. To us that is an error: the class of every kernel is looked at after its first run.
 */

import { GPUJS, type GpuJs, type Handle, type Instance, loadGpuJs, type Program } from "./library.ts";
import { selfTest } from "./selfTest.ts";
import { fetchText, type Layout, outputSize, PACK, UNPACK, UPLOAD, UPLOAD_FOURS } from "./texels.ts";

export const routeNames = ["webgpu", "webgl2", "webgl", "headlessgl"] as const;
export type RouteName = (typeof routeNames)[number];

/** What a GPU device runs on. */
export interface RouteInfo {
  readonly route: RouteName;
  /** What the driver calls the GPU. */
  readonly adapter: string;
  /** Whether the "GPU" is a program on the CPU, as in most containers and virtual machines. */
  readonly software: boolean;
  /** The routes that come before this one, and why each was passed over. */
  readonly passedOver: readonly string[];
}

/** The context of WebGL, as far as it is looked at. */
interface GL {
  isContextLost(): boolean;
  getExtension(name: string): { readonly UNMASKED_RENDERER_WEBGL: number } | null;
  getParameter(name: number): unknown;
  readonly RENDERER: number;
}

/** The context of gpu.js's WebGPU kernels. */
interface WebGPU {
  readonly isLost?: boolean;
  readonly device: { destroy(): void };
  readonly adapter: {
    readonly isFallbackAdapter?: boolean;
    readonly info?: { readonly [name in "vendor" | "architecture" | "device" | "description"]?: string };
  };
}

const SOFTWARE = /swiftshader|llvmpipe|softpipe|lavapipe|basic render|software|warp/i;

/**
 * Fixed for every kernel. "precision": the other tactic picks the floats' precision from the size of the first output.
 * `immutable`: else a kernel's next run would overwrite what the last one gave.
 */
const SETTINGS = {
  precision: "single",
  tactic: "precision",
  pipeline: true,
  immutable: true,
  dynamicOutput: true,
  dynamicArguments: true,
  loopMaxIterations: 65_535,
};

/** A WebGPU buffer of fours is one of single numbers, too, and is read at once as such. */
function flat(handle: Handle): Handle {
  const buffer = handle as Handle & { componentCount: number; output: readonly number[] };
  if (buffer.componentCount === 1) return handle;
  buffer.output = [buffer.output[0] * buffer.componentCount];
  buffer.componentCount = 1;
  return handle;
}

/** One route that is open: programs by their text, and what they run on. */
export class Route {
  readonly #api: GpuJs;
  readonly #instance: Instance;
  readonly #programs = new Map<string, Program>();
  readonly #class: GpuJs["WebGPUKernel"];
  #context: GL | WebGPU | null = null;
  #stopped = false;

  constructor(
    readonly name: RouteName,
    api: GpuJs,
  ) {
    this.#api = api;
    this.#instance = new api.GPU({ mode: name });
    if (this.layout === "texels") this.#instance.injectNative(fetchText(name === "webgl2" ? 2 : 1));
    this.#class = {
      webgpu: api.WebGPUKernel,
      webgl2: api.WebGL2Kernel,
      webgl: api.WebGLKernel,
      headlessgl: api.HeadlessGLKernel,
    }[name];
  }

  get layout(): Layout {
    return this.name === "webgpu" ? "buffers" : "texels";
  }

  upload(data: Float32Array, fours = false): Promise<Handle> {
    if (!fours) return this.launch(UPLOAD, [this.#api.input(data, [data.length])], data.length);
    return this.launch(UPLOAD_FOURS, [this.#api.input(data, [4, data.length / 4])], data.length / 4);
  }

  /** A copy with four numbers a texel, of one with one. `length`: how many numbers. */
  pack(handle: Handle, length: number): Promise<Handle> {
    return this.launch(PACK, [handle], length / 4);
  }

  unpack(fours: Handle, length: number): Promise<Handle> {
    return this.launch(UNPACK, [fours], length);
  }

  /** Runs a text on its arguments (handles, numbers, or one array to upload) in so many threads. */
  async launch(text: string, args: readonly unknown[], threads: number): Promise<Handle> {
    const known = this.#programs.get(text);
    const output = outputSize(threads, this.layout);
    const program = known ?? this.#instance.createKernel(text, { ...SETTINGS, output });
    if (known !== undefined) program.setOutput(output);
    const handle = await program(...args);
    if (known === undefined) {
      this.#check(program);
      this.#programs.set(text, program);
    }
    return this.layout === "buffers" ? flat(handle) : handle;
  }

  #check({ kernel }: Program): void {
    const reason = kernel.fallbackReason;
    if (!(kernel instanceof this.#class) || (reason !== undefined && reason !== null)) {
      throw new Error(`gpu.js left ${this.name} for another route${reason ? `: ${String(reason)}` : ""}`);
    }
    this.#context ??= kernel.context as GL | WebGPU;
  }

  /** A copy of the numbers behind a handle. */
  async read(handle: Handle, length: number, fours = false): Promise<Float32Array> {
    if (!fours && this.layout === "texels" && length % 4 === 0) {
      // Texels come whole, so that one number in each would be a quarter of what is copied.
      const packed = await this.pack(handle, length);
      try {
        return await this.read(packed, length, true);
      } finally {
        packed.delete();
      }
    }
    // gpu.js's own toArray would make an array of every row, or of every texel.
    const texels = handle.renderValues ? handle.renderValues() : null;
    const numbers = texels ?? ((await handle.toArray()) as Float32Array);
    const step = texels !== null && !fours ? 4 : 1;
    const out = step === 1 ? numbers.slice(0, length) : Float32Array.from({ length }, (_, i) => numbers[4 * i]);
    const lost = this.lost();
    if (lost !== null) throw new Error(lost);
    return out;
  }

  /** What has been lost, or null. WebGL without its context gives zeros in silence, so this is asked after every read. */
  lost(): string | null {
    if (this.#stopped) return "the device was replaced by a later useDevice, or closed";
    const context = this.#context;
    if (context === null) return null;
    if ("isContextLost" in context) return context.isContextLost() ? "the WebGL context was lost" : null;
    return context.isLost ? "the WebGPU device was lost" : null;
  }

  /** What the driver calls the GPU. */
  adapter(): string {
    const context = this.#context;
    if (context === null) return "unknown";
    if ("isContextLost" in context) {
      const extension = context.getExtension("WEBGL_debug_renderer_info");
      return String(context.getParameter(extension?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER));
    }
    const { vendor, architecture, device, description } = context.adapter.info ?? {};
    const parts = [vendor, architecture, device, description].filter((part) => part);
    if (context.adapter.isFallbackAdapter) parts.push("software");
    return parts.join(" ") || "unknown";
  }

  stop(): void {
    this.#stopped = true;
    this.#instance.destroy();
    const context = this.#context;
    // gpu.js leaves it open, and in Node an open one keeps the process alive.
    if (context !== null && "device" in context) context.device.destroy();
  }
}

/** Why a route is not there before anything is compiled, or null. */
async function missing(name: RouteName, api: GpuJs): Promise<string | null> {
  const browser = "document" in globalThis || "importScripts" in globalThis;
  if (name === "headlessgl") {
    if (browser) return "it is for Node";
    return api.GPU.isHeadlessGLSupported ? null : "the package gl is not built, or there is no display (xvfb-run)";
  }
  if (name === "webgpu") {
    const navigator = (globalThis as { navigator?: { gpu?: unknown } }).navigator;
    if (navigator?.gpu === undefined) return "no navigator.gpu";
    return (await api.GPU.isWebGPUAvailable()) ? null : "navigator.gpu has no adapter";
  }
  if (!browser) return "it is for browsers";
  return (name === "webgl2" ? api.GPU.isWebGL2Supported : api.GPU.isWebGLSupported) ? null : "the browser has none";
}

/** Opens one route and tries it; or says why it cannot. */
async function openRoute(name: RouteName, api: GpuJs): Promise<Route | string> {
  let route: Route | null = null;
  try {
    const reason = await missing(name, api);
    if (reason !== null) return reason;
    route = new Route(name, api);
    await selfTest(route);
    return route;
  } catch (error) {
    route?.stop();
    return error instanceof Error ? error.message.split("\n")[0] : String(error);
  }
}

/** The first route of those asked for that works, or why there is none. */
export async function findRoute(names: readonly RouteName[]): Promise<{ route: Route; info: RouteInfo } | string> {
  const api = await loadGpuJs();
  if (typeof api === "string") return api;
  const passedOver: string[] = [];
  for (const name of names) {
    const route = await openRoute(name, api);
    if (typeof route !== "string") {
      const adapter = route.adapter();
      return { route, info: { route: name, adapter, software: SOFTWARE.test(adapter), passedOver } };
    }
    passedOver.push(`${name}: ${route}`);
  }
  return `no route of ${GPUJS} works here: ${passedOver.join("; ")}`;
}
