/**
 * Elementwise arithmetic on two tensors as WebAssembly, row by row of a broadcast.
 *
 * Error    +, −, ·, ÷ and the larger or smaller of two are rounded once, as in the loops: the same bits
 */
import { type Code, type Func, f32x4, fn, i32 } from "../device/assembler.ts";
import type { SimdForm, SimdModule } from "../device/simd.ts";
import type { Broadcast } from "./elementwise.ts";
import { CHUNK, mapLanes } from "./lanes.simd.ts";

/**
 * A function (a, b, y, rows, n, aRow, bRow): for each row y[i] = body(a[i], b[i]), rows of a and b being aRow and bRow
 * bytes apart, and one number for the whole row where it is repeated.
 */
const rowsFunction = (name: string, body: (a: Code, b: Code) => Code, aRepeated: boolean, bRepeated: boolean): Func =>
  fn(name, ["i32", "i32", "i32", "i32", "i32", "i32", "i32"], (f, [a, b, y, rows, n, aRow, bRow]) => {
    const [r, p, q] = f.locals("i32", "i32", "i32");
    const inputs = [
      { at: p, repeated: aRepeated },
      { at: q, repeated: bRepeated },
    ];
    return [
      r.set(i32.const(0)),
      f.while(r, rows.get, 1, [
        p.set(a.get),
        q.set(b.get),
        mapLanes(f, y, n.get, inputs, (x, z) => body(x.get, z.get)),
        a.add([aRow.get]),
        b.add([bRow.get]),
      ]),
    ];
  });

const functionsOf = (name: string, body: (a: Code, b: Code) => Code): Func[] => [
  rowsFunction(`${name}11`, body, false, false),
  rowsFunction(`${name}10`, body, false, true),
  rowsFunction(`${name}01`, body, true, false),
  rowsFunction(`${name}00`, body, true, true),
];

const bodies = {
  add: f32x4.add,
  sub: f32x4.sub,
  mul: f32x4.mul,
  div: f32x4.div,
  maximum: f32x4.max,
  minimum: f32x4.min,
};

const module: SimdModule = {
  functions: () => Object.entries(bodies).flatMap(([name, body]) => functionsOf(name, body)),
};

/** Indices of the dims before `dims`, in order, as offsets in elements. */
function offsets(shape: readonly number[], strides: readonly number[], dims: number): number[] {
  let list = [0];
  for (let d = 0; d < dims; d++) {
    list = list.flatMap((at) => Array.from({ length: shape[d] }, (_, i) => at + i * strides[d]));
  }
  return list;
}

/** The form of a binary kernel. The last two dims of the plan are rows of one call, cut so that threads can share them. */
export const binaryForm = (name: keyof typeof bodies): SimdForm<Broadcast> => ({
  module,
  // A row costs something too: of short rows there are many.
  cost: ({ shape }, length) => 0.3 * length + 4 * (length / (shape[shape.length - 1] ?? 1)),
  run(call, out, [a, b], { shape, aStrides, bStrides }, length) {
    const last = shape.length - 1;
    const n = shape[last] ?? 1;
    const [s, t] = [aStrides[last] ?? 0, bStrides[last] ?? 0];
    const variant = `${name}${s}${t}`;
    if (last <= 0) {
      for (let i = 0; i < length; i += CHUNK) {
        call(variant, a.at + 4 * i * s, b.at + 4 * i * t, out + 4 * i, 1, Math.min(CHUNK, length - i), 0, 0);
      }
      return;
    }
    const rows = shape[last - 1];
    const step = Math.max(1, Math.floor(CHUNK / n));
    const [aRow, bRow] = [4 * aStrides[last - 1], 4 * bStrides[last - 1]];
    const [aStarts, bStarts] = [offsets(shape, aStrides, last - 1), offsets(shape, bStrides, last - 1)];
    for (let o = 0; o < aStarts.length; o++) {
      for (let r = 0; r < rows; r += step) {
        const [p, q] = [a.at + 4 * aStarts[o] + r * aRow, b.at + 4 * bStarts[o] + r * bRow];
        call(variant, p, q, out + 4 * (o * rows + r) * n, Math.min(step, rows - r), n, aRow, bRow);
      }
    }
  },
});
