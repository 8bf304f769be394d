/**
 * One process of the bench: makes a problem with its exact results, times one side of it, or measures the machine's roof.
 * The order is the only argument, the answer the last line of output; an error is one line and exit code 1.
 */
import { cases, type StepTask, workOf } from "./cases.ts";
import type { Order } from "./children.ts";
import { loadProblem, type Problem, saveProblem } from "./data.ts";
import { decidedInputs } from "./decided.ts";
import { expectedOf } from "./reference.ts";
import { measureRoof } from "./roof.ts";
import type { SideModule } from "./sides/side.ts";
import { timeJob } from "./timing.ts";

async function answer(order: Order): Promise<object> {
  if (order.do === "roof") return measureRoof(order.seconds, order.clock);
  if (order.do === "problem") return makeProblem(order.name, order.folder);
  const { task, inputs, expected } = loadProblem(order.folder);
  const module = (await import(new URL(order.module, import.meta.url).href)) as SideModule;
  const side = await module.open(order);
  return { ...(await timeJob(await side.prepare(task, inputs), expected, order.seconds, order.clock)), how: side.how };
}

async function makeProblem(name: string, folder: string): Promise<object> {
  const found = cases.find((c) => c.name === name);
  if (found === undefined) throw new Error(`there is no case ${JSON.stringify(name)}`);
  const { task } = found;
  const inputs = decidedInputs(task);
  const exact = task.kind === "step" ? await firstLoss(task) : expectedOf(task, inputs);
  const expected = Object.entries(exact).map(([output, data]) => [output, Float32Array.from(data)]);
  saveProblem(folder, { task, inputs, expected: Object.fromEntries(expected) });
  return workOf(task);
}

/** A training step has no closed form: the loops, which the tests hold against the references, say what is right. */
async function firstLoss(task: StepTask): Promise<Problem["expected"]> {
  const { open } = await import("./sides/moegrad.ts");
  const side = await open({ device: "loops", threads: 1 });
  const job = await side.prepare(task, {});
  return (await job.read(await job.call())) as Problem["expected"];
}

try {
  console.log(JSON.stringify(await answer(JSON.parse(process.argv[2]))));
  // Worker threads of a side would keep the process.
  process.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
