/** Activations by name. */
import { show, typeError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";

const functions = {
  linear: (x: Tensor) => x,
  cubic: (x: Tensor) => x.square().mul(x),
  relu: (x: Tensor) => x.relu(),
  gelu: (x: Tensor) => x.gelu(),
  geluTanh: (x: Tensor) => x.gelu({ approximate: "tanh" }),
  silu: (x: Tensor): Tensor => x.silu(),
  swiglu: (x: Tensor): Tensor => x.silu(),
};

/**
 * "linear" and "cubic" are those of Chen et al. 2022: y = z and y = z³. "geluTanh" is gelu's approximation by tanh, which
 * GPT-2 was trained with. "swiglu" is gated: silu(x·W₁) ⊙ (x·W₃), with a third weight (Shazeer 2020, "GLU Variants Improve
 * Transformer").
 */
export type Activation = keyof typeof functions;

export function checkActivation(op: string, activation: Activation): Activation {
  if (!Object.hasOwn(functions, activation)) {
    throw typeError(op, "activation", show(activation), Object.keys(functions).map(show).join(", "));
  }
  return activation;
}

/** Whether the activation multiplies two maps of its input, and so needs a third weight. */
export const isGated = (activation: Activation): boolean => activation === "swiglu";

/** act(h), or act(h) ⊙ up when the activation is gated. */
export function activate(h: Tensor, activation: Activation, up: Tensor | null = null): Tensor {
  const y = functions[activation](h);
  return up === null ? y : y.mul(up);
}
