/** Activations by name. */
import { show, typeError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";

const functions = {
  linear: (x: Tensor) => x,
  cubic: (x: Tensor) => x.square().mul(x),
  relu: (x: Tensor) => x.relu(),
  gelu: (x: Tensor) => x.gelu(),
  silu: (x: Tensor) => x.silu(),
};

/** "linear" and "cubic" are those of Chen et al. 2022: y = z and y = z³. */
export type Activation = keyof typeof functions;

export function checkActivation(op: string, activation: Activation): Activation {
  if (!Object.hasOwn(functions, activation)) {
    throw typeError(op, "activation", show(activation), Object.keys(functions).map(show).join(", "));
  }
  return activation;
}

export const activate = (x: Tensor, activation: Activation): Tensor => functions[activation](x);
