/** Inputs on which all sides choose the same experts. */
import type { Task } from "./cases.ts";
import { type Inputs, inputsOf } from "./data.ts";
import { choose } from "./reference.ts";

/** How near to each other two choices of a router may be. */
const MARGIN = 1e-5;

/** Inputs for which no rounding can send a token elsewhere. */
export function decidedInputs(task: Task): Inputs {
  for (let seed = 1; ; seed++) {
    const inputs = inputsOf(task, seed);
    if (task.kind !== "moe" || choose(task, inputs).margin > MARGIN) return inputs;
  }
}
