/**
 * A training run that is to be killed: saves a checkpoint after every step, resumes from it, prints each loss, and ends with
 * all numbers of the model. The path of its checkpoint is the only argument.
 */
import { existsSync } from "node:fs";
import { AdamW, Generator, Linear } from "../../src/index.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/io/index.ts";
import { newTraining } from "./training.ts";

const [path] = process.argv.slice(2);
const STEPS = 24;
const training = newTraining((params) => new AdamW(params, { lr: 0.05 }));
// Makes the file large enough to be caught half written.
const ballast = new Linear(500, 2000, { rng: new Generator(1) });
const parts = { ...training.parts, ballast };
let first = 0;
if (existsSync(path)) first = Number((await loadCheckpoint(path, parts)).step);
for (let step = first; step < STEPS; step++) {
  console.log(`${step} ${training.step(step)}`);
  await saveCheckpoint(path, { ...parts, step: step + 1 });
}
console.log(`end ${training.numbers().join()}`);
