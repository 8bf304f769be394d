import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Task, Trial } from "../../bench/papers/experiment.ts";
import { commandOf, type Options, parseOptions, UsageError, usage } from "../../bench/papers/options.ts";
import { progressLine } from "../../bench/papers/progress.ts";
import { identityOf, keyOf, load, save } from "../../bench/papers/store.ts";

const folder = mkdtempSync(join(tmpdir(), "moegrad-papers-"));
afterAll(() => rmSync(folder, { recursive: true }));

const parsed = (...args: string[]): Options => parseOptions(["understanding", ...args]) as Options;

describe("the command line", () => {
  test("without options it asks for ten seeds of everything, with --quick for three", () => {
    const { plan, experiments, paper, records } = parsed();
    expect(plan).toEqual({ seeds: 10, steps: null, quick: false });
    expect(experiments).toEqual(paper.experiments);
    expect(records).toBe(".papers");
    expect(parsed("--quick").plan).toEqual({ seeds: 3, steps: null, quick: true });
    expect(parseOptions(["--help"])).toBe("help");
    expect(parseOptions(["understanding", "--help"])).toBe("help");
    for (const name of ["table", "apart", "map", "ablations"]) expect(usage).toContain(name);
  });

  test("what was chosen is in the command that gives the same results", () => {
    const args = ["--only", "map,table", "--seeds", "2", "--steps", "7", "--quick"];
    expect(commandOf(parsed(...args))).toBe(
      "npm run paper -- understanding --only table,map --seeds 2 --steps 7 --quick",
    );
    expect(commandOf(parsed("--quick"))).toBe("npm run paper -- understanding --quick");
    expect(parsed("--only", "map").experiments.map(({ name }) => name)).toEqual(["map"]);
  });

  const file = join(folder, "file");
  test.each([
    [[], /no paper, expected one of understanding/],
    [["other"], /no paper "other", expected one of understanding/],
    [["understanding", "--only", "tables"], /--only has "tables", expected some of table, apart/],
    [["understanding", "--only", ""], /--only has no value/],
    [["understanding", "--seeds", "0"], /--seeds has "0", expected an integer from 1 to 1000/],
    [["understanding", "--seeds", "2.5"], /--seeds has "2.5"/],
    [["understanding", "--steps", "-1"], /--steps has "-1", expected an integer from 1 to 100000/],
    [["understanding", "--workers", "65"], /--workers has "65", expected an integer from 1 to 64/],
    [["understanding", "--speed", "9"], /unknown option --speed, expected --only --seeds/],
    [["understanding", "twice"], /unknown argument "twice"/],
    [["understanding", "--write", "--quick"], /--write has --quick beside it, expected neither/],
    [["understanding", "--records", file], /--records has .*expected a folder/],
    [["understanding", "--json", join(folder, "no", "file")], /there is no folder/],
  ])("%j is refused in one line", (args, reason) => {
    writeFileSync(file, "");
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(reason);
    try {
      parseOptions(args);
    } catch (error) {
      expect((error as Error).message).not.toContain("\n");
    }
  });
});

const task: Task<{ a: number; b: { c: number; d: number } }, { y: number }> = {
  name: "toy",
  version: 1,
  run: ({ a }, { seed }) => ({ y: a + seed }),
};
const trial = { task, label: "toy", params: { a: 1, b: { c: 2, d: 3 } }, seed: 0, work: 1 };
const plain = (one: typeof trial): Trial => one as Trial;

describe("records", () => {
  test("a record is found again by what decides it: not by its label, nor the order of its parameters", () => {
    const records = join(folder, "records");
    expect(load(records, plain(trial))).toBeUndefined();
    save(records, plain(trial), { record: { y: 5 }, seconds: 2 });
    const same = { ...trial, label: "another", work: 7, params: { b: { d: 3, c: 2 }, a: 1 } };
    expect(load(records, plain(same))).toEqual({ record: { y: 5 }, seconds: 2 });
    expect(readdirSync(records)).toEqual([`${keyOf(plain(trial))}.json`]);
  });

  test.each([
    ["seed", { ...trial, seed: 1 }],
    ["parameter", { ...trial, params: { a: 1, b: { c: 2, d: 4 } } }],
    ["version", { ...trial, task: { ...task, version: 2 } }],
    ["task", { ...trial, task: { ...task, name: "toys" } }],
  ])("another %s is another record", (_, other) => {
    expect(identityOf(plain(other))).not.toBe(identityOf(plain(trial)));
    expect(keyOf(plain(other))).not.toBe(keyOf(plain(trial)));
    expect(load(join(folder, "records"), plain(other))).toBeUndefined();
  });

  test("half a file, or that of another trial, is no record", () => {
    const records = join(folder, "half");
    save(records, plain(trial), { record: { y: 5 }, seconds: 2 });
    const path = join(records, `${keyOf(plain(trial))}.json`);
    writeFileSync(path, '{"identity":');
    expect(load(records, plain(trial))).toBeUndefined();
    writeFileSync(path, JSON.stringify({ identity: "other", record: {}, seconds: 1 }));
    expect(load(records, plain(trial))).toBeUndefined();
  });
});

test("the line names what runs, and its time left follows the work that is done", () => {
  const written: string[] = [];
  let now = 0;
  const trials = [
    { ...trial, label: "short", work: 1 },
    { ...trial, label: "long", work: 3, seed: 5 },
  ].map(plain);
  const line = progressLine({ write: (text) => written.push(text), isTTY: false }, trials, 4, () => now);
  line.update(trials[0], 0.5);
  expect(written).toEqual([]);
  now = 10_000;
  line.done(trials[0], "10 s");
  line.update(trials[1], 0);
  expect(written).toEqual(["short, seed 0: 10 s\n", "5/6 runs | 30 s left | long #5\n"]);
});
