/**
 * The main job: train small language models with different routers on real text, and show what the routers learned.
 *
 *   npm start -- --help
 *
 * Exit code: 0 when all is well, 1 when a model failed, 2 for a command line that cannot be, 130 after Ctrl-C.
 */
import { writeFileSync } from "node:fs";
import { device, useDevice } from "../../src/index.ts";
import { outputOf, runCommand } from "../usage.ts";
import { loadCorpus } from "./data.ts";
import { useGpu } from "./gpu.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import { resultsPage } from "./page.ts";
import { trainAll } from "./pool.ts";
import { duration, grouped, progressLine } from "./progress.ts";
import { type Results, resultsOf } from "./results.ts";
import { resultsText } from "./table.ts";
import type { Job } from "./train.ts";

const INTERRUPTED = 130;

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === "help") {
    process.stdout.write(usage);
    return 0;
  }
  const output = outputOf(options);
  const results = await run(options, output);
  writeFileSync(options.out, resultsPage(results));
  const json = `${JSON.stringify(results, null, 1)}\n`;
  if (options.json === "-") process.stdout.write(json);
  else if (options.json !== null) writeFileSync(options.json, json);
  output.write(`\n${resultsText(results)}\n${lastLine(options, results)}\n`);
  return results.interrupted ? INTERRUPTED : 0;
}

async function run(options: Options, output: NodeJS.WriteStream): Promise<Results> {
  const { routers, languages, experts: numExperts, steps, seed, workers } = options;
  const { name, why } = options.device === "gpu" ? await useGpu() : await useDevice(options.device);
  const began = performance.now();
  const corpus = loadCorpus(languages);
  const characters = corpus.languages.reduce((n, { train }) => n + train.length, 0);
  const jobs = routers.map((variant): Job => ({ variant, languages, numExperts, steps, seed, device: options.device }));
  const line = progressLine(output, jobs);
  const stop = new AbortController();
  process.on("SIGINT", () => {
    // Who presses it twice does not want to wait for the step and the evaluation.
    if (stop.signal.aborted) process.exit(INTERRUPTED);
    stop.abort();
    line.say("stopping, to look at what ran (Ctrl-C again: leave at once)");
  });
  output.write(
    `${routers.length} ${routers.length === 1 ? "model" : "models"} of ${grouped(steps)} steps, on ${grouped(characters)} ` +
      `characters of ${languages.length === 1 ? languages[0] : `${languages.length} languages`}; seed ${seed}\n` +
      `on ${name}: ${why}\n`,
  );
  try {
    const models = await trainAll(jobs, {
      workers,
      onProgress: line.update,
      onDone: line.done,
      signal: stop.signal,
    });
    const seconds = (performance.now() - began) / 1000;
    return resultsOf(options, corpus, models, { seconds, interrupted: stop.signal.aborted });
  } finally {
    line.clear();
  }
}

function lastLine({ out, routers }: Options, { interrupted, models, seconds }: Results): string {
  if (!interrupted) return `${out} shows what each expert took; all in all ${duration(seconds)}.`;
  const steps = models.reduce((n, { losses }) => n + losses.length, 0);
  return `Interrupted after ${grouped(steps)} steps of ${models.length} of ${routers.length} models; ${out} shows what ran.`;
}

await runCommand("npm start", main);
// Dawn keeps a process alive for as long as it has a device.
if (device().name === "gpu") process.stdout.write("", () => process.exit());
