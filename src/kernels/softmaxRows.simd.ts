/**
 * Rows and their exponentials, as the softmax family and the cross entropy read them: Σ e^(x − m), m = max x, and its
 * logarithm. Exponentials are made four at a time in float32; sums and logarithms are float64.
 *
 * The last numbers of a row whose length is no multiple of four are one more vector, with −∞ in the places behind them:
 * no maximum changes for that, and e^−∞ = 0 adds nothing to a sum.
 */
import {
  type Code,
  type FunctionBuilder,
  f32x4,
  f64,
  f64x2,
  i32,
  i32x4,
  type Local,
  room,
  v128,
} from "../device/assembler.ts";
import type { Call } from "../device/simd.ts";
import { expLanes } from "./exp.simd.ts";
import { CHUNK, highDoubles, lowDoubles } from "./lanes.simd.ts";

const NEGATIVE = f32x4.const(-Infinity);

/** A row in the memory, and the local that holds four of its numbers. */
export interface RowInput {
  readonly at: Local;
  readonly four: Local;
}

/**
 * Walks rows of `bytes` bytes, four numbers at a time, and the last one to three with −∞ behind them. `body` sees the
 * numbers in the locals of the inputs; what it leaves in `result` is stored.
 */
export function eachFour(
  f: FunctionBuilder,
  bytes: Local,
  inputs: readonly RowInput[],
  body: Code,
  output?: { readonly at: Local; readonly result: Local },
): Code {
  const [d, end, left] = f.locals("i32", "i32", "i32");
  const here = (at: Local): Code => i32.add(at.get, d.get);
  const tail = (at: Code, count: number): Code => {
    if (count === 1) return v128.shuffle(v128.loadFirst(at), NEGATIVE, [0, 4, 4, 4]);
    if (count === 2) return v128.shuffle(v128.loadPair(at), NEGATIVE, [0, 1, 4, 4]);
    return v128.shuffle(v128.shuffle(v128.loadPair(at), v128.loadFirst(at, 8), [0, 1, 4, 4]), NEGATIVE, [0, 1, 2, 4]);
  };
  const load = (count: number): Code => inputs.map(({ at, four }) => four.set(tail(here(at), count)));
  const isLeft = (count: number): Code => i32.eq(left.get, i32.const(4 * count));
  const store = (): Code => {
    if (output === undefined) return [];
    const { at, result } = output;
    const third = v128.shuffle(result.get, result.get, [2, 2, 2, 2]);
    return f.when(isLeft(1), v128.storeFirst(here(at), result.get), [
      v128.storePair(here(at), result.get),
      f.when(isLeft(3), v128.storeFirst(here(at), third, 8)),
    ]);
  };
  return [
    d.set(i32.const(0)),
    end.set(i32.and(bytes.get, i32.const(-16))),
    f.while(d, end.get, 16, [
      inputs.map(({ at, four }) => four.set(v128.load(here(at)))),
      body,
      output === undefined ? [] : v128.store(here(output.at), output.result.get),
    ]),
    f.when(left.tee(i32.and(bytes.get, i32.const(12))), [
      f.when(isLeft(1), load(1), f.when(isLeft(2), load(2), load(3))),
      body,
      store(),
    ]),
  ];
}

/** Sets m, all four lanes, to the largest number of a row. A NaN is passed over, or, in the slower strict form, is m. */
export function rowMax(f: FunctionBuilder, bytes: Local, row: RowInput, m: Local, strict = false): Code {
  const larger = strict ? f32x4.max : f32x4.pmax;
  const halves = v128.shuffle(m.get, m.get, [2, 3, 0, 1]);
  const pairs = v128.shuffle(m.get, m.get, [1, 0, 3, 2]);
  return [
    m.set(NEGATIVE),
    eachFour(f, bytes, [row], m.set(larger(m.get, row.four.get))),
    m.set(larger(m.get, halves)),
    m.set(larger(m.get, pairs)),
  ];
}

/** Sets `total` to Σ e^(x − m), in float64; leaves the terms at `to`, when given. */
export function rowExps(f: FunctionBuilder, bytes: Local, row: RowInput, m: Local, total: Local, to?: Local): Code {
  const [e, low, high] = f.locals("v128", "v128", "v128");
  const body: Code = [
    e.set(expLanes(f, f32x4.sub(row.four.get, m.get))),
    low.set(f64x2.add(low.get, lowDoubles(e.get))),
    high.set(f64x2.add(high.get, highDoubles(e))),
  ];
  return [
    low.set(v128.zero),
    high.set(v128.zero),
    eachFour(f, bytes, [row], body, to && { at: to, result: e }),
    low.set(f64x2.add(low.get, high.get)),
    total.set(f64.add(f64x2.lane(low.get, 0), f64x2.lane(low.get, 1))),
  ];
}

/** High word of the double √½, and where its exponent begins. */
const SQRT_HALF = 0x3fe6a09e;
const EXPONENT_AT = i32.const(20);

const polynomial = (w: Local, [c, ...higher]: readonly number[]): Code =>
  higher.length === 0 ? f64x2.const(c) : f64x2.add(f64x2.mul(polynomial(w, higher), w.get), f64x2.const(c));

/**
 * ln s of two doubles, sums of exponentials with e⁰ among them, so that s ≥ 1; ∞ and NaN stay, and of 0 it is something
 * finite. In float32 a sum near 1 would have lost what its logarithm is made of.
 *
 *   ln s = k · ln 2 + ln z,  s = 2ᵏ · z,  √½ ≤ z < √2
 *   ln z = 2 atanh u = 2u · (1 + u²/3 + u⁴/5 + …),  u = (z − 1) / (z + 1),  u² < 0.0295
 *
 * Six terms leave 5e-11 of ln z, a thousandth of what rounding to float32 does.
 */
function logDoubles(f: FunctionBuilder, s: Local): Code {
  const [k, z, u, w] = f.locals("v128", "v128", "v128", "v128");
  // Doubles are pairs of words, of which the high one, with the exponent, is the second.
  const exponents = v128.shuffle(k.get, k.get, [1, 3, 1, 3]);
  const inPlace = v128.shuffle(i32x4.shl(k.get, EXPONENT_AT), v128.zero, [4, 1, 4, 3]);
  const lnZ = f64x2.mul(
    u.get,
    polynomial(
      w,
      [1, 3, 5, 7, 9, 11].map((n) => 2 / n),
    ),
  );
  return [
    k.set(i32x4.shr(i32x4.sub(s.get, i32x4.const(SQRT_HALF)), EXPONENT_AT)),
    z.set(i32x4.sub(s.get, inPlace)),
    u.set(f64x2.div(f64x2.sub(z.get, f64x2.const(1)), f64x2.add(z.get, f64x2.const(1)))),
    w.set(f64x2.mul(u.get, u.get)),
    f64x2.add(
      f64x2.add(f64x2.mul(f64x2.fromF32(f32x4.fromInt(exponents)), f64x2.const(Math.LN2)), lnZ),
      // Nothing, but of NaN and ∞ themselves.
      f64x2.mul(s.get, f64x2.const(1e-300)),
    ),
  ];
}

/** Where a function that goes through many rows keeps two doubles for each of them: at the room, and so much behind it. */
const SECOND = 8 * CHUNK;

/** The address of what row number r keeps; `second` is behind it. */
export const kept = (r: Local): Code => i32.add(room, i32.shl(r.get, i32.const(3)));
export const secondKept = SECOND;

/**
 * Of all rows, first + ln(second) in place of the first. Two rows at a time, and after the exponentials of all rows: a
 * logarithm is a long chain of instructions, which then overlap.
 */
export function addLogs(f: FunctionBuilder, rows: Local): Code {
  const [at, end] = f.locals("i32", "i32");
  const s = f.local("v128");
  return [
    at.set(room),
    end.set(i32.add(room, i32.shl(rows.get, i32.const(3)))),
    f.while(at, end.get, 16, [
      s.set(v128.load(at.get, SECOND)),
      v128.store(at.get, f64x2.add(v128.load(at.get), logDoubles(f, s))),
    ]),
  ];
}

/**
 * Asks for a function (x₀, x₁, …, y, rows, bytes, …) that goes through rows of n numbers, `bytes` bytes, and gets `numbers`
 * last. Of each array: its address, and how many bytes of it belong to a row.
 */
export function rowCalls(
  call: Call,
  name: string,
  arrays: readonly (readonly [at: number, row: number])[],
  rows: number,
  n: number,
  ...numbers: readonly number[]
): void {
  const step = Math.max(1, Math.floor(CHUNK / Math.max(1, n)));
  for (let r = 0; r < rows; r += step) {
    call(name, ...arrays.map(([at, row]) => at + r * row), Math.min(step, rows - r), 4 * n, ...numbers);
  }
}
