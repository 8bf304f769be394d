import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test, vi } from "vitest";
import type { Results } from "../../bench/start/results.ts";

// Several processes of several threads: other work on the machine can make seconds many.
vi.setConfig({ testTimeout: 120_000 });

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "moegrad-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Starts the main job as `npm start` does, without npm. `watch` is told of all output so far. */
function start(
  args: readonly string[],
  watch = (_child: ChildProcess, _stdout: string): void => {},
  node: string[] = [],
) {
  const child = spawn(process.execPath, ["--import", "tsx", ...node, "bench/start/main.ts", ...args], { cwd: root });
  const ended: Ended = { code: null, stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    ended.stdout += text;
    watch(child, ended.stdout);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    ended.stderr += text;
  });
  return new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ ...ended, code })));
}

const tiny = (out: string) => ["--languages", "eng,taj", "--steps", "4", "--out", join(folder, out)];

describe("a small run", () => {
  test("shows a table, and writes a page and the results", async () => {
    const json = join(folder, "results.json");
    const { code, stdout, stderr } = await start([...tiny("small.html"), "--json", json]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(/Unigram entropy of the held-out text: \d\.\d{3} bits per character/);
    expect(stdout).toMatch(/FLOP per character.*: 0\.0 % apart/);
    expect(stdout).toMatch(/What the experts divide/);
    for (const title of ["dense", "top-2", "GShard", "expert choice"]) {
      expect(stdout).toMatch(new RegExp(`^${title} +\\d\\.\\d{3}`, "m"));
    }
    for (const line of stdout.split("\n").filter((line) => !line.includes(folder))) {
      expect(line.length).toBeLessThanOrEqual(80);
    }

    const results = JSON.parse(readFileSync(json, "utf8")) as Results;
    expect(results.models.map(({ losses }) => losses.length)).toEqual([4, 4, 4, 4]);
    expect(results.command).toMatch(/^npm start -- .*--seed 1 --device auto$/);
    expect(results.interrupted).toBe(false);

    const html = readFileSync(join(folder, "small.html"), "utf8");
    const sections = Array.from(html.matchAll(/<h2>(.*?)<\/h2>/g), ([, title]) => title);
    expect(sections).toEqual([
      "In short",
      "What the experts divide",
      "top-2: what each expert took",
      "GShard: what each expert took",
      "expert choice: what each expert took",
      "Loss",
      "Load",
      "What the models write",
      "To run it again",
    ]);
    expect(html).toContain(results.command);
    for (const chart of [
      "Training loss",
      "Held-out loss",
      "Experts per character",
      "Where each",
      "load of each expert",
    ]) {
      expect(html).toContain(chart);
    }
    // The only address is the name of SVG, which nothing loads.
    expect(html.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(
      /https?:|\bsrc=|\bhref=|url\(|@import|<script/,
    );
  });

  test("with --json - standard output is the JSON and nothing else, and the losses are the same with another number of workers", async () => {
    const args = [...tiny("json.html"), "--routers", "dense,gshard", "--json", "-", "--workers"];
    const runs = [await start([...args, "1"]), await start([...args, "2"])];
    const [one, two] = runs.map(({ stdout }) => (JSON.parse(stdout) as Results).models);
    expect(one.map(({ losses }) => losses)).toEqual(two.map(({ losses }) => losses));
    expect(one.map(({ heldOutBits }) => heldOutBits)).toEqual(two.map(({ heldOutBits }) => heldOutBits));
    expect(runs[0].stderr).toContain("Unigram entropy");
    expect(runs.map(({ code }) => code)).toEqual([0, 0]);
  });
});

describe("ends", () => {
  test("Ctrl-C writes the page of what ran, says so in one line, and exits with 130", async () => {
    const out = join(folder, "stopped.html");
    const args = ["--languages", "eng,taj", "--steps", "100000", "--out", out];
    let sent = false;
    const { code, stdout, stderr } = await start(args, (child, text) => {
      if (sent || !/^step \d+\//m.test(text)) return;
      sent = true;
      child.kill("SIGINT");
    });
    expect(stderr).toBe("");
    expect(code).toBe(130);
    const last = stdout.trimEnd().split("\n").pop();
    expect(last).toMatch(/^Interrupted after \d+ steps of 2 of 4 models; .*stopped\.html shows what ran\.$/);
    const html = readFileSync(out, "utf8");
    expect(html).toContain("The run was interrupted");
    expect(html).toContain("top-2: what each expert took");
    expect(html).not.toContain("GShard: what each expert took");
  });

  test("a model that fails is named, and the exit code is 1", async () => {
    const fault = 'import { isMainThread } from "node:worker_threads"; if (!isMainThread) throw new Error("no luck");';
    const preload = ["--import", `data:text/javascript,${encodeURIComponent(fault)}`];
    const { code, stderr } = await start([...tiny("failed.html"), "--routers", "expert-choice"], undefined, preload);
    expect(stderr).toBe("npm start: expert choice: no luck\n");
    expect(code).toBe(1);
    expect(existsSync(join(folder, "failed.html"))).toBe(false);
  });

  test.each([
    [["--steps", "0"], 'npm start: --steps has "0", expected an integer from 1 to 1000000\n'],
    [
      ["--routers", "dense,best"],
      'npm start: --routers has "best", expected some of dense, top2, gshard, expert-choice\n',
    ],
  ])("%j exits with 2 and one line", async (args, line) => {
    const { code, stdout, stderr } = await start(args);
    expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: "", stderr: line });
  });

  test("a GPU that is asked for by name and not there exits with 2 and says what to install", async () => {
    const hook =
      "export const resolve = (name, context, next) =>" +
      ' ["gpu.js", "webgpu"].includes(name) ? Promise.reject(new Error("no " + name + " here")) : next(name, context);';
    const preload = `import { register } from "node:module"; register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)});`;
    const out = join(folder, "gpu.html");
    const { code, stdout, stderr } = await start(["--device", "gpu", "--out", out], undefined, [
      "--import",
      `data:text/javascript,${encodeURIComponent(preload)}`,
    ]);
    expect({ code, stdout, stderr }).toEqual({
      code: 2,
      stdout: "",
      stderr:
        'npm start: --device has "gpu", expected the packages for it, which are not here: ' +
        "npm ci --prefix test/gpu (no webgpu here)\n",
    });
    expect(existsSync(out)).toBe(false);
  });

  test("--help exits with 0", async () => {
    const { code, stdout } = await start(["--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain("usage: npm start -- [options]");
  });
});
