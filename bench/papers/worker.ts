/** A worker thread: runs the trials that it is sent, one after the other. */
import { parentPort, workerData } from "node:worker_threads";
import { papers } from "./papers.ts";

/** What a worker is asked. */
export interface Order {
  readonly task: string;
  readonly params: object;
  readonly seed: number;
}

/** What it answers: how far it is, in the end the record, or why there is none. */
export type Message = { progress: number } | { record: object; seconds: number } | { failed: string };

if (parentPort === null) throw new Error("worker.ts: started as a program, expected as a worker thread of run.ts");
const parent = parentPort;
const say = (message: Message): void => parent.postMessage(message);

const { tasks } = papers.find(({ name }) => name === workerData.paper) ?? { tasks: [] };
/** Progress is told at most this often, in milliseconds. */
const TOLD_EVERY = 100;

async function run({ task: name, params, seed }: Order): Promise<Message> {
  const task = tasks.find((one) => one.name === name);
  if (task === undefined) return { failed: `there is no task ${name} in the paper's list` };
  const began = performance.now();
  let due = 0;
  const progress = (share: number): void => {
    if (performance.now() < due) return;
    due = performance.now() + TOLD_EVERY;
    say({ progress: share });
  };
  try {
    const record = await task.run(params, { seed, progress });
    return { record, seconds: (performance.now() - began) / 1000 };
  } catch (error) {
    return { failed: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

parent.on("message", async (order: Order) => say(await run(order)));
