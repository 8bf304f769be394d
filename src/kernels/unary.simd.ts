/** Functions of one tensor as WebAssembly; but for exp and log, the same bits as the loops. */
import { f32x4 } from "../device/assembler.ts";
import { expLanes, logLanes } from "./exp.simd.ts";
import { laneForm } from "./lanes.simd.ts";

export const forms = {
  sqrt: laneForm("sqrt", 1, 0.4, (_, x) => f32x4.sqrt(x.get)),
  exp: laneForm("exp", 1, 0.9, (f, x) => expLanes(f, x.get)),
  log: laneForm("log", 1, 1.7, (f, x) => logLanes(f, x.get)),
};
