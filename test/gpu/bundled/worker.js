import { run } from "./run.js";

addEventListener("message", async ({ data: { route, steps } }) => {
  try {
    postMessage({ result: await run(route, steps) });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
