/** Powers on the GPU. */
import { binaryGather } from "./elementwise.gpu.ts";
import { TOP } from "./gather.gpu.ts";

/**
 * aᵇ. The driver's pow is for a > 0 alone, and goes by logarithms; whole powers up to 16 are products, which have a sign.
 *
 * Error    whole b up to ±16: |b| · 2⁻²³ of y, where aᵇ and 1 / aᵇ are normal numbers; else |b| · 2⁻²¹ + |log₂ y| · 2⁻²² of y
 */
export const powGather = binaryGather(
  "y",
  undefined,
  `
  let m = Math.abs(a);
  let power = Math.abs(b);
  let whole = Math.floor(power) === power ? 1 : 0;
  let odd = whole > 0.5 && power < 16777216 && power - 2 * Math.floor(power * 0.5) > 0.5 ? 1 : 0;
  let y = 1;
  if (whole > 0.5 && power < 17) {
    for (let k = 0; k < 16; k += 1) {
      if (k < power) {
        y *= a;
      }
    }
    if (b < 0) {
      y = 1 / y;
    }
  } else if (m === 1 && (a > 0 || power > top)) {
    y = 1;
  } else if (!(m <= top || m > top) || !(power <= top || power > top)) {
    y = a + b;
  } else {
    if (m === 0 || m > top || power > top) {
      // 0 or ∞: whether the power grows follows from which side of 1 it starts on.
      y = 0;
      if ((m > 1 && b > 0) || (m < 1 && b < 0)) {
        y = endless;
      }
    } else {
      y = Math.pow(Math.abs(a), b);
    }
    if (a < 0 && odd > 0.5) {
      y = -y;
    }
    if (a < 0 && whole < 0.5 && m <= top) {
      y = none;
    }
  }`,
  { top: TOP, none: Number.NaN, endless: Number.POSITIVE_INFINITY },
);
