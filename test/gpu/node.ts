/** Node as a place for the suite: processes with gpu.js's build for Node, on Dawn or on headless-gl. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { versionOf } from "./browser.ts";
import { choosesVulkan, findSwiftShader } from "./machine.ts";
import type { Page } from "./page.ts";
import type { Given, Host, Place } from "./place.ts";
import type { Answer, Question } from "./process.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/**
 * The environments in which Vulkan may find a driver: what the user has chosen and nothing else, or the system's own driver
 * and then SwiftShader. It reads them when it is loaded, so each needs a process.
 */
export function vulkanEnvironments(): Environment[] {
  const icd = findSwiftShader();
  return choosesVulkan() || icd === null ? [process.env] : [process.env, { ...process.env, VK_ICD_FILENAMES: icd }];
}

export async function openNode(route: "webgpu" | "headlessgl"): Promise<Place> {
  // Vulkan complains where there is none.
  const runtime = mkdtempSync(join(tmpdir(), "moegrad-runtime-"));
  const candidates = route === "webgpu" ? vulkanEnvironments() : [process.env];
  let chosen: Environment | null = null;
  const open = async (): Promise<Host> => {
    const reasons: string[] = [];
    for (const candidate of chosen === null ? candidates : [chosen]) {
      const host = await start(route, { XDG_RUNTIME_DIR: runtime, ...candidate });
      if (typeof host === "string") reasons.push(host);
      else {
        chosen = candidate;
        return host;
      }
    }
    throw new Error(`${route} in Node: ${reasons.join("; ")}`);
  };
  const below = route === "webgpu" ? `webgpu ${versionOf("webgpu")}` : `gl ${versionOf("gl")}`;
  return {
    name: `Node ${process.versions.node}, ${below}, gpu.js ${versionOf("gpu.js")}`,
    open,
    close: async () => rmSync(runtime, { recursive: true, force: true }),
  };
}

/** A process that answers, or why it cannot. */
async function start(route: string, env: Environment): Promise<Host | string> {
  const flags = ["--expose-gc", "--disable-warning=ExperimentalWarning", "--import", "tsx"];
  const child = spawn(process.execPath, [...flags, pathOf("process.ts"), route], {
    env: env as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    serialization: "advanced",
  });
  const complaints: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => complaints.push(text.trimEnd()));
  }
  const { reply, ended } = correspond(child, complaints);
  try {
    await reply(0);
  } catch (error) {
    child.kill();
    await ended;
    return (error as Error).message;
  }
  let asked = 0;
  return {
    complaints,
    ask: async <K extends keyof Page>(name: K, ...args: unknown[]) => {
      const id = ++asked;
      const answer = reply(id);
      child.send({ id, name, args } satisfies Question);
      return (await answer) as Given<K>;
    },
    close: async () => {
      child.kill();
      await ended;
    },
  };
}

/** Answers by the id of their question. Those that a process still owes when it ends are errors. */
function correspond(child: ChildProcess, complaints: readonly string[]) {
  const open = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  child.on("message", ({ id, value, error }: Answer) => {
    if (error === undefined) open.get(id)?.resolve(value);
    else open.get(id)?.reject(new Error(error));
    open.delete(id);
  });
  const ended = new Promise<void>((resolve) => {
    child.on("close", (code, signal) => {
      const error = new Error([`the process ended with ${signal ?? code}`, ...complaints].join("\n"));
      for (const { reject } of open.values()) reject(error);
      open.clear();
      resolve();
    });
  });
  const reply = (id: number): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (child.exitCode !== null) reject(new Error(`the process has ended with ${child.exitCode}`));
      else open.set(id, { resolve, reject });
    });
  return { reply, ended };
}
