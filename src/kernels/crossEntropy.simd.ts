/** The cross entropy and its gradient as WebAssembly, row by row. */
import { type Code, type Func, f32, f32x4, f64, fill, fn, i32, type Local } from "../device/assembler.ts";
import type { SimdForm, SimdModule } from "../device/simd.ts";
import type { LossAttrs } from "./crossEntropy.ts";
import { rowSums } from "./reduce.simd.ts";
import { addLogs, eachFour, kept, rowCalls, rowExps, rowMax, secondKept } from "./softmaxRows.simd.ts";

/** The address of number i of a row. */
const entry = (row: Local, i: Local) => i32.add(row.get, i32.shl(i.get, i32.const(2)));

/**
 * loss = ln Σ e^(x − m) + (1 − ε) · (m − x[target]) + ε · (m − mean(x)): terms of at least 0, of which nothing cancels.
 *
 * Two functions: without smoothing the mean is not asked for, since it may be −∞.
 */
const lossFunction = (name: string, smooth: boolean): Func =>
  fn(
    name,
    ["i32", "i32", "i32", "i32", "i32", "i32", "f64", "f64"],
    (f, [x, target, y, rows, bytes, ignoreIndex, smoothing, C]) => {
      const [r, t] = f.locals("i32", "i32");
      const [total, sum, largest] = f.locals("f64", "f64", "f64");
      const [m, four] = f.locals("v128", "v128");
      const row = { at: x, four };
      const beside = f64.sub(largest.get, f64.fromF32(f32.load(entry(x, t))));
      const smoothed = f64.add(
        f64.mul(f64.sub(f64.const(1), smoothing.get), beside),
        f64.mul(smoothing.get, f64.sub(largest.get, f64.div(sum.get, C.get))),
      );
      const keep = (first: Code, second: Code): Code => [
        f64.store(kept(r), first),
        f64.store(kept(r), second, secondKept),
      ];
      return [
        r.set(i32.const(0)),
        f.while(r, rows.get, 1, [
          f.when(
            i32.eq(t.tee(i32.load(entry(target, r))), ignoreIndex.get),
            // 0 + ln 1
            keep(f64.const(0), f64.const(1)),
            [
              rowMax(f, bytes, row, m),
              largest.set(f64.fromF32(f32x4.lane(m.get, 0))),
              rowExps(f, bytes, row, m, total),
              smooth ? rowSums(f, [x], bytes.get, 4, [sum], (v) => [v.get]) : [],
              keep(smooth ? smoothed : beside, total.get),
            ],
          ),
          x.add([bytes.get]),
        ]),
        addLogs(f, rows),
        r.set(i32.const(0)),
        f.while(r, rows.get, 1, [f32.store(y.get, f32.fromF64(f64.load(kept(r)))), y.add(4)]),
      ];
    },
  );

/** dx[c] = g · (e[c] / Σ e − ε / C), but at the target: g · (e[c] − (1 − ε + ε / C) · Σ e) / Σ e in float64. */
const backward: Func = fn(
  "crossEntropyBackward",
  ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "f64", "f64"],
  (f, [g, x, target, dx, rows, bytes, ignoreIndex, smoothing, C]) => {
    const [r, t] = f.locals("i32", "i32");
    const [total, scale, atTarget, floor] = f.locals("f64", "f64", "f64", "f64");
    const [m, four, scales, floors] = f.locals("v128", "v128", "v128", "v128");
    const share = f64.add(f64.sub(f64.const(1), smoothing.get), floor.get);
    const splat = (v: Code): Code => f32x4.splat(f32.fromF64(v));
    return [
      floor.set(f64.div(smoothing.get, C.get)),
      r.set(i32.const(0)),
      f.while(r, rows.get, 1, [
        f.when(i32.eq(t.tee(i32.load(entry(target, r))), ignoreIndex.get), fill(dx.get, i32.const(0), bytes.get), [
          rowMax(f, bytes, { at: x, four }, m),
          rowExps(f, bytes, { at: x, four }, m, total, dx),
          atTarget.set(f64.sub(f64.fromF32(f32.load(entry(dx, t))), f64.mul(share, total.get))),
          scale.set(f64.div(f64.fromF32(f32.load(g.get)), total.get)),
          scales.set(splat(scale.get)),
          floors.set(splat(f64.mul(f64.fromF32(f32.load(g.get)), floor.get))),
          eachFour(f, bytes, [{ at: dx, four }], four.set(f32x4.sub(f32x4.mul(four.get, scales.get), floors.get)), {
            at: dx,
            result: four,
          }),
          f32.store(entry(dx, t), f32.fromF64(f64.mul(atTarget.get, scale.get))),
        ]),
        g.add(4),
        x.add([bytes.get]),
        dx.add([bytes.get]),
      ]),
    ];
  },
);

const module: SimdModule = {
  functions: () => [lossFunction("crossEntropy", false), lossFunction("crossEntropySmoothed", true), backward],
};

export const crossEntropyForm: SimdForm<LossAttrs> = {
  module,
  cost: ({ C }, length) => length * (1.5 * C + 15),
  run(call, out, [x, target], { C, ignoreIndex, smoothing }, length) {
    const name = smoothing === 0 ? "crossEntropy" : "crossEntropySmoothed";
    const arrays = [
      [x.at, 4 * C],
      [target.at, 4],
      [out, 4],
    ] as const;
    rowCalls(call, name, arrays, length, C, ignoreIndex, smoothing, C);
  },
};

export const crossEntropyBackwardForm: SimdForm<LossAttrs> = {
  module,
  cost: ({ C }, length) => length * (1.5 + 10 / C),
  run(call, out, [g, x, target], { C, ignoreIndex, smoothing }, length) {
    const arrays = [
      [g.at, 4],
      [x.at, 4 * C],
      [target.at, 4],
      [out, 4 * C],
    ] as const;
    rowCalls(call, "crossEntropyBackward", arrays, length / C, C, ignoreIndex, smoothing, C);
  },
};
