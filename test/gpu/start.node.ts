/** `npm start -- --device gpu` in Node, on Dawn. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import type { Results } from "../../bench/start/results.ts";
import { train } from "../../bench/start/train.ts";
import { vulkanEnvironments } from "./node.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "moegrad-start-"));
afterAll(() => rmSync(folder, { recursive: true }));

const [STEPS, LANGUAGES] = [2, ["taj", "tgl_tglg"]];

interface Ended {
  readonly status: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the main job with the first driver that Vulkan finds. */
async function start(args: readonly string[]): Promise<Ended> {
  const command = ["--import", "tsx", "bench/start/main.ts", "--device", "gpu", ...args];
  for (const found of vulkanEnvironments()) {
    const env = { XDG_RUNTIME_DIR: folder, ...found } as NodeJS.ProcessEnv;
    const ended = await new Promise<Ended>((resolve) => {
      execFile(process.execPath, command, { cwd: root, env }, (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : error.code, stdout, stderr }),
      );
    });
    if (!ended.stderr.includes("expected a GPU and its driver")) return ended;
  }
  throw new Error("Vulkan finds no driver");
}

test("npm start -- --device gpu has the losses of the loops and reads them and the loads, nothing else", async () => {
  const [page, json] = [join(folder, "page.html"), join(folder, "results.json")];
  const args = ["--routers", "top2", "--languages", LANGUAGES.join(","), "--steps", String(STEPS)];
  const { status, stdout, stderr } = await start([...args, "--out", page, "--json", json]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^on gpu: webgpu on /m);
  expect(existsSync(page)).toBe(true);

  const [run] = (JSON.parse(readFileSync(json, "utf8")) as Results).models;
  const job = { variant: "top2", languages: LANGUAGES, numExperts: 8, steps: STEPS, seed: 1, device: "loops" } as const;
  const loops = await train(job);
  expect(run.losses).toHaveLength(STEPS);
  for (const [i, bits] of run.losses.entries()) expect(Math.abs(bits / loops.losses[i] - 1)).toBeLessThan(0.01);
  expect(run.loads[0]).toEqual(loops.loads[0]);
  expect(Math.abs(run.heldOutBits / loops.heldOutBits - 1)).toBeLessThan(0.01);
  const { launches = 0, readbacks, fallbacks } = run.gpu ?? {};
  expect([readbacks, fallbacks]).toEqual([2 * STEPS, 0]);
  expect(launches).toBeGreaterThan(10 * STEPS);
  expect(loops.gpu).toBeNull();
});
