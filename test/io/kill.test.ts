/** A run that is killed for real, again and again, ends with the digits of one that was left alone; no file is ever torn. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Generator } from "../../src/index.ts";
import { decodeSafetensors } from "../../src/io/index.ts";

const script = fileURLToPath(new URL("child.ts", import.meta.url));

/** When a run is killed: so many milliseconds after so many lines. */
interface Kill {
  readonly lines: number;
  readonly delayMs: number;
}

/** Lines that a run prints until it is killed; null leaves it alone. */
function run(path: string, kill: Kill | null): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", script, path], { stdio: ["ignore", "pipe", "pipe"] });
    let [printed, complaints, killing] = ["", "", kill === null];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
      if (killing || printed.split("\n").length <= (kill as Kill).lines) return;
      killing = true;
      setTimeout(() => child.kill("SIGKILL"), (kill as Kill).delayMs);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (signal === null && code !== 0) return reject(new Error(complaints));
      // What a killed run printed last may be half a line.
      resolve(printed.split("\n").slice(0, -1));
    });
  });
}

test("a run that is killed at any moment resumes to the same digits", { timeout: 300_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "moegrad-kill-"));
  try {
    const expected = await run(join(folder, "whole.safetensors"), null);
    expect(expected).toHaveLength(25);
    const path = join(folder, "killed.safetensors");
    const rng = new Generator(2);
    const seen = new Map<string, string>();
    let [kills, end] = [0, ""];
    while (end === "") {
      const lines = await run(path, { lines: 1 + rng.integer(5), delayMs: 8 * rng.uniform() });
      for (const line of lines) {
        const [step] = line.split(" ");
        // A step that was done but not saved is done again, with the same result.
        if (seen.has(step)) expect(line).toBe(seen.get(step));
        seen.set(step, line);
        if (step === "end") end = line;
      }
      if (end !== "") break;
      kills++;
      const files = readdirSync(folder).filter((file) => file.startsWith("killed"));
      if (files.includes("killed.safetensors")) {
        const { metadata } = decodeSafetensors(readFileSync(path));
        expect(JSON.parse(metadata.moegrad).parts.step.data).toBeGreaterThan(0);
      }
    }
    expect(kills).toBeGreaterThanOrEqual(2);
    expect([...seen.values()]).toEqual(expected);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
