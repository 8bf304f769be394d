/** One process of Node with the suite in it, which answers questions. Started by node.ts as `process.ts ROUTE`. */
import { createRequire } from "node:module";
import { findPackages, provideWebGPU } from "../../bench/start/gpu.ts";

export interface Question {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}

/** The first answer, with id 0, says whether the process can go on. */
export interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

const platform = globalThis as unknown as {
  navigator: { gpu: { requestAdapter(): Promise<object | null> } };
  moegrad: Record<string, unknown>;
  WebGLRenderingContext?: unknown;
};

const say = (answer: Answer): void => void process.send?.(answer);
const messageOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

/** Imports the suite when the classes of the driver are there, since calls of their methods are counted. */
async function prepare(route: string): Promise<string | null> {
  if (route === "webgpu") {
    const reason = await provideWebGPU();
    if (reason !== null) return reason;
    if ((await platform.navigator.gpu.requestAdapter()) === null) return "Dawn finds no adapter";
    await import("./page.ts");
    return null;
  }
  const require = createRequire(import.meta.url);
  const { WebGLRenderingContext } = require("gl/src/javascript/webgl-rendering-context");
  platform.WebGLRenderingContext = WebGLRenderingContext;
  await import("./page.ts");
  // Only a browser has it for all to see.
  delete platform.WebGLRenderingContext;
  return null;
}

async function answer({ id, name, args }: Question): Promise<void> {
  try {
    const member = platform.moegrad[name];
    say({ id, value: typeof member === "function" ? await member(...args) : member });
  } catch (error) {
    say({ id, error: messageOf(error) });
  }
}

process.on("disconnect", () => process.exit());
findPackages();
const reason = await prepare(process.argv[2]);
process.on("message", (question: Question) => void answer(question));
say(reason === null ? { id: 0 } : { id: 0, error: reason });
