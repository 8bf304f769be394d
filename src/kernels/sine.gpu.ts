/** Sine and cosine on the GPU. */
import type { GpuForm } from "../gpu/form.ts";
import { cellGather } from "./elementwise.gpu.ts";

/** π/2 in parts of 12 digits each: times a whole number of 12 digits they are exact. */
const QUARTERS = [1.57080078125, -4.453584551811218e-6, -8.706138032721356e-10, 6.217248937900877e-14];

/**
 * Declares `sine` and `cosine` of what is left of a when it has been turned back by whole quarters, and `turn`, how many
 * they were. The drivers' own functions are made for one turn, and lose digits beyond. Within ±π/4 the series of Taylor
 * have float32's digits with five and six terms.
 *
 * Error    2e-7 up to |a| = 10⁶, 2e-6 up to 2²³; beyond, where float32 counts in whole numbers, NaN
 * Source   Cody and Waite 1980, "Software Manual for the Elementary Functions", Section 8, for the reduction in parts
 */
const TURNED = `
  let quarters = Math.floor(a * 0.6366197723675814 + 0.5);
  let many = 4096 * Math.floor(quarters * 0.000244140625 + 0.5);
  let few = quarters - many;
  let rest = a - many * part0;
  rest -= few * part0;
  rest -= many * part1;
  rest -= few * part1;
  rest -= many * part2;
  rest -= few * part2;
  rest -= many * part3;
  let z = rest * rest;
  let sine = rest * (1 - z * ${1 / 6} * (1 - z * 0.05 * (1 - z * ${1 / 42} * (1 - z * ${1 / 72}))));
  let cosine = 1 - z * ${1 / 12} * (1 - z * ${1 / 30} * (1 - z * ${1 / 56} * (1 - z * ${1 / 90})));
  cosine = 1 - z * 0.5 * cosine;
  let turn = quarters - 4 * Math.floor(quarters * 0.25);
  let y = none;`;

/** The four values that a function goes through turn by turn. */
const turned = (values: readonly string[]): GpuForm<object> =>
  cellGather("y", {
    numbers: () => ({ none: Number.NaN, ...Object.fromEntries(QUARTERS.map((part, i) => [`part${i}`, part])) }),
    before: `${TURNED}
  if (Math.abs(a) <= 8388608) {
    y = ${values[3]};
    if (turn < 2.5) {
      y = ${values[2]};
    }
    if (turn < 1.5) {
      y = ${values[1]};
    }
    if (turn < 0.5) {
      y = ${values[0]};
    }
  }`,
  });

export const sineForms = {
  sin: turned(["sine", "cosine", "-sine", "-cosine"]),
  cos: turned(["cosine", "-sine", "-cosine", "sine"]),
};
