/** npm run laws: every law, tried on every router, loss and op of the library, as a table. */
import { parseArgs } from "node:util";
import { checkLoss, checkOp, checkRouter, type LawResult, lawsTable, tensorOf } from "../src/laws/index.ts";
import { losses, ops, routers } from "./lawSubjects.ts";

const HELP = `Usage: npm run laws -- [--runs N] [--seed N]

Tries every law on the library's routers, losses and ops, and prints what was tried.

  --runs N   cases per law (default 100)
  --seed N   where the cases come from (default 1)
  --help     this text

Exits with 1 when a law is broken.`;

function main(): void {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "100" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const [numRuns, seed] = [Number(values.runs), Number(values.seed)];
  if (!(Number.isInteger(numRuns) && numRuns > 0)) fail(`--runs has ${values.runs}, expected an integer of at least 1`);
  if (!Number.isInteger(seed)) fail(`--seed has ${values.seed}, expected an integer`);
  const common = { numRuns, seed, raiseException: false };
  const all: LawResult[] = [];
  const print = (title: string, results: LawResult[]): void => {
    all.push(...results);
    console.log(`\n${title}\n${lawsTable(results)}`);
    for (const result of results) if (!result.ok) console.log(`\n${result.message}`);
  };
  for (const [name, router, options] of routers) print(name, checkRouter(router, { ...common, ...options }));
  for (const [name, loss, options] of losses) print(name, checkLoss(loss, { ...common, ...options }));
  for (const [name, op, linear] of ops) {
    const inputs = tensorOf([3, 4]).map((x) => [x]);
    // A check of every entry by differences costs many forwards: a quarter of the cases.
    print(name, checkOp(op, { inputs, linear, ...common, numRuns: Math.ceil(numRuns / 4) }));
  }
  const broken = all.filter((result) => !result.ok).length;
  const cases = all.reduce((sum, result) => sum + result.runs, 0);
  console.log(`\n${all.length} laws tried on ${cases} cases, ${broken} broken`);
  if (broken > 0) process.exitCode = 1;
}

function fail(message: string): never {
  console.error(`laws: ${message}`);
  process.exit(2);
}

main();
