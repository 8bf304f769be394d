/** Child processes: each gets an order and answers with one line of JSON. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Settings } from "./sides/side.ts";
import type { Clock } from "./timing.ts";

/** What a process can be asked. `folder`: where the problem lies. */
export type Order =
  | { readonly do: "problem"; readonly name: string; readonly folder: string }
  | { readonly do: "roof"; readonly seconds: number; readonly clock: Clock }
  | (Timed & Settings);

interface Timed {
  readonly do: "time";
  /** The module of the side, relative to this folder. */
  readonly module: string;
  readonly folder: string;
  readonly seconds: number;
  readonly clock: Clock;
}

const root = fileURLToPath(new URL("..", import.meta.url));
const child = fileURLToPath(new URL("./child.ts", import.meta.url));
const native = (module: string): string => fileURLToPath(new URL(`./peers/${module}`, import.meta.url));

/** All processes of a run, one at a time, so that no two disturb each other. */
export class Children {
  #running: ChildProcess | null = null;
  #stopped = false;

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Ends the process that runs; no other begins. */
  stop(): void {
    this.#stopped = true;
    this.#running?.kill("SIGKILL");
  }

  /** The answer to an order. `python`: the command for sides that are no JavaScript. */
  async ask<Answer>(order: Order, python = ""): Promise<Answer> {
    const isNative = order.do === "time" && order.module.endsWith(".py");
    const line = isNative
      ? await this.run(python, [native(order.module), order.folder, String(order.seconds), order.clock])
      : await this.run(process.execPath, ["--import", "tsx", child, JSON.stringify(order)]);
    return JSON.parse(line) as Answer;
  }

  /** The last line that a command prints. Throws an Error with its complaints when it fails. */
  run(command: string, args: readonly string[]): Promise<string> {
    if (this.#stopped) return Promise.reject(new Error("stopped"));
    return new Promise((resolve, reject) => {
      const running = spawn(command, args, { cwd: root, env: environment(), stdio: ["ignore", "pipe", "pipe"] });
      this.#running = running;
      let [printed, complaints] = ["", ""];
      running.stdout.setEncoding("utf8").on("data", (text: string) => {
        printed += text;
      });
      running.stderr.setEncoding("utf8").on("data", (text: string) => {
        complaints += text;
      });
      running.on("error", reject);
      running.on("close", (code, signal) => {
        this.#running = null;
        const lines = printed.trimEnd().split("\n");
        if (code === 0) resolve(lines[lines.length - 1]);
        else reject(new Error(complaints.trim() || `ended with ${signal ?? `code ${code}`}`));
      });
    });
  }
}

/** One thread for native libraries, and the kernels that their processor is made for. */
function environment(): NodeJS.ProcessEnv {
  const { OPENBLAS_CORETYPE: _, ...others } = process.env;
  return { ...others, OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1" };
}
