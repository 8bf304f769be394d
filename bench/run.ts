/**
 * npm run bench: how fast the library is, beside the machine's own limits and beside other libraries.
 *
 *   npm run bench -- --help
 *
 * Exit code: 0 when all is well, 1 when moegrad failed a check, 2 for a command line that cannot be, 130 after Ctrl-C.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { Children } from "./children.ts";
import { writeGpuPage } from "./gpu/markdown.ts";
import { gpuLast } from "./gpu/table.ts";
import { chosenCases, type Options, parseOptions, usage } from "./options.ts";
import { writePage } from "./page.ts";
import { type Present, presentPeers } from "./peers/install.ts";
import { minutes, progressLine } from "./progress.ts";
import type { Roof } from "./roof.ts";
import type { Settings } from "./sides/side.ts";
import { type Cell, OWN, type Plan, processesOf, type Results, type Row, runSuite } from "./suite.ts";
import { digits, failures, header, line } from "./table.ts";
import { outputOf, runCommand } from "./usage.ts";

const INTERRUPTED = 130;
const NONE: Present = { versions: {}, missing: {}, python: "" };

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === "help") {
    process.stdout.write(usage);
    return 0;
  }
  const children = new Children();
  let interrupted = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      interrupted = true;
      children.stop();
    });
  }
  const output = outputOf(options);
  const began = performance.now();
  const folder = mkdtempSync(join(tmpdir(), "moegrad-bench-"));
  try {
    const { results, write, last } =
      options.device === "gpu"
        ? await runOnGpu(options, folder, children, output)
        : await runOnCpu({ ...options, device: options.device }, folder, children, output);
    if (options.json === "-") process.stdout.write(`${JSON.stringify(results, null, 1)}\n`);
    else if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`);
    if (options.write) write();
    output.write(`\n${last}; all in all ${minutes((performance.now() - began) / 1000)}\n`);
    return results.rows.some(({ sides: { [OWN]: own } }) => own === undefined || "failed" in own) ? 1 : 0;
  } catch (error) {
    if (interrupted) return INTERRUPTED;
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a run found, how it becomes a page, and what the last line says of it. */
interface Ran {
  readonly results: { readonly rows: readonly { readonly sides: Readonly<Record<string, object>> }[] };
  readonly write: () => void;
  readonly last: string;
}

async function runOnCpu(
  options: CpuOptions,
  folder: string,
  children: Children,
  output: NodeJS.WriteStream,
): Promise<Ran> {
  const results = await run(options, folder, children, output);
  return { results, write: () => writePage(results), last: lastWords(results) };
}

/** Loaded when it is asked for: it needs Vite and what drives a browser. */
async function runOnGpu(
  options: Options,
  folder: string,
  children: Children,
  output: NodeJS.WriteStream,
): Promise<Ran> {
  const { benchGpu } = await import("./gpu/run.ts");
  const results = await benchGpu(options, folder, children, output);
  return { results, write: () => writeGpuPage(results), last: gpuLast(results) };
}

type CpuOptions = Options & { readonly device: Settings["device"] };

async function run(
  options: CpuOptions,
  folder: string,
  children: Children,
  output: NodeJS.WriteStream,
): Promise<Results> {
  const say = (text: string): void => void output.write(`${text}\n`);
  const { versions, missing, python } = options.peers ? await presentPeers(children, say) : NONE;
  const { device, threads, quick, clock } = options;
  const peers = Object.keys(versions);
  const cases = chosenCases(options);
  const plan: Plan = { cases, peers, python, quick, folder, clock, settings: { device, threads } };
  const processor = cpus()[0]?.model ?? "unknown processor";
  const before = loadavg()[0];
  const roof = await children.ask<Roof>({ do: "roof", seconds: quick ? 0.4 : 1.5, clock });
  say(`Node ${process.version}, ${processor}, load ${before.toFixed(1)}`);
  if (peers.length > 0) say(`beside ${peers.map((name) => `${name} ${versions[name]}`).join(", ")}`);
  say(`roof of one core: ${digits(roof.gflops)} GFLOP/s, copies ${digits(roof.gbytes)} GB/s (read and written)`);
  for (const reason of new Set(Object.values(missing))) {
    const names = Object.keys(missing).filter((name) => missing[name] === reason);
    say(`without ${names.join(", ")}: ${reason}`);
  }
  say(`\n${header(peers)}`);
  const rows: Row[] = [];
  const progress = progressLine(output, processesOf(plan));
  try {
    for await (const row of runSuite(plan, children, progress.step)) {
      progress.clear();
      rows.push(row);
      say([line(row, roof, peers), ...failures(row)].join("\n"));
    }
  } finally {
    progress.clear();
  }
  return {
    ...{ date: new Date().toISOString().slice(0, 10), node: process.version, processor },
    ...{ load: [before, loadavg()[0]], device: deviceOf(rows), clock, roof, versions, missing, rows },
  };
}

/** The cells of the library itself that hold a time. */
const ownTimes = (rows: readonly Row[]) =>
  rows.map(({ sides }) => sides[OWN]).filter((cell): cell is Exclude<Cell, { failed: string }> => !("failed" in cell));

/** What the library itself said of where it ran. */
const deviceOf = (rows: readonly Row[]): string => [...new Set(ownTimes(rows).map(({ how }) => how))].join("; ");

function lastWords({ rows, device }: Results): string {
  const worst = Math.max(0, ...ownTimes(rows).map(({ error }) => error));
  const off = `results at most ${worst.toExponential(1)} of the largest number from the exact ones`;
  return `moegrad on ${device || "no device"}; ${off}`;
}

await runCommand("npm run bench", main);
