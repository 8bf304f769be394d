/** An open WebGPU device keeps Node alive; closeGpu lets it end. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { vulkanEnvironments } from "./node.ts";

const folder = mkdtempSync(join(tmpdir(), "moegrad-ends-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a program ends by itself after closeGpu, and may open the GPU again before", async () => {
  const program = fileURLToPath(new URL("ends.ts", import.meta.url));
  const printed: string[] = [];
  for (const found of vulkanEnvironments()) {
    const env = { XDG_RUNTIME_DIR: folder, ...found } as NodeJS.ProcessEnv;
    // One that did not end would be killed, which is an error.
    const options = { env, timeout: 60_000 };
    printed.push(
      await new Promise<string>((resolve) => {
        execFile(process.execPath, ["--import", "tsx", program], options, (error, stdout) =>
          resolve(error === null ? stdout : `${stdout}${error.message}`),
        );
      }),
    );
    if (printed[printed.length - 1].startsWith("gpu ")) break;
  }
  const [first, second, third] = printed[printed.length - 1].split("\n");
  expect(first).toBe("gpu 2 3");
  expect(second).toBe("anew 4 webgpu");
  expect(third).toMatch(
    /^null (simd|loops) read: the GPU has gone: the device was replaced by a later useDevice, or closed/,
  );
});
