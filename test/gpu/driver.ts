/** What the driver is asked for, counted at its own functions, and ways to take it away. */

type Fn = (this: unknown, ...args: unknown[]) => unknown;

/** Textures and buffers that live, and launches: draws of WebGL, dispatches of WebGPU. */
export const driver = { live: 0, launches: 0 };

/** Takes the device away, as a crash of the driver would. */
export const losers: (() => void)[] = [];

/** Runs `then` after each call of a method, where the platform has its class. */
function after(className: string, method: string, then: (result: unknown, self: unknown) => void): void {
  const prototype = (globalThis as unknown as Record<string, { prototype?: Record<string, Fn> } | undefined>)[className]
    ?.prototype;
  const original = prototype?.[method];
  if (prototype === undefined || original === undefined) return;
  prototype[method] = function (...args) {
    const result = original.apply(this, args);
    then(result, this);
    return result;
  };
}

interface Losable {
  getExtension(name: string): { loseContext(): void } | null;
}

interface Destroyable {
  destroy(): void;
}

export function watchDriver(): void {
  for (const gl of ["WebGLRenderingContext", "WebGL2RenderingContext"]) {
    after(gl, "createTexture", () => driver.live++);
    after(gl, "deleteTexture", () => driver.live--);
    after(gl, "drawArrays", () => driver.launches++);
  }
  after("GPUDevice", "createBuffer", () => driver.live++);
  after("GPUBuffer", "destroy", () => driver.live--);
  after("GPUComputePassEncoder", "dispatchWorkgroups", () => driver.launches++);
  for (const canvas of ["HTMLCanvasElement", "OffscreenCanvas"]) {
    after(canvas, "getContext", (context) => {
      const extension = (context as Losable | null)?.getExtension?.("WEBGL_lose_context");
      if (extension) losers.push(() => extension.loseContext());
    });
  }
  after("GPUAdapter", "requestDevice", (promise) => {
    (promise as Promise<Destroyable>).then((device) => losers.push(() => device.destroy()));
  });
}
