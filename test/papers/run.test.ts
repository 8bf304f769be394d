import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test, vi } from "vitest";
import { type Options, parseOptions } from "../../bench/papers/options.ts";
import { pageOf } from "../../bench/papers/page.ts";
import { runTrials } from "../../bench/papers/pool.ts";
import { allTrials, resultsOf, verdictsOf } from "../../bench/papers/results.ts";
import { keyOf, load } from "../../bench/papers/store.ts";

// Several processes of several threads: other work on the machine can make seconds many.
vi.setConfig({ testTimeout: 240_000 });

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "moegrad-papers-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Starts the command as npm does, without npm. `watch` is told of all output so far. */
function paper(args: readonly string[], watch = (_child: ChildProcess, _stdout: string): void => {}) {
  const child = spawn(process.execPath, ["--import", "tsx", "bench/papers/run.ts", ...args], { cwd: root });
  const ended = { code: null as number | null, stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    ended.stdout += text;
    watch(child, ended.stdout);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    ended.stderr += text;
  });
  return new Promise<typeof ended>((resolve) => child.on("close", (code) => resolve({ ...ended, code })));
}

const small = ["understanding", "--only", "apart", "--quick", "--seeds", "1", "--steps", "2"];
const recordsIn = (json: string) => JSON.parse(json).records.map(({ seconds, ...rest }: { seconds: number }) => rest);

describe("a small run", () => {
  const [first, second] = [join(folder, "first"), join(folder, "second")];

  test("keeps its records, and does not run them again", async () => {
    const json = join(folder, "first.json");
    const one = await paper([...small, "--records", first, "--json", json]);
    expect(one.stderr).toBe("");
    expect(one.code).toBe(0);
    expect(one.stdout).toMatch(/3 runs, 0 of them kept/);
    expect(one.stdout).toMatch(/How experts come apart/);
    expect(readdirSync(first).every((name) => /^(moe|smoothing)-[0-9a-f]{20}\.json$/.test(name))).toBe(true);

    const two = await paper([...small, "--records", first, "--json"]);
    expect(two.stderr).toMatch(/3 runs, 3 of them kept/);
    expect(recordsIn(two.stdout)).toEqual(recordsIn(readFileSync(json, "utf8")));

    // One is lost, and all are run in another order on another number of threads: the same digits.
    rmSync(join(first, readdirSync(first)[0]));
    const three = await paper([...small, "--records", first, "--workers", "1", "--json"]);
    expect(three.stderr).toMatch(/3 runs, 2 of them kept/);
    expect(recordsIn(three.stdout)).toEqual(recordsIn(two.stdout));
  });

  test("can be interrupted: what is finished is kept, and nothing is half written", async () => {
    let sent = false;
    const args = ["understanding", "--only", "apart", "--quick", "--seeds", "1", "--steps", "100000"];
    const { code, stdout } = await paper([...args, "--records", second, "--workers", "3"], (child, text) => {
      if (sent || !text.includes("smoothing lemma, seed 0")) return;
      sent = true;
      child.kill("SIGINT");
    });
    expect(code).toBe(130);
    expect(stdout).toMatch(/1 of 3 runs are finished; the same command goes on/);
    expect(readdirSync(second)).toHaveLength(1);
  });

  test("a command line that cannot be ends with 2 and one line", async () => {
    const { code, stdout, stderr } = await paper(["understanding", "--seeds", "none"]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toBe('npm run paper: --seeds has "none", expected an integer from 1 to 1000\n');
  });
});

test("a trial that fails is named, with the reason, and ends the others", async () => {
  const task = { name: "unheard of", version: 1, run: () => ({}) };
  const trial = { task, label: "a trial", params: {}, seed: 3, work: 1 };
  const done = vi.fn();
  const options = { paper: "understanding", workers: 1, onProgress() {}, onDone: done };
  const signal = new AbortController().signal;
  await expect(runTrials([trial], { ...options, signal })).rejects.toThrow(
    "a trial, seed 3: there is no task unheard of",
  );
  await runTrials([trial], { ...options, signal: AbortSignal.abort() });
  expect(done).not.toHaveBeenCalled();
});

describe("the page", () => {
  const options = parseOptions(["understanding", "--quick", "--seeds", "1"]) as Options;

  test("says what there is when nothing has been run", () => {
    const results = resultsOf(options, new Map());
    const page = pageOf(options.paper, results);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    for (const { title } of options.experiments) expect(page).toContain(`## ${title}`);
    expect(verdictsOf(results).every(({ holds }) => holds === null)).toBe(true);
    for (const { report } of results.findings) {
      for (const svg of Object.values(report.plots)) expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    }
  });

  test("shows what there is of a run that is not whole", () => {
    const short = parseOptions(small) as Options;
    const records = allTrials(short.experiments, short.plan).flatMap((trial) => {
      const kept = load(join(folder, "first"), trial);
      return kept === undefined ? [] : [[keyOf(trial), kept] as const];
    });
    expect(records.length).toBe(3);
    const results = resultsOf({ ...short, experiments: short.paper.experiments }, new Map(records));
    const page = pageOf(short.paper, results);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    expect(page).toMatch(/3 of \d+ runs are finished/);
    const plots = Object.assign({}, ...results.findings.map(({ report }) => report.plots)) as Record<string, string>;
    for (const [, name] of page.matchAll(/\]\(understanding\/(\S+)\)/g)) {
      if (name in plots) expect(plots[name]).toMatch(/^<svg .*<\/svg>$/s);
    }
    for (const svg of Object.values(plots)) expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    expect(Object.keys(plots)).toContain("apart-errors.svg");
    // A training of another length than the paper's has nothing to say about its claims.
    expect(verdictsOf(results).every(({ holds }) => holds === null)).toBe(true);
  });
});
