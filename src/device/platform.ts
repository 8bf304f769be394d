/**
 * What the platform may have: Node, a page and a worker differ, so each part is asked for and none is taken for granted.
 * The types are our own, since the library is compiled with those of no platform.
 */

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

export type Exports = Readonly<Record<string, (...args: number[]) => void>>;

interface WasmNamespace {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Exports };
}

/** What Node's Worker and the browser's have in common here. */
export interface Thread {
  terminate(): unknown;
}

interface NodeThread extends Thread {
  unref(): void;
  on(event: "error", listener: (error: Error) => void): void;
  on(event: "exit", listener: (code: number) => void): void;
}

interface WebThread extends Thread {
  onerror: ((event: { message?: string }) => void) | null;
  postMessage(message: unknown): void;
}

export interface Platform {
  readonly WebAssembly?: WasmNamespace;
  readonly SharedArrayBuffer?: unknown;
  /** There on a browser's main thread, and in no worker. */
  readonly document?: unknown;
  readonly Worker?: new (url: string) => WebThread;
  readonly Blob?: new (parts: string[], options: { type: string }) => object;
  readonly URL?: { createObjectURL(blob: object): string; revokeObjectURL(url: string): void };
  readonly process?: {
    getBuiltinModule?(
      name: string,
    ): { readonly Worker: new (source: string, options: object) => NodeThread } | undefined;
  };
  setTimeout(callback: (value?: unknown) => void, ms: number): unknown;
}

export const platform = globalThis as unknown as Platform;

/** A memory that grows up to a limit, in pages of 64 KiB. */
export function newMemory(pages: number, shared: boolean): WasmMemory {
  if (platform.WebAssembly === undefined) throw new Error("there is no WebAssembly");
  return new platform.WebAssembly.Memory({ initial: 1, maximum: pages, shared });
}

/** Compiles a module and gives its functions. */
export function instantiate(bytes: Uint8Array, memory: WasmMemory, room: number): Exports {
  if (platform.WebAssembly === undefined) throw new Error("there is no WebAssembly");
  const { Module, Instance } = platform.WebAssembly;
  return new Instance(new Module(bytes), { env: { memory, room } }).exports;
}
