import { run } from "./run.js";

globalThis.run = run;

/** The same in a worker of a file, which ends with its answer. */
globalThis.runInWorker = (url, type, route, steps) =>
  new Promise((resolve, reject) => {
    const worker = new Worker(url, { type });
    worker.onerror = ({ message }) => reject(new Error(message || "the worker did not start"));
    worker.onmessage = ({ data: { result, error } }) => {
      worker.terminate();
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
    worker.postMessage({ route, steps });
  });
