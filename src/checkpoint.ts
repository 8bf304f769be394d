/** Checkpoints: a part of a model that keeps no graph, and runs again when its gradient is asked for. */
import { type AnyOp, applyOp, pullback, withRecording } from "./autograd.ts";
import { type SharedState, shared } from "./device/state.ts";
import { checkFunction, checkSynchronous, isTensor, show, typeError } from "./errors.ts";
import { trackDraws } from "./random.ts";
import type { Tensor } from "./tensor.ts";
import { aliasOf } from "./transforms.ts";

// biome-ignore lint/suspicious/noExplicitAny: the arguments of a checkpointed function are the caller's.
type Args = readonly any[];

/**
 * A function whose intermediate results are not kept for the backward pass: it runs again when they are needed.
 *
 *   const block = checkpoint((x: Tensor) => layer.forward(x).output);
 *
 * The gradient is the same, also for parameters that fn uses besides its arguments. Random numbers are not drawn again:
 * the second run gets the same ones, so noise and routing are those of the first.
 *
 * Cost     memory of the inputs and the output; one more forward in backward
 * Throws   TypeError when fn is no function, or gives no tensor, or a promise
 * Source   Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"
 */
export function checkpoint<A extends Args>(fn: (...args: A) => Tensor): (...args: A) => Tensor {
  checkFunction("checkpoint", "fn", fn);
  return (...args) => {
    const state = shared();
    const places = args.flatMap((x, i) => (isTensor(x) && x.dtype !== "int32" ? [i] : []));
    const run = (inputs: readonly Tensor[]): Tensor => {
      const filled: unknown[] = [...args];
      for (const [j, i] of places.entries()) filled[i] = inputs[j];
      return fn(...(filled as unknown as A));
    };
    const given = places.map((i) => args[i] as Tensor);
    if (!state.recording) return run(given);
    const { generator } = state;
    const [{ value, outside }, replayDraws] = trackDraws(state, () => runApart(run, given));
    const read = [...given, ...outside];
    if (!read.some((x) => x.requiresGrad)) return value;
    // manualSeed may have put another default generator in its place by then.
    const replay = withGenerator(generator ?? state.generator, replayDraws);
    const op: AnyOp = {
      name: "checkpoint",
      inputs: [],
      foreign: true,
      forward: () => value,
      vjp(g: Tensor, { inputs }: { inputs: readonly Tensor[] }) {
        let cotangents: Tensor[] | null = null;
        const all = (): Tensor[] => {
          cotangents ??= again(run, inputs.slice(0, given.length), outside, g, replay);
          return cotangents;
        };
        return inputs.map((_, i) => () => all()[i]);
      },
    };
    return applyOp(op, read, []);
  };
}

type Replay = <T>(fn: () => T) => T;

/** A replay during which the default generator is the given one. */
const withGenerator =
  (generator: SharedState["generator"], replay: Replay): Replay =>
  (fn) => {
    const state = shared();
    const before = state.generator;
    state.generator = generator;
    try {
      return replay(fn);
    } finally {
      state.generator = before;
    }
  };

/** Runs fn on leaves in place of its inputs, and finds what else of the outside its result depends on. */
function runApart(run: (inputs: readonly Tensor[]) => Tensor, given: readonly Tensor[]) {
  const leaves = given.map((x) => {
    const leaf = x.detach();
    leaf.requiresGrad = x.requiresGrad;
    return leaf;
  });
  const made = new Set<Tensor>();
  const y = withMade(shared(), made, () => checkSynchronous("checkpoint", run(leaves)));
  if (!isTensor(y)) throw typeError("checkpoint", "fn", `${show(y)} as its result`, "a tensor");
  const outside = new Set<Tensor>();
  const seen = new Set<Tensor>();
  const stack = [y];
  for (let x = stack.pop(); x !== undefined; x = stack.pop()) {
    if (seen.has(x) || leaves.includes(x) || !x.requiresGrad) continue;
    seen.add(x);
    if (made.has(x)) for (const input of x.record?.inputs ?? []) stack.push(input);
    else outside.add(x);
  }
  // Not y itself: its graph is what a checkpoint lets go.
  return { value: y.detach(), outside: [...outside] };
}

function withMade<T>(state: SharedState, made: Set<Tensor>, fn: () => T): T {
  const before = state.made;
  state.made = made;
  try {
    return fn();
  } finally {
    state.made = before;
    if (before !== null) for (const x of made) before.add(x);
  }
}

/** The second run, with the random numbers of the first, and the cotangents of inputs and outside tensors. */
function again(
  run: (inputs: readonly Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  outside: readonly Tensor[],
  g: Tensor,
  replay: Replay,
): Tensor[] {
  const record = shared().recording;
  const aliases = inputs.map((x, i) => aliasOf("checkpoint", x, i));
  const y = replay(() => withRecording(true, "checkpoint", () => run(aliases)));
  return pullback(y, g, [...aliases, ...outside], record);
}
