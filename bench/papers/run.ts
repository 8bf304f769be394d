/**
 * npm run paper: the experiments of a paper, run again.
 *
 *   npm run paper -- --help
 */
import { writeFileSync } from "node:fs";
import { minutes } from "../progress.ts";
import { outputOf, runCommand } from "../usage.ts";
import type { Verdict } from "./experiment.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import { writePage } from "./page.ts";
import { runTrials } from "./pool.ts";
import { progressLine } from "./progress.ts";
import { allTrials, jsonOf, type Results, resultsOf, verdictsOf } from "./results.ts";
import { type Kept, keyOf, load, save } from "./store.ts";

const INTERRUPTED = 130;

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === "help") {
    process.stdout.write(usage);
    return 0;
  }
  const output = outputOf(options);
  const stop = new AbortController();
  process.on("SIGINT", () => {
    if (stop.signal.aborted) process.exit(INTERRUPTED);
    stop.abort();
  });
  const began = performance.now();
  const kept = await collect(options, output, stop.signal);
  const results = resultsOf(options, kept);
  if (options.json === "-") process.stdout.write(jsonOf(results));
  else if (options.json !== null) writeFileSync(options.json, jsonOf(results));
  const written = options.write ? writePage(options.paper, results) : null;
  output.write(`\n${textOf(results)}\n`);
  if (written !== null) output.write(`${written} shows all of it. `);
  output.write(`All in all ${minutes((performance.now() - began) / 1000)}.\n`);
  if (stop.signal.aborted) return INTERRUPTED;
  return verdictsOf(results).some(({ holds }) => holds === false) ? 1 : 0;
}

/** The records of all trials: those that are kept, and those of the trials that are now run. */
async function collect(options: Options, output: NodeJS.WriteStream, signal: AbortSignal): Promise<Map<string, Kept>> {
  const { experiments, plan, records: folder, workers, paper } = options;
  const trials = allTrials(experiments, plan);
  const kept = new Map<string, Kept>();
  for (const trial of trials) {
    const found = load(folder, trial);
    if (found !== undefined) kept.set(keyOf(trial), found);
  }
  const missing = trials.filter((trial) => !kept.has(keyOf(trial)));
  output.write(`${paper.title}: ${trials.length} runs, ${kept.size} of them kept in ${folder}\n`);
  if (options.kept || missing.length === 0) return kept;
  const line = progressLine(output, missing, kept.size);
  signal.addEventListener("abort", () => line.say("stopping; what is finished is kept"));
  try {
    await runTrials(missing, {
      ...{ paper: paper.name, workers: Math.min(workers, missing.length), signal },
      onProgress: line.update,
      onDone(trial, one) {
        save(folder, trial, one);
        kept.set(keyOf(trial), one);
        line.done(trial, minutes(one.seconds));
      },
    });
  } finally {
    line.clear();
  }
  return kept;
}

/** What the terminal shows in the end. */
function textOf({ findings, asked, there }: Results): string {
  const parts = findings.map(({ experiment, report }) =>
    [
      experiment.title,
      ...report.lines.map((line) => `  ${line}`),
      ...report.verdicts.map((v) => `  ${markOf(v)}`),
    ].join("\n"),
  );
  const rest = there < asked ? `\n${there} of ${asked} runs are finished; the same command goes on.` : "";
  return `${parts.join("\n\n")}${rest}`;
}

const markOf = ({ claim, found, holds }: Verdict): string =>
  `${holds === null ? "open" : holds ? "holds" : "DOES NOT HOLD"}: ${claim}: ${found}`;

await runCommand("npm run paper", main);
