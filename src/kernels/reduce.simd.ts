/**
 * Sums along a dim as WebAssembly, in float64: two doubles to a vector.
 *
 * Along the last dim a row has four pairs of running sums, so that the next addition need not wait for the last: the
 * order of the sum depends on n alone. Along another dim there is one running sum for each column,
 * kept in the room of the thread, and the rows are added to them in order, four at a time: the same bits as the loops.
 */
import {
  type Code,
  type Func,
  type FunctionBuilder,
  f32,
  f64,
  f64x2,
  fill,
  fn,
  i32,
  type Local,
  room,
  v128,
} from "../device/assembler.ts";
import type { Call, SimdForm, SimdModule } from "../device/simd.ts";
import { CHUNK, floatsOf } from "./lanes.simd.ts";
import type { Span } from "./reduce.ts";

/**
 * Sums over a row in float64: totals[t] = Σᵢ terms(x₀[i], x₁[i], …)[t], for rows of `bytes` bytes at the addresses given.
 *
 * `terms` gets pairs of doubles as locals. `pairs`, a power of two: how many are under way together; each has running
 * sums of its own.
 */
export function rowSums(
  f: FunctionBuilder,
  rows: readonly Local[],
  bytes: Code,
  pairs: number,
  totals: readonly Local[],
  terms: (...xs: Local[]) => readonly Code[],
): Code {
  const [d, end] = f.locals("i32", "i32");
  const xs = rows.map(() => f.local("v128"));
  const sums = totals.map(() => Array.from({ length: pairs }, () => f.local("v128")));
  const results = terms(...xs);
  const add = (i: number, load: (at: Code, offset?: number) => Code, part: (term: Code) => Code = (x) => x): Code => [
    xs.map((x, j) => x.set(f64x2.fromF32(load(i32.add(rows[j].get, d.get), 8 * i)))),
    sums.map((sum, t) => sum[i].set(f64x2.add(sum[i].get, part(results[t])))),
  ];
  const tree = (list: readonly Code[]): Code =>
    list.length === 1 ? list[0] : tree(list.flatMap((x, i) => (i % 2 === 0 ? [f64x2.add(x, list[i + 1])] : [])));
  return [
    sums.flat().map((sum) => sum.set(v128.zero)),
    d.set(i32.const(0)),
    end.set(i32.and(bytes, i32.const(-8 * pairs))),
    f.while(
      d,
      end.get,
      8 * pairs,
      sums[0].map((_, i) => add(i, v128.loadPair)),
    ),
    end.set(i32.and(bytes, i32.const(-8))),
    f.while(d, end.get, 8, add(0, v128.loadPair)),
    // Of a last number without a partner, the term of the empty place is not one of the sum.
    f.when(
      i32.lt(d.get, bytes),
      add(0, v128.loadFirst, (term) => v128.shuffle(term, v128.zero, [0, 1, 4, 5])),
    ),
    sums.map((sum, t) => [
      sum[0].set(tree(sum.map((s) => s.get))),
      totals[t].set(f64.add(f64x2.lane(sum[0].get, 0), f64x2.lane(sum[0].get, 1))),
    ]),
  ];
}

/** y[r] = Σᵢ x[r, i] for rows of n floats. */
const sumRows: Func = fn("sumRows", ["i32", "i32", "i32", "i32"], (f, [x, y, rows, n]) => {
  const stop = f.local("i32");
  const total = f.local("f64");
  const bytes = i32.shl(n.get, i32.const(2));
  return [
    stop.set(i32.add(y.get, i32.shl(rows.get, i32.const(2)))),
    f.while(y, stop.get, 4, [
      rowSums(f, [x], bytes, 4, [total], (v) => [v.get]),
      f32.store(y.get, f32.fromF64(total.get)),
      x.add([bytes]),
    ]),
  ];
});

/** y[o, c] = Σₖ x[o, k, c] for `columns` columns of n rows that are `row` bytes apart. */
const sumColumns: Func = fn(
  "sumColumns",
  ["i32", "i32", "i32", "i32", "i32", "i32"],
  (f, [x, y, outer, n, row, columns]) => {
    const [o, k, at, end] = f.locals("i32", "i32", "i32", "i32");
    const rows = f.locals("i32", "i32", "i32", "i32");
    const [low, high] = f.locals("v128", "v128");
    const doubles = i32.shl(columns.get, i32.const(3));
    const whole = i32.add(room, i32.and(doubles, i32.const(-32)));
    const all = i32.add(room, doubles);
    /** Adds the next rows to the sums, in order. */
    const add = (next: readonly Local[]) => [
      next.map((p, i) => p.set(i === 0 ? x.get : i32.add(next[i - 1].get, row.get))),
      x.set(i32.add(next[next.length - 1].get, row.get)),
      at.set(room),
      end.set(whole),
      f.while(at, end.get, 32, [
        low.set(v128.load(at.get)),
        high.set(v128.load(at.get, 16)),
        next.map((p) => [
          low.set(f64x2.add(low.get, f64x2.fromF32(v128.loadPair(p.get)))),
          high.set(f64x2.add(high.get, f64x2.fromF32(v128.loadPair(p.get, 8)))),
          p.add(16),
        ]),
        v128.store(at.get, low.get),
        v128.store(at.get, high.get, 16),
      ]),
      end.set(all),
      f.while(
        at,
        end.get,
        8,
        next.map((p) => [f64.store(at.get, f64.add(f64.load(at.get), f64.fromF32(f32.load(p.get)))), p.add(4)]),
      ),
    ];
    return [
      o.set(i32.const(0)),
      f.while(o, outer.get, 1, [
        fill(room, i32.const(0), doubles),
        k.set(i32.const(0)),
        f.while(k, i32.and(n.get, i32.const(-4)), 4, add(rows)),
        f.while(k, n.get, 1, add(rows.slice(0, 1))),
        at.set(room),
        end.set(whole),
        f.while(at, end.get, 32, [v128.store(y.get, floatsOf(v128.load(at.get), v128.load(at.get, 16))), y.add(16)]),
        end.set(all),
        f.while(at, end.get, 8, [f32.store(y.get, f32.fromF64(f64.load(at.get))), y.add(4)]),
      ]),
    ];
  },
);

/** The functions behind sumCalls. */
export const sumModule: SimdModule = { functions: () => [sumRows, sumColumns] };

/** Columns of one call: enough of each row to be read in one go, few enough to keep their sums close by. */
const MIN_COLUMNS = 64;
const MAX_COLUMNS = 1024;

/** Asks for out[o, i] = Σₖ x[o, k, i], from one address to another, in calls that threads can share. */
export function sumCalls(call: Call, out: number, x: number, { outer, n, inner }: Span): void {
  if (inner === 1) {
    const step = Math.max(1, Math.floor(CHUNK / Math.max(1, n)));
    for (let o = 0; o < outer; o += step) {
      call("sumRows", x + 4 * o * n, out + 4 * o, Math.min(step, outer - o), n);
    }
    return;
  }
  const [size, row] = [n * inner, 4 * inner];
  const columns = Math.min(MAX_COLUMNS, Math.max(MIN_COLUMNS, 16 * Math.floor(CHUNK / Math.max(1, n) / 16)));
  const together = inner <= columns ? Math.max(1, Math.floor(CHUNK / Math.max(1, size))) : 1;
  for (let o = 0; o < outer; o += together) {
    for (let i = 0; i < inner; i += columns) {
      const [from, to] = [x + 4 * (o * size + i), out + 4 * (o * inner + i)];
      call("sumColumns", from, to, Math.min(together, outer - o), n, row, Math.min(columns, inner - i));
    }
  }
}

/** About what a sum takes, in nanoseconds. */
export const sumCost = ({ outer, n, inner }: Span): number => outer * (inner * (0.25 * n + 0.5) + 3);

/** The form of the sum. */
export const sumForm: SimdForm<Span> = {
  module: sumModule,
  cost: sumCost,
  run: (call, out, [x], span) => sumCalls(call, out, x.at, span),
};
