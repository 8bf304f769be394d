/** The softmax family as WebAssembly, row by row. */
import { type Code, type Func, f32, f32x4, f64, f64x2, fn, i32, type Local, v128 } from "../device/assembler.ts";
import type { SimdForm, SimdModule } from "../device/simd.ts";
import { expLanes } from "./exp.simd.ts";
import { eachColumn, inDoubles } from "./lanes.simd.ts";
import { rowSums } from "./reduce.simd.ts";
import type { Rows, Shares } from "./softmax.ts";
import { addLogs, eachFour, kept, rowCalls, rowExps, rowMax, secondKept } from "./softmaxRows.simd.ts";

const INFINITY = f32x4.const(Infinity);
const isInfinite = (m: Local): Code => f32x4.eq(m.get, INFINITY);

/** y = e^(x − m) / Σ e^(x − m), and with `limit` the edge that Shares speaks of. */
const softmaxFunction = (name: string, limit: boolean): Func =>
  fn(name, ["i32", "i32", "i32", "i32"], (f, [x, y, rows, bytes]) => {
    const [r, total] = f.locals("i32", "f64");
    const [m, scale, four] = f.locals("v128", "v128", "v128");
    const row = { at: x, four };
    return [
      r.set(i32.const(0)),
      f.while(r, rows.get, 1, [
        rowMax(f, bytes, row, m),
        rowExps(f, bytes, row, m, total, y),
        scale.set(f32x4.splat(f32.fromF64(f64.div(f64.const(1), total.get)))),
        // e^(x − ∞) is 0 for finite x and NaN for ∞: what is wanted, unless there is a NaN beside it.
        limit
          ? f.when(f32.eq(f32x4.lane(m.get, 0), f32.const(Infinity)), [
              rowMax(f, bytes, row, m, true),
              scale.set(v128.bitselect(f32x4.const(1), m.get, isInfinite(m))),
            ])
          : [],
        eachFour(f, bytes, [{ at: y, four }], four.set(f32x4.mul(four.get, scale.get)), { at: y, result: four }),
        x.add([bytes.get]),
        y.add([bytes.get]),
      ]),
    ];
  });

/** Keeps m and Σ e^(x − m) of each row, and then m + ln Σ e^(x − m). An infinite m is not taken off when `shifts`. */
function keepLogsumexp(f: Parameters<typeof rowMax>[0], x: Local, rows: Local, bytes: Local, shifts: boolean): Code {
  const [r, total, m, shift, four] = f.locals("i32", "f64", "v128", "v128", "v128");
  const row = { at: x, four };
  return [
    r.set(i32.const(0)),
    f.while(r, rows.get, 1, [
      rowMax(f, bytes, row, m),
      shift.set(shifts ? v128.andnot(m.get, f32x4.eq(f32x4.abs(m.get), INFINITY)) : m.get),
      rowExps(f, bytes, row, shift, total),
      f64.store(kept(r), f64.fromF32(f32x4.lane(m.get, 0))),
      f64.store(kept(r), total.get, secondKept),
      x.add([bytes.get]),
    ]),
    addLogs(f, rows),
    x.set(i32.sub(x.get, i32.mul(rows.get, bytes.get))),
    r.set(i32.const(0)),
  ];
}

const logSoftmax = fn("logSoftmax", ["i32", "i32", "i32", "i32"], (f, [x, y, rows, bytes]) => {
  const [r, lse, four] = f.locals("i32", "v128", "v128");
  return [
    keepLogsumexp(f, x, rows, bytes, false),
    f.while(r, rows.get, 1, [
      lse.set(f64x2.splat(f64.load(kept(r)))),
      eachFour(f, bytes, [{ at: x, four }], four.set(inDoubles([four], (v) => f64x2.sub(v, lse.get))), {
        at: y,
        result: four,
      }),
      x.add([bytes.get]),
      y.add([bytes.get]),
    ]),
  ];
});

const logsumexp = fn("logsumexp", ["i32", "i32", "i32", "i32"], (f, [x, y, rows, bytes]) => {
  const r = f.local("i32");
  return [
    keepLogsumexp(f, x, rows, bytes, true),
    f.while(r, rows.get, 1, [f32.store(y.get, f32.fromF64(f64.load(kept(r)))), y.add(4)]),
  ];
});

/** dx = y · (g − Σ g · y) */
const softmaxBackward = fn("softmaxBackward", ["i32", "i32", "i32", "i32", "i32"], (f, [g, y, dx, rows, bytes]) => {
  const [r, d, total] = f.locals("i32", "i32", "f64");
  const [sum, fourG, fourY] = f.locals("v128", "v128", "v128");
  return [
    r.set(i32.const(0)),
    f.while(r, rows.get, 1, [
      rowSums(f, [g, y], bytes.get, 4, [total], (a, b) => [f64x2.mul(a.get, b.get)]),
      sum.set(f64x2.splat(total.get)),
      eachColumn(f, d, bytes.get, (load, store) => [
        fourG.set(load(i32.add(g.get, d.get))),
        fourY.set(load(i32.add(y.get, d.get))),
        store(
          i32.add(dx.get, d.get),
          inDoubles([fourG, fourY], (a, b) => f64x2.mul(b, f64x2.sub(a, sum.get))),
        ),
      ]),
      [g, y, dx].map((at) => at.add([bytes.get])),
    ]),
  ];
});

/** dx = g − e^y · Σ g */
const logSoftmaxBackward = fn(
  "logSoftmaxBackward",
  ["i32", "i32", "i32", "i32", "i32"],
  (f, [g, y, dx, rows, bytes]) => {
    const [r, total] = f.locals("i32", "f64");
    const [sum, fourG, fourY] = f.locals("v128", "v128", "v128");
    const inputs = [
      { at: g, four: fourG },
      { at: y, four: fourY },
    ];
    const body = [
      fourY.set(expLanes(f, fourY.get)),
      fourG.set(inDoubles([fourG, fourY], (a, p) => f64x2.sub(a, f64x2.mul(p, sum.get)))),
    ];
    return [
      r.set(i32.const(0)),
      f.while(r, rows.get, 1, [
        rowSums(f, [g], bytes.get, 4, [total], (a) => [a.get]),
        sum.set(f64x2.splat(total.get)),
        eachFour(f, bytes, inputs, body, { at: dx, result: fourG }),
        [g, y, dx].map((at) => at.add([bytes.get])),
      ]),
    ];
  },
);

const module: SimdModule = {
  functions: () => [
    softmaxFunction("softmax", false),
    softmaxFunction("softmaxLimit", true),
    logSoftmax,
    logsumexp,
    softmaxBackward,
    logSoftmaxBackward,
  ],
};

/** A form of rows to rows. `name` may depend on the attributes; `ns`: nanoseconds a number, beside those of a row. */
const rowForm = <A extends Rows>(name: (attrs: A) => string, ns: number): SimdForm<A> => ({
  module,
  cost: ({ n }, length) => length * (ns + 8 / n),
  run(call, out, blocks, attrs, length) {
    const row = 4 * attrs.n;
    const arrays = [...blocks.map(({ at }) => at), out].map((at) => [at, row] as const);
    rowCalls(call, name(attrs), arrays, length / attrs.n, attrs.n);
  },
});

export const softmaxForm: SimdForm<Shares> = rowForm(({ limit }) => (limit ? "softmaxLimit" : "softmax"), 1.5);
export const logSoftmaxForm: SimdForm<Rows> = rowForm(() => "logSoftmax", 1.7);
export const softmaxBackwardForm: SimdForm<Rows> = rowForm(() => "softmaxBackward", 0.7);
export const logSoftmaxBackwardForm: SimdForm<Rows> = rowForm(() => "logSoftmaxBackward", 1.5);

export const logsumexpForm: SimdForm<Rows> = {
  module,
  cost: ({ n }, length) => length * (1.3 * n + 12),
  run: (call, out, [x], { n }, length) =>
    rowCalls(
      call,
      "logsumexp",
      [
        [x.at, 4 * n],
        [out, 4],
      ],
      length,
      n,
    ),
};
