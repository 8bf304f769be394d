/**
 * Rows gathered and added up by integers, as WebAssembly: the functions that dispatch, combine and indexSelect share.
 *
 * Sums are accumulated in float64 and rounded once, those of a row in order of its list: the same bits as the loops'.
 * Inner products keep four partial sums, of every fourth product, and add them at the end.
 */
import {
  type Code,
  copy,
  type Func,
  f32,
  f32x4,
  f64,
  f64x2,
  fill,
  fn,
  i32,
  type Local,
  v128,
} from "../device/assembler.ts";
import type { Call, SimdModule } from "../device/simd.ts";
import { CHUNK, eachColumn, floatsOf, highDoubles, lowDoubles, zero } from "./lanes.simd.ts";

/** Address of entry i of an int32 list, and its value. */
const entry = (list: Local, i: Code): Code => i32.load(i32.add(list.get, i32.shl(i, i32.const(2))));

/** y[s, :] = x[index[s], :] for s from … to − 1. */
const gatherRows: Func = fn(
  "gatherRows",
  ["i32", "i32", "i32", "i32", "i32", "i32"],
  (f, [x, index, y, from, to, bytes]) => {
    const [row, d] = f.locals("i32", "i32");
    return [
      y.add([i32.mul(from.get, bytes.get)]),
      f.while(from, to.get, 1, [
        row.set(i32.add(x.get, i32.mul(entry(index, from.get), bytes.get))),
        eachColumn(f, d, bytes.get, (load, store) => store(i32.add(y.get, d.get), load(i32.add(row.get, d.get)))),
        y.add([bytes.get]),
      ]),
    ];
  },
);

/** y[s, :] = a[s] · x[index[s], :] for s from … to − 1. */
const spreadRows: Func = fn(
  "spreadRows",
  ["i32", "i32", "i32", "i32", "i32", "i32", "i32"],
  (f, [x, a, index, y, from, to, bytes]) => {
    const [row, d, factor] = f.locals("i32", "i32", "v128");
    return [
      y.add([i32.mul(from.get, bytes.get)]),
      f.while(from, to.get, 1, [
        row.set(i32.add(x.get, i32.mul(entry(index, from.get), bytes.get))),
        factor.set(v128.loadSplat(i32.add(a.get, i32.shl(from.get, i32.const(2))))),
        eachColumn(f, d, bytes.get, (load, store) =>
          store(i32.add(y.get, d.get), f32x4.mul(factor.get, load(i32.add(row.get, d.get)))),
        ),
        y.add([bytes.get]),
      ]),
    ];
  },
);

/**
 * y[t, :] = Σ x[i, :], or Σ a[i] · x[i, :], over the entries i < end of t's part of a list, for t from … to − 1.
 */
const sumRows = (name: string, weighted: boolean): Func =>
  fn(
    name,
    ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"],
    (f, [x, a, list, starts, y, from, to, bytes, end]) => {
      const [d, i, last, s, first] = f.locals("i32", "i32", "i32", "i32", "i32");
      const [v, low, high, factor] = f.locals("v128", "v128", "v128", "v128");
      const times = (product: Code): Code => (weighted ? f64x2.mul(factor.get, product) : product);
      const place = (offset: number): Code =>
        i32.add(list.get, i32.shl(entry(starts, i32.add(from.get, i32.const(offset))), i32.const(2)));
      return [
        y.add([i32.mul(from.get, bytes.get)]),
        f.while(from, to.get, 1, [
          first.set(place(0)),
          last.set(place(1)),
          eachColumn(f, d, bytes.get, (load, store) => [
            low.set(v128.zero),
            high.set(v128.zero),
            i.set(first.get),
            f.while(i, last.get, 4, [
              s.set(i32.load(i.get)),
              f.when(i32.lt(s.get, end.get), [
                v.set(load(i32.add(i32.add(x.get, i32.mul(s.get, bytes.get)), d.get))),
                weighted
                  ? factor.set(f64x2.splat(f64.fromF32(f32.load(i32.add(a.get, i32.shl(s.get, i32.const(2)))))))
                  : [],
                low.set(f64x2.add(low.get, times(lowDoubles(v.get)))),
                high.set(f64x2.add(high.get, times(highDoubles(v)))),
              ]),
            ]),
            store(i32.add(y.get, d.get), floatsOf(low.get, high.get)),
          ]),
          y.add([bytes.get]),
        ]),
      ];
    },
  );

/** y[s] = Σ_d x[index[s], d] · h[s, d] for s from … to − 1. */
const dotRows: Func = fn(
  "dotRows",
  ["i32", "i32", "i32", "i32", "i32", "i32", "i32"],
  (f, [x, h, index, y, from, to, bytes]) => {
    const [row, d] = f.locals("i32", "i32");
    const [p, q, low, high] = f.locals("v128", "v128", "v128", "v128");
    const at = (base: Local): Code => i32.add(base.get, d.get);
    return [
      h.add([i32.mul(from.get, bytes.get)]),
      f.while(from, to.get, 1, [
        row.set(i32.add(x.get, i32.mul(entry(index, from.get), bytes.get))),
        low.set(v128.zero),
        high.set(v128.zero),
        eachColumn(f, d, bytes.get, (load) => [
          p.set(load(at(row))),
          q.set(load(at(h))),
          low.set(f64x2.add(low.get, f64x2.mul(lowDoubles(p.get), lowDoubles(q.get)))),
          high.set(f64x2.add(high.get, f64x2.mul(highDoubles(p), highDoubles(q)))),
        ]),
        low.set(f64x2.add(low.get, high.get)),
        f32.store(
          i32.add(y.get, i32.shl(from.get, i32.const(2))),
          f32.fromF64(f64.add(f64x2.lane(low.get, 0), f64x2.lane(low.get, 1))),
        ),
        h.add([bytes.get]),
      ]),
    ];
  },
);

/** y[k, :] = base[k, :] + Σ x[m, :] over the m < M with index[m] = k, in order of m, for k from … to − 1; base 0: zeros. */
const addRows: Func = fn(
  "addRows",
  ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"],
  (f, [base, x, index, y, M, from, to, bytes]) => {
    const [k, d, last, row] = f.locals("i32", "i32", "i32", "i32");
    const at = (row: Local): Code => i32.add(row.get, d.get);
    const part = i32.mul(i32.sub(to.get, from.get), bytes.get);
    const start = i32.mul(from.get, bytes.get);
    return [
      row.set(i32.add(y.get, start)),
      f.when(base.get, copy(row.get, i32.add(base.get, start), part), fill(row.get, i32.const(0), part)),
      last.set(i32.add(index.get, i32.shl(M.get, i32.const(2)))),
      f.while(index, last.get, 4, [
        k.set(i32.load(index.get)),
        f.when(i32.and(i32.ge(k.get, from.get), i32.lt(k.get, to.get)), [
          row.set(i32.add(y.get, i32.mul(k.get, bytes.get))),
          eachColumn(f, d, bytes.get, (load, store) => store(at(row), f32x4.add(load(at(row)), load(at(x))))),
        ]),
        x.add([bytes.get]),
      ]),
    ];
  },
);

const functions = [
  gatherRows,
  spreadRows,
  sumRows("sumRows", false),
  sumRows("weightedSumRows", true),
  dotRows,
  addRows,
  zero,
];

export const rowsModule: SimdModule = { functions: () => functions };

/** Asks for a function over rows 0 … count − 1 of n numbers, some at a time: `ask(from, to)`. */
export function rowCalls(count: number, n: number, ask: (from: number, to: number) => void): void {
  const step = Math.max(1, Math.ceil(CHUNK / Math.max(1, n)));
  for (let from = 0; from < count; from += step) ask(from, Math.min(count, from + step));
}

/**
 * Asks for y[k, :] = base[k, :] + Σ x[m, :] over the m with index[m] = k; x [M, n], y and base [N, n], base 0 for zeros.
 * Threads share the rows of y, so that sums keep their order; each looks through the whole index, so there are few parts.
 */
export function addRowsCalls(
  call: Call,
  base: number,
  x: number,
  index: number,
  y: number,
  { M, N, n }: { readonly M: number; readonly N: number; readonly n: number },
): void {
  const PARTS = 4;
  const step = Math.max(Math.ceil(N / PARTS), Math.ceil(CHUNK / n));
  for (let from = 0; from < N; from += step) {
    call("addRows", base, x, index, y, M, from, Math.min(N, from + step), 4 * n);
  }
}
