/**
 * What a route has to compute rightly before it is taken: a sum, an index, a quotient, e^x, tanh, a product of matrices and
 * top-k among ties, by the very forms that training uses. Nine launches, whose texts are then compiled.
 *
 * The kernels are stated anew, in a line each: a form belongs to a name, and a page that waits for its GPU loads no more.
 */
import { allocate, type Flat, type HostForm, type Kernel } from "../device/kernel.ts";
import { hostValue } from "../device/storage.ts";
import { type Case, call, distance, MOST } from "./case.ts";
import { Queue } from "./queue.ts";
import type { Route } from "./route.ts";

/** Numbers that no symmetry of a wrong index leaves as they are. */
const uneven = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => 2 * Math.sin(7 * i + 1));

/** A kernel by what each of its cells is. */
function kernelOf(name: string, cell: (i: number, inputs: readonly Flat[]) => number): Kernel<object> {
  const loops: HostForm<object> = (out, inputs) => {
    for (let i = 0; i < out.length; i++) out[i] = cell(i, inputs);
  };
  return { name, reference: loops, loops };
}

/** [2, 5, 3] along its middle. */
const sum = kernelOf("sum", (i, [x]) =>
  [0, 1, 2, 3, 4].reduce((s, n) => s + x[Math.floor(i / 3) * 15 + 3 * n + (i % 3)], 0),
);
/** Rows of [2, 3, 5] by an index of 4. */
const select = kernelOf("indexSelect", (i, [x, index]) => {
  return x[Math.floor(i / 20) * 15 + 5 * index[Math.floor(i / 5) % 4] + (i % 5)];
});
const div = kernelOf("div", (i, [a, b]) => a[i] / b[i % 3]);
const exp = kernelOf("exp", (i, [x]) => Math.exp(x[i]));
const tanh = kernelOf("tanh", (i, [x]) => Math.tanh(x[i]));
/** [4, 5] · [5, 8]. */
const matmul = kernelOf("matmul", (i, [a, b]) =>
  [0, 1, 2, 3, 4].reduce((s, k) => s + a[5 * Math.floor(i / 8) + k] * b[8 * k + (i % 8)], 0),
);
/** The four largest of 1 3 3 −2 3 and of five zeros. */
const topk = kernelOf("topk", (i) => [1, 2, 4, 0, 0, 1, 2, 3][i]);

function trials(): Case[] {
  const near = { bound: MOST };
  const cells = { shape: [4, 3], aStrides: [3, 1], bStrides: [0, 1] };
  const index = { op: "indexSelect", outer: 2, n: 3, inner: 5, M: 4 };
  const product = { M: 4, N: 8, K: 5, transposeA: false, transposeB: false, aOfBatch: [0], bOfBatch: [0] };
  const steep = Float32Array.of(-100, -9.5, -1, -0.1, 0, 0.5, 3, 60);
  return [
    call<object>(sum, [uneven(30)], { outer: 2, n: 5, inner: 3 }, 6, "float32", near),
    call<object>(select, [uneven(30), Int32Array.of(2, 0, 2, 1)], index, 40),
    call<object>(div, [uneven(12), Float32Array.of(3, -7, 0.1)], cells, 12, "float32", near),
    call<object>(exp, [uneven(9)], {}, 9, "float32", near),
    call<object>(tanh, [steep], {}, 8, "float32", near),
    call<object>(matmul, [uneven(20), uneven(40)], product, 32, "float32", near),
    call<object>(topk, [Float32Array.of(1, 3, 3, -2, 3, 0, 0, 0, 0, 0)], { op: "topk", n: 5, k: 4 }, 8, "int32"),
  ];
}

async function computed(queue: Queue, { kernel, inputs, attrs, length, dtype }: Case): Promise<Flat> {
  const stored = inputs.map((x) => hostValue(x, [x.length]));
  const value = queue.run(kernel as unknown as Kernel<object>, stored, attrs, [length], dtype);
  if (value === null) throw new Error(`${kernel.name} was not launched`);
  try {
    return await value.storage.read();
  } finally {
    for (const { storage } of [value, ...stored]) storage.free?.();
  }
}

/** Throws, with the numbers that it gave, when a route computes wrongly. */
export async function selfTest(route: Route): Promise<void> {
  const queue = new Queue(route, { route: route.name, adapter: "", software: false, passedOver: [] });
  for (const c of trials()) {
    const expected = allocate(c.dtype, c.length);
    c.kernel.loops(expected, c.inputs, c.attrs as never);
    const actual = await computed(queue, c);
    if (distance(actual, expected, 0) <= c.bound) continue;
    const shown = (x: Flat): string => Array.from(x.slice(0, 8), (v: number) => Number(v.toPrecision(6))).join(", ");
    throw new Error(`it computes ${c.kernel.name} wrongly: [${shown(actual)}] for [${shown(expected)}]`);
  }
}
