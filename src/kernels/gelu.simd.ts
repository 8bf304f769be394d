/**
 * gelu, Φ and gelu by tanh as WebAssembly, and their backwards dx = g · f′, each in one pass.
 *
 *   Φ(−a) = e^(−a²/2) · P(a / (1 + 9/32 · a))        a ≥ 0
 *
 * Left of 0, where 1 + erf would cancel, this keeps its digits. What is left of Φ without the exponential is smooth and
 * falls like 1 / a; in the bent variable, which ends at 32/9, a polynomial of degree 8 follows it.
 *
 * Source   the form is that of Abramowitz & Stegun 1964, 7.1.26, with P about a = 0; P is an own minimax fit
 */
import { type Code, type FunctionBuilder, f32x4, type Local } from "../device/assembler.ts";
import { sigmoidLanes, whereNegative } from "./activations.simd.ts";
import { expLanes, minusAbs, polynomial } from "./exp.simd.ts";
import { type Body, laneForm } from "./lanes.simd.ts";

const one = f32x4.const(1);

const BEND = 9 / 32;
/** P in powers of −u, lowest first: Φ from it is off by 3.6e-9 of its value for a ≤ 5.2; beyond, Φ is below 1e-7. */
const TAIL = [
  0.5, 0.39894235, 0.13779852, 0.023917994, 0.00076155702, -0.00033463785, 0.000004855815, 0.000015793499,
  0.0000016991925,
];
/** From here on the exponential is 0, and Φ(x) is 0 or 1. */
const FAR = 16;

/** Code that sets the bell e^(−x²/2) and Φ(x). */
function distribution(f: FunctionBuilder, x: Local): { set: Code; bell: Local; cdf: Local } {
  const [bell, u, cdf] = f.locals("v128", "v128", "v128");
  return {
    bell,
    cdf,
    set: [
      u.set(f32x4.pmax(minusAbs(x.get), f32x4.const(-FAR))),
      bell.set(expLanes(f, f32x4.mul(f32x4.mul(u.get, u.get), f32x4.const(-0.5)))),
      u.set(f32x4.div(u.get, f32x4.sub(one, f32x4.mul(u.get, f32x4.const(BEND))))),
      u.set(f32x4.mul(polynomial(u, TAIL), bell.get)),
      cdf.set(whereNegative(x, u.get, f32x4.sub(one, u.get))),
    ],
  };
}

const normalCdf: Body = (f, x) => {
  const { set, cdf } = distribution(f, x);
  return [set, cdf.get];
};

const gelu: Body = (f, x) => {
  const { set, cdf } = distribution(f, x);
  return [set, f32x4.mul(cdf.get, x.get)];
};

// gelu′ = Φ + x · φ
const geluBackward: Body = (f, g, x) => {
  const { set, bell, cdf } = distribution(f, x);
  const density = f32x4.mul(bell.get, f32x4.const(1 / Math.sqrt(2 * Math.PI)));
  return [set, f32x4.mul(f32x4.add(f32x4.mul(density, x.get), cdf.get), g.get)];
};

/** v = x · (α + α β x²), and v′ = α + 3 α β x². */
const ALPHA = 2 * Math.sqrt(2 / Math.PI);
const BETA = 0.044715;

// x · σ(v), as silu
const geluTanh: Body = (f, x) => {
  const square = f32x4.mul(x.get, x.get);
  const minusV = f32x4.mul(f32x4.sub(f32x4.const(-ALPHA), f32x4.mul(square, f32x4.const(ALPHA * BETA))), x.get);
  return f32x4.div(x.get, f32x4.add(expLanes(f, minusV), one));
};

// σ(v) + x · σ′(v) · v′. Beyond x² = 128, where σ′(v) is 0, v′ must not become ∞.
const geluTanhBackward: Body = (f, g, x) => {
  const [square, v] = f.locals("v128", "v128");
  const { set, sigmoid, slope } = sigmoidLanes(f, v);
  const rise = f32x4.add(f32x4.mul(square.get, f32x4.const(3 * ALPHA * BETA)), f32x4.const(ALPHA));
  return [
    square.set(f32x4.pmin(f32x4.mul(x.get, x.get), f32x4.const(128))),
    v.set(f32x4.mul(f32x4.add(f32x4.mul(square.get, f32x4.const(ALPHA * BETA)), f32x4.const(ALPHA)), x.get)),
    set,
    f32x4.mul(f32x4.add(f32x4.mul(f32x4.mul(slope.get, rise), x.get), sigmoid.get), g.get),
  ];
};

export const forms = {
  normalCdf: laneForm("normalCdf", 1, 2.3, normalCdf),
  gelu: laneForm("gelu", 1, 2.4, gelu),
  geluBackward: laneForm("geluBackward", 2, 2.6, geluBackward),
  geluTanh: laneForm("geluTanh", 1, 1.4, geluTanh),
  geluTanhBackward: laneForm("geluTanhBackward", 2, 2.4, geluTanhBackward),
};
