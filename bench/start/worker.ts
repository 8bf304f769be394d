/** A worker thread: trains one model, reports its steps, and stops when it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { type Job, type ModelRun, type Progress, train } from "./train.ts";

/** What a worker says: how far it is, and in the end what came of it. */
export type Message = { progress: Progress } | { run: ModelRun };

if (parentPort === null) throw new Error("worker.ts: started as a program, expected as a worker thread of main.ts");
const parent = parentPort;
const say = (message: Message): void => parent.postMessage(message);

let stopped = false;
// Any message means stop; `once` lets the thread end when it is done.
parent.once("message", () => {
  stopped = true;
});

say({
  run: await train(
    workerData as Job,
    (progress) => say({ progress }),
    () => stopped,
  ),
});
parent.close();
