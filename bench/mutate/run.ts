/**
 * npm run mutate: changes the library a little, one place at a time, and reports the changes that no test notices.
 *
 * Stryker does the work. It has a package of its own in this folder, installed on the first run, so that the library's
 * `npm ci` stays small.
 */
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HELP = `Usage: npm run mutate -- [--tests FILES] [--fresh] [file or folder …]

Mutates src/kernels, src/autograd.ts, src/transforms.ts, src/checkpoint.ts, src/routing and src/optim, or what is named, and prints the
mutants that survive the tests. A report to read beside the code is written to .stryker-tmp/.

  --tests FILES  the tests that try, comma-separated patterns (default: of the same name, and the refusals)
  --fresh        try every mutant again, also where neither its code nor its tests have changed
  --help         this text

MOEGRAD_RUNS is the number of cases per property (default 20 here).`;

/** The tests of what is mutated, where they are not of the same name. */
const TESTS: Readonly<Record<string, string>> = {
  "src/autograd.ts": "test/autograd.test.ts,test/grad.test.ts,test/tensor.test.ts,test/laws/gradcheck.test.ts",
  "src/transforms.ts": "test/transforms.test.ts,test/grad.test.ts,test/laws/gradcheck.test.ts",
  "src/checkpoint.ts": "test/checkpoint.test.ts",
};

/** What every file refuses is tested here, too. */
const REFUSALS = "test/refusals.test.ts";

const DEFAULT = [
  "src/kernels",
  "src/autograd.ts",
  "src/transforms.ts",
  "src/checkpoint.ts",
  "src/routing",
  "src/optim",
];

const root = fileURLToPath(new URL("../..", import.meta.url));
const own = fileURLToPath(new URL(".", import.meta.url));

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      tests: { type: "string" },
      fresh: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const targets = (positionals.length > 0 ? positionals : DEFAULT).map((path) => path.replace(/\/$/, ""));
  for (const target of targets) {
    if (!target.startsWith("src/") || !existsSync(`${root}/${target}`)) {
      fail(`target has ${target}, expected a file or folder below src`);
    }
  }
  install();
  for (const target of targets) mutate(target, values.tests ?? testsOf(target), values.fresh);
}

/** The tests of src/a/b.ts are test/a/b.test.ts where there is such a file, and else those of test/a; and the refusals. */
function testsOf(target: string): string {
  const test = target.replace(/^src/, "test");
  const own = test.replace(/\.ts$/, ".test.ts");
  const folder = target.endsWith(".ts") ? dirname(test) : test;
  const tests = TESTS[target] ?? (own !== test && existsSync(`${root}/${own}`) ? own : `${folder}/**/*.test.ts`);
  return `${tests},${REFUSALS}`;
}

/** Installs Stryker where it is missing or another version is asked for. */
function install(): void {
  const installed = `${own}/node_modules/.package-lock.json`;
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(`${own}/package-lock.json`).mtimeMs) return;
  const npm = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: own, stdio: "inherit", shell: true });
  if (npm.status !== 0) fail("npm ci failed in bench/mutate");
}

function mutate(target: string, tests: string, fresh: boolean): void {
  const pattern = statSync(`${root}/${target}`).isDirectory() ? `${target}/**/*.ts` : target;
  console.log(`\n${pattern}, tried by ${tests}`);
  const stryker = `${own}/node_modules/@stryker-mutator/core/bin/stryker.js`;
  const args = [stryker, "run", "bench/mutate/stryker.config.mjs", "--mutate", pattern, ...(fresh ? ["--force"] : [])];
  const env = {
    MOEGRAD_RUNS: "20",
    ...process.env,
    MUTATE_TESTS: tests,
    MUTATE_NAME: target.replace(/\W+/g, "-"),
  };
  const { status, signal } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit", env });
  if (status !== 0) fail(`Stryker ended with ${signal ?? status} on ${target}`);
}

function fail(message: string): never {
  console.error(`mutate: ${message}`);
  process.exit(1);
}

main();
