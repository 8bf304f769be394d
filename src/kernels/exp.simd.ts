/**
 * eˣ and ln x of four floats at a time: the building blocks of every SIMD kernel with an exponential or a logarithm in it.
 *
 *   eˣ = 2ⁿ · eʳ                     n = round(x / ln 2), r = x − n · ln 2, so that |r| ≤ ½ ln 2
 *   ln x = e · ln 2 + ln m           x = 2ᵉ · m, √½ ≤ m < √2
 *   ln m = 2 artanh((m − 1) / (m + 1))
 *
 * Powers of two are made of bits: a float keeps its exponent, plus 127, in the bits from 23 on. eʳ and artanh are
 * polynomials. n · ln 2 is taken away in two parts, the first with so few digits that its products are exact.
 *
 * Source   Cody & Waite 1980, "Software Manual for the Elementary Functions"; the coefficients are own minimax fits
 */
import { type Code, type FunctionBuilder, f32x4, i32, i32x4, type Local, v128 } from "../device/assembler.ts";

/** 1½ · 2²³. Floats of this size are whole numbers: to add it rounds, and leaves the result in the lowest bits. */
const ROUNDER = 12582912;
const EXPONENT_BIAS = 127;
const EXPONENT_AT = i32.const(23);
/** ln 2 = 355/512 − 2.12…e-4. */
const [LN2_HIGH, LN2_LOW] = [0.693359375, -2.1219444e-4];
const ROOT_HALF_BITS = 0x3f3504f3;
const LEAST_NORMAL = 2 ** -126;

/** (eʳ − 1 − r) / r², lowest power first: what it makes of eʳ for |r| ≤ ½ ln 2 is off by 3.2e-9 of it at most. */
const EXP_TAIL = [0.49999994, 0.16666521, 0.04166826, 0.008368669, 0.0013821304];
/** (artanh(s) / s − 1) / s² in powers of s²: artanh for |s| ≤ ⅓ is off by 4.5e-9 of it at most. */
const ARTANH_TAIL = [0.3333321, 0.20010719, 0.14001508, 0.14003442];

/** c₀ + x · (c₁ + x · (c₂ + …)) of four floats. */
export const polynomial = (x: Local, [c, ...higher]: readonly number[]): Code =>
  higher.length === 0 ? f32x4.const(c) : f32x4.add(f32x4.mul(polynomial(x, higher), x.get), f32x4.const(c));

/** −|x|: the sign bit set. */
export const minusAbs = (x: Code): Code => v128.or(x, f32x4.const(-0));

/** x = n · ln 2 + r: code that sets r, and the code of 2ⁿ⁺ˢ for n + s from −126 to 127, of 0 for −127. */
function reduce(f: FunctionBuilder, x: Code, s: number): { r: Local; setR: Code; power: Code } {
  const [n, r, rounded] = f.locals("v128", "v128", "v128");
  const shift = f32x4.const(ROUNDER + EXPONENT_BIAS + s);
  return {
    r,
    setR: [
      r.set(x),
      rounded.set(f32x4.add(f32x4.mul(r.get, f32x4.const(Math.LOG2E)), shift)),
      n.set(f32x4.sub(rounded.get, shift)),
      r.set(f32x4.sub(r.get, f32x4.mul(n.get, f32x4.const(LN2_HIGH)))),
      r.set(f32x4.sub(r.get, f32x4.mul(n.get, f32x4.const(LN2_LOW)))),
    ],
    power: i32x4.shl(rounded.get, EXPONENT_AT),
  };
}

/**
 * eˣ of four floats, any of them: code that leaves the result. x is computed once.
 *
 *   expLanes(f, f32x4.sub(x.get, max.get))        e^(x − max)
 *
 * e⁰ is exactly 1, e^∞ is ∞, e^−∞ is 0, NaN stays. Where rounding says ∞, above 88.72, it is ∞; below −86.99 it is 0.
 *
 * Error    1.2 ulp where eˣ ≥ 1.7e-38; below, where it is 0, 1.7e-38
 */
export function expLanes(f: FunctionBuilder, x: Code): Code {
  // Beyond these bounds the result is ∞ or 0 anyway. In this order of operands NaN passes.
  const within = f32x4.pmax(f32x4.pmin(x, f32x4.const(89)), f32x4.const(-87.336));
  // 2ⁿ⁻¹ · 2eʳ in place of 2ⁿ · eʳ: just below ∞ n is 128, and 2¹²⁸ is no float.
  const { r, setR, power } = reduce(f, within, -1);
  const twice = [1, 1, ...EXP_TAIL].map((c) => 2 * c);
  return [setR, f32x4.mul(polynomial(r, twice), power)];
}

/**
 * eˣ − 1 of four floats ≤ 0, exact to the last digits where x is small too: 2ⁿ · (eʳ − 1) + (2ⁿ − 1). NaN stays.
 *
 * Error    2 ulp
 */
export function expm1Lanes(f: FunctionBuilder, x: Code): Code {
  const power = f.local("v128");
  const reduced = reduce(f, f32x4.pmax(x, f32x4.const(-64)), 0);
  const { r } = reduced;
  return [
    reduced.setR,
    power.set(reduced.power),
    f32x4.add(
      f32x4.mul(f32x4.mul(polynomial(r, [1, ...EXP_TAIL]), r.get), power.get),
      f32x4.sub(power.get, f32x4.const(1)),
    ),
  ];
}

/** 2 artanh(a / b) for |a / b| ≤ ⅓. */
function twiceArtanh(f: FunctionBuilder, a: Code, b: Code): Code {
  const [s, square] = f.locals("v128", "v128");
  return [
    s.set(f32x4.div(a, b)),
    square.set(f32x4.mul(s.get, s.get)),
    s.set(f32x4.add(s.get, s.get)),
    f32x4.add(f32x4.mul(f32x4.mul(polynomial(square, ARTANH_TAIL), square.get), s.get), s.get),
  ];
}

/**
 * ln x of four floats, any of them: −∞ at ±0, NaN below, ∞ at ∞, NaN stays. x is computed once.
 *
 * Error    2 ulp
 */
export function logLanes(f: FunctionBuilder, x: Code): Code {
  const [given, tiny, m, exponent, y] = f.locals("v128", "v128", "v128", "v128", "v128");
  return [
    given.set(x),
    // Floats below 2⁻¹²⁶ keep no exponent: they are made larger first.
    tiny.set(f32x4.lt(given.get, f32x4.const(LEAST_NORMAL))),
    m.set(v128.bitselect(f32x4.mul(given.get, f32x4.const(2 ** 23)), given.get, tiny.get)),
    exponent.set(i32x4.shr(i32x4.sub(m.get, i32x4.const(ROOT_HALF_BITS)), EXPONENT_AT)),
    m.set(f32x4.sub(i32x4.sub(m.get, i32x4.shl(exponent.get, EXPONENT_AT)), f32x4.const(1))),
    exponent.set(f32x4.sub(f32x4.fromInt(exponent.get), v128.and(tiny.get, f32x4.const(23)))),
    y.set(twiceArtanh(f, m.get, f32x4.add(m.get, f32x4.const(2)))),
    y.set(f32x4.add(y.get, f32x4.mul(exponent.get, f32x4.const(LN2_LOW)))),
    y.set(f32x4.add(y.get, f32x4.mul(exponent.get, f32x4.const(LN2_HIGH)))),
    y.set(v128.bitselect(y.get, given.get, f32x4.lt(given.get, f32x4.const(Infinity)))),
    y.set(v128.bitselect(f32x4.const(-Infinity), y.get, f32x4.eq(given.get, v128.zero))),
    // All bits set is a NaN.
    v128.or(y.get, f32x4.lt(given.get, v128.zero)),
  ];
}
