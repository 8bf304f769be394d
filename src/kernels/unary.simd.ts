/** Functions of one tensor as WebAssembly; but for exp and log, the same bits as the loops. */
import { f32x4, v128 } from "../device/assembler.ts";
import { expLanes, logLanes } from "./exp.simd.ts";
import { type Body, laneForm } from "./lanes.simd.ts";

/** 1 with the sign of x where |x| > 0; x itself, ±0 or NaN, elsewhere. */
const sign: Body = (_, x) => {
  const signed = v128.or(v128.and(x.get, f32x4.const(-0)), f32x4.const(1));
  return v128.bitselect(signed, x.get, f32x4.gt(f32x4.abs(x.get), v128.zero));
};

export const forms = {
  neg: laneForm("neg", 1, 0.2, (_, x) => f32x4.neg(x.get)),
  abs: laneForm("abs", 1, 0.2, (_, x) => f32x4.abs(x.get)),
  square: laneForm("square", 1, 0.2, (_, x) => f32x4.mul(x.get, x.get)),
  sqrt: laneForm("sqrt", 1, 0.4, (_, x) => f32x4.sqrt(x.get)),
  sign: laneForm("sign", 1, 0.2, sign),
  exp: laneForm("exp", 1, 0.9, (f, x) => expLanes(f, x.get)),
  log: laneForm("log", 1, 1.7, (f, x) => logLanes(f, x.get)),
};
