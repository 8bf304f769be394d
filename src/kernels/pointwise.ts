/**
 * What elementwise functions of one tensor are made of: a kernel from a function and its loop, an op from a kernel and its
 * vjp, and the same for the backward of an activation.
 *
 *   y[i] = f(x[i])        dx[i] = g[i] · f′, which is one pass over memory as a kernel, and several when written with ops
 *
 * Each loop is written out: one shared loop that takes f as an argument costs five times as much once V8 has seen a
 * handful of different f.
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { Flat, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import type { SimdForm } from "../device/simd.ts";
import { checkDtype, checkTensor } from "../errors.ts";
import type { Tensor } from "../tensor.ts";

export type Unary = OpFn<[x: Tensor]>;
/** The backward of an op: g and z → dx, where z is what the derivative is read off, the x or the y of the op. */
export type Backward = OpFn<[g: Tensor, z: Tensor]>;

type Loop = (y: Flat, x: Flat) => void;
type BackwardLoop = (dx: Flat, g: Flat, z: Flat) => void;

/** `integers`: a loop of its own for int32, where float64 arithmetic would not be exact. */
export function unaryKernel(
  name: string,
  f: (x: number) => number,
  loop: Loop,
  { simd, integers }: { simd?: SimdForm<object>; integers?: Loop } = {},
): Kernel {
  const reference: Loop = (y, x) => {
    for (let i = 0; i < y.length; i++) y[i] = f(x[i]);
  };
  const pick = (out: Flat, floats: Loop): Loop => (integers && out instanceof Int32Array ? integers : floats);
  return {
    name,
    reference: (out, [x]) => pick(out, reference)(out, x),
    loops: (out, [x]) => pick(out, loop)(out, x),
    ...(simd && { simd }),
  };
}

/** An op from its kernel and its vjp: g, x and y → dx. `integers`: whether int32 is allowed too. */
export function unary(
  kernel: Kernel,
  vjp: (g: Tensor, x: Tensor, y: Tensor) => Tensor,
  { integers = false }: { integers?: boolean } = {},
): Unary {
  const dtypes = integers ? ["float32", "float64", "int32"] : ["float32", "float64"];
  return defineOp({
    name: kernel.name,
    inputs: ["x"],
    forward([x]) {
      checkTensor(kernel.name, "x", x);
      checkDtype(kernel.name, "x", x.dtype, dtypes, "convert with to()");
      return run(kernel, [x], {}, x.shape, x.dtype);
    },
    vjp: (g, { inputs: [x], output }) => [() => vjp(g, x, output)],
  });
}

/** The kernel of a backward: dx[i] = f(g[i], z[i]). */
export function backwardKernel(
  name: string,
  f: (g: number, z: number) => number,
  loop: BackwardLoop,
  simd: SimdForm<object>,
): Kernel {
  return {
    name,
    reference: (dx, [g, z]) => {
      for (let i = 0; i < dx.length; i++) dx[i] = f(g[i], z[i]);
    },
    loops: (dx, [g, z]) => loop(dx, g, z),
    simd,
  };
}

/**
 * The op of such a kernel. It is linear in g, so there it is its own vjp; `vjp`: c, g and z → dz, c being the cotangent of
 * dx.
 */
export function backward(kernel: Kernel, z: "x" | "y", vjp: (c: Tensor, g: Tensor, z: Tensor) => Tensor): Backward {
  const op: Backward = defineOp({
    name: kernel.name,
    inputs: ["g", z],
    forward: ([g, z]) => run(kernel, [g, z], {}, z.shape, z.dtype),
    vjp: (c, { inputs: [g, z] }) => [() => op(c, z), () => vjp(c, g, z)],
  });
  return op;
}
