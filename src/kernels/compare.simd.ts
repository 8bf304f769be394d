/**
 * where and clamp as WebAssembly.
 *
 * Error    none: numbers are chosen, not computed
 */
import { type Code, type Func, f32x4, fn, i32, i32x4, type Local, v128 } from "../device/assembler.ts";
import type { SimdForm, SimdModule } from "../device/simd.ts";
import type { Choice, Range } from "./compare.ts";
import { CHUNK, type LaneInput, laneCalls, mapLanes } from "./lanes.simd.ts";

const moving = (at: Local): LaneInput => ({ at, repeated: false });

const STEPS = [0, 1];
const nameOf = (c: number, a: number, b: number): string => `where${c}${a}${b}`;

/** A function (c, a, b, y, n): y[i] = a[i] where c[i] ≠ 0, else b[i]; an input with step 0 is one number for all of them. */
const whereFunction = (...steps: [c: number, a: number, b: number]): Func =>
  fn(nameOf(...steps), ["i32", "i32", "i32", "i32", "i32"], (f, [c, a, b, y, n]) => {
    const inputs = [c, a, b].map((at, i) => ({ at, repeated: steps[i] === 0 }));
    return mapLanes(f, y, n.get, inputs, (condition, x, z) => {
      // The highest bit of c | −c is set exactly when c is not 0; shifted down it fills the lane.
      const minus = i32x4.sub(v128.zero, condition.get);
      const chosen: Code = i32x4.shr(v128.or(condition.get, minus), i32.const(31));
      return v128.bitselect(x.get, z.get, chosen);
    });
  });

const whereModule: SimdModule = {
  functions: () => STEPS.flatMap((c) => STEPS.flatMap((a) => STEPS.map((b) => whereFunction(c, a, b)))),
};

export const whereForm: SimdForm<Choice> = {
  module: whereModule,
  cost: (_, length) => 0.3 * length,
  run(call, out, [c, a, b], { steps: [s, t, u] }, length) {
    for (let i = 0; i < length; i += CHUNK) {
      const addresses = [c.at + 4 * i * s, a.at + 4 * i * t, b.at + 4 * i * u, out + 4 * i];
      call(nameOf(s, t, u), ...addresses, Math.min(CHUNK, length - i));
    }
  },
};

const clampFunctions: readonly Func[] = [
  // (x, y, n, min, max): y[i] = x[i] < min ? min : x[i] > max ? max : x[i]
  fn("clamp", ["i32", "i32", "i32", "f32", "f32"], (f, [x, y, n, min, max]) => {
    const [low, high] = f.locals("v128", "v128");
    return [
      low.set(f32x4.splat(min.get)),
      high.set(f32x4.splat(max.get)),
      mapLanes(f, y, n.get, [moving(x)], (v) => f32x4.pmin(f32x4.pmax(v.get, low.get), high.get)),
    ];
  }),
  // (g, x, dx, n, min, max): dx[i] = g[i] where min ≤ x[i] ≤ max, else 0
  fn("clampBackward", ["i32", "i32", "i32", "i32", "f32", "f32"], (f, [g, x, dx, n, min, max]) => {
    const [low, high] = f.locals("v128", "v128");
    return [
      low.set(f32x4.splat(min.get)),
      high.set(f32x4.splat(max.get)),
      mapLanes(f, dx, n.get, [moving(g), moving(x)], (c, v) =>
        v128.and(c.get, v128.and(f32x4.ge(v.get, low.get), f32x4.le(v.get, high.get))),
      ),
    ];
  }),
];
const clampModule: SimdModule = { functions: () => clampFunctions };

/** The form of a kernel that one of these functions computes. */
const rangeForm = (name: string): SimdForm<Range> => ({
  module: clampModule,
  cost: (_, length) => 0.2 * length,
  run(call, out, inputs, { min, max }, length) {
    const addresses = inputs.map(({ at }) => at);
    laneCalls(call, name, out, addresses, length, [min, max]);
  },
});

export const clampForm = rangeForm("clamp");
export const clampBackwardForm = rangeForm("clampBackward");
