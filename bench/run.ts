/**
 * npm run bench: how fast the kernels are, beside the naive loops that say the same.
 *
 * Every kernel is checked against its reference before it is timed. Ratios are of medians taken in one run, side by side;
 * absolute times depend on the machine.
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { cases } from "./cases.ts";

const HELP = `Usage: npm run bench -- [--only TEXT] [--time MS] [--json]

Times the typed-array kernels beside naive triple loops, after checking both.

  --only TEXT   only cases whose name holds TEXT
  --time MS     how long to time each case (default 300)
  --json        print the results as JSON
  --help        this text`;

interface Row {
  name: string;
  ms: number;
  gflops: number;
  naiveMs: number;
  ratio: number;
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: "string", default: "" },
        time: { type: "string", default: "300" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    return values;
  } catch (error) {
    return fail(`bench: ${(error as Error).message}`);
  }
}

async function main(): Promise<void> {
  const { only, time, json, help } = options();
  if (help) return console.log(HELP);
  const ms = Number(time);
  if (!(ms > 0)) fail(`bench: --time has ${time}, expected a number of milliseconds above 0`);
  const chosen = cases().filter((c) => c.name.includes(only));
  if (chosen.length === 0) {
    fail(
      `bench: --only has ${only}, expected part of a name: ${cases()
        .map((c) => c.name)
        .join(", ")}`,
    );
  }
  if (!json) console.log(`Node ${process.version}, ${cpus()[0]?.model ?? "unknown processor"}\n`);
  const rows: Row[] = [];
  for (const c of chosen) {
    c.check();
    const bench = new Bench({ time: ms, warmupTime: ms / 3 });
    bench.add("kernel", c.kernel).add("naive", c.naive);
    await bench.run();
    const [kernelMs, naiveMs] = bench.tasks.map((task) => median(task.name, task.result));
    const row = { name: c.name, ms: kernelMs, gflops: c.flops / kernelMs / 1e6, naiveMs, ratio: naiveMs / kernelMs };
    rows.push(row);
    if (!json) console.log(line(row));
  }
  if (json) console.log(JSON.stringify({ node: process.version, cpu: cpus()[0]?.model, rows }, null, 2));
}

function median(name: string, result: Bench["tasks"][number]["result"]): number {
  if (!("latency" in result)) throw new Error(`bench: ${name} was not timed: ${result.state}`);
  return result.latency.p50;
}

const line = ({ name, ms, gflops, naiveMs, ratio }: Row): string =>
  `${name.padEnd(44)} ${ms.toFixed(3).padStart(9)} ms ${gflops.toFixed(2).padStart(6)} GFLOP/s   naive ${naiveMs.toFixed(3).padStart(9)} ms   ${ratio.toFixed(1).padStart(5)}× faster`;

await main();
