/** Activations and their backwards as WebAssembly. */
import { type Code, type FunctionBuilder, f32x4, type Local, v128 } from "../device/assembler.ts";
import { expLanes, expm1Lanes, minusAbs } from "./exp.simd.ts";
import { type Body, laneForm } from "./lanes.simd.ts";

const zero = v128.zero;
const one = f32x4.const(1);

/** a where x < 0, else b. */
export const whereNegative = (x: Local, a: Code, b: Code): Code => v128.bitselect(a, b, f32x4.lt(x.get, zero));

// tanh |x| = −u / (u + 2) with u = e^(−2|x|) − 1, and the sign of x: nothing cancels.
const tanh: Body = (f, x) => {
  const u = f.local("v128");
  return [
    u.set(expm1Lanes(f, f32x4.mul(minusAbs(x.get), f32x4.const(2)))),
    v128.or(v128.and(x.get, f32x4.const(-0)), f32x4.div(f32x4.sub(zero, u.get), f32x4.add(u.get, f32x4.const(2)))),
  ];
};

const tanhBackward: Body = (_, g, y) => f32x4.mul(f32x4.sub(one, f32x4.mul(y.get, y.get)), g.get);

// Far on the left e⁻ˣ is ∞, and the quotients are 0.
const sigmoid: Body = (f, x) => f32x4.div(one, f32x4.add(expLanes(f, f32x4.neg(x.get)), one));
const silu: Body = (f, x) => f32x4.div(x.get, f32x4.add(expLanes(f, f32x4.neg(x.get)), one));

const sigmoidBackward: Body = (_, g, y) => f32x4.mul(f32x4.mul(f32x4.sub(one, y.get), y.get), g.get);

/**
 * Code that sets σ(x) and σ′(x), from e^(−|x|), so that nothing cancels and nothing is ∞:
 *
 *   s = 1 / (1 + e^(−|x|)), t = e^(−|x|) · s        σ(x) = t where x < 0, else s; σ′(x) = t · (1 − t)
 */
export function sigmoidLanes(f: FunctionBuilder, x: Local): { set: Code; sigmoid: Local; slope: Local } {
  const [s, t] = f.locals("v128", "v128");
  return {
    sigmoid: s,
    slope: t,
    set: [
      t.set(expLanes(f, minusAbs(x.get))),
      s.set(f32x4.div(one, f32x4.add(t.get, one))),
      t.set(f32x4.mul(t.get, s.get)),
      s.set(whereNegative(x, t.get, s.get)),
      t.set(f32x4.mul(t.get, f32x4.sub(one, t.get))),
    ],
  };
}

const siluBackward: Body = (f, g, x) => {
  const { set, sigmoid, slope } = sigmoidLanes(f, x);
  return [set, f32x4.mul(f32x4.add(f32x4.mul(slope.get, x.get), sigmoid.get), g.get)];
};

export const forms = {
  sigmoid: laneForm("sigmoid", 1, 1.3, sigmoid),
  sigmoidBackward: laneForm("sigmoidBackward", 2, 0.2, sigmoidBackward),
  tanh: laneForm("tanh", 1, 1.5, tanh),
  tanhBackward: laneForm("tanhBackward", 2, 0.2, tanhBackward),
  relu: laneForm("relu", 1, 0.2, (_, x) => v128.andnot(x.get, f32x4.le(x.get, zero))),
  reluBackward: laneForm("reluBackward", 2, 0.2, (_, g, x) => v128.and(g.get, f32x4.gt(x.get, zero))),
  silu: laneForm("silu", 1, 1.3, silu),
  siluBackward: laneForm("siluBackward", 2, 2, siluBackward),
};
