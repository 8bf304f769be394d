/**
 * gelu, the Gaussian error linear unit, and the error function it stands on.
 *
 *   gelu(x) = x · Φ(x)          Φ(x) = ½ erfc(−x / √2) = ½ (1 + erf(x / √2)), the normal distribution function
 *   gelu′(x) = Φ(x) + x · φ(x)  φ(x) = e^(−x²/2) / √(2π), its density
 *
 * Source   Hendrycks & Gimpel 2016, "Gaussian Error Linear Units"
 */
import { checkDtype, checkOptions, checkTensor, show, typeError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { unary, unaryKernel } from "./unary.ts";

/**
 * The complementary error function to float64 accuracy: 1 minus Kummer's series, whose terms are all of one sign, and
 * beyond 2, where little is left of the 1, a continued fraction:
 *
 *   erfc(x) = 1 − 2/√π · e^(−x²) · Σₙ 2ⁿ x²ⁿ⁺¹ / (1 · 3 · … · (2n + 1))
 *           = e^(−x²)/√π · 1 / (x + ½ / (x + 1 / (x + 3⁄2 / (x + 2 / (x + …)))))
 *
 * Error    ≤ 1e-15; relative to the value ≤ 1e-14 for x ≥ 2
 */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) {
    let term = x;
    let sum = 0;
    for (let n = 1; sum + term !== sum; n++) {
      sum += term;
      term *= (2 * x * x) / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let denominator = x;
  for (let k = 60; k > 0; k--) denominator = x + k / 2 / denominator;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * denominator);
}

const density = (x: number): number => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
const distribution = (x: number): number => 0.5 * erfc(-x / Math.SQRT2);

/**
 * Φ and φ between knots 1/64 apart, as cubics: on each interval the one polynomial that has the function's values and
 * slopes at both ends (Hermite). Filled from `erfc` at the first call, so that the loops need no exponential at all.
 *
 * Error    ≤ 2e-10 (h⁴/384 · max |f⁗|), far below float32's 6e-8
 */
const KNOTS_PER_UNIT = 64;
const REACH = 7; // beyond ±7, Φ differs from 0 or 1, and x · φ from 0, by less than 1e-10
interface Cubics {
  readonly distribution: Float64Array;
  readonly density: Float64Array;
}
let cubics: Cubics | null = null;

function hermite(f: (x: number) => number, slope: (x: number) => number): Float64Array {
  const count = 2 * REACH * KNOTS_PER_UNIT;
  const c = new Float64Array(4 * count);
  const h = 1 / KNOTS_PER_UNIT;
  for (let i = 0; i < count; i++) {
    const a = -REACH + i * h;
    const [y0, y1, s0, s1] = [f(a), f(a + h), h * slope(a), h * slope(a + h)];
    c.set([y0, s0, 3 * (y1 - y0) - 2 * s0 - s1, 2 * (y0 - y1) + s0 + s1], 4 * i);
  }
  return c;
}

function tables(): Cubics {
  cubics ??= {
    distribution: hermite(distribution, density),
    density: hermite(density, (x) => -x * density(x)),
  };
  return cubics;
}

/** Value of the piecewise cubic at x: `below` left of the knots, `above` right of them; NaN stays NaN through u. */
function lookUp(c: Float64Array, x: number, below: number, above: number): number {
  if (x < -REACH) return below;
  if (x >= REACH) return above;
  const t = (x + REACH) * KNOTS_PER_UNIT;
  const i = t | 0;
  const u = t - i;
  const k = 4 * i;
  return c[k] + u * (c[k + 1] + u * (c[k + 2] + u * c[k + 3]));
}

/** Error    float32: one rounding, and 2e-10 · |x| from the cubics */
export const geluKernel = unaryKernel(
  "gelu",
  (x) => x * distribution(x),
  (y, x) => {
    const { distribution: c } = tables();
    for (let i = 0; i < y.length; i++) y[i] = x[i] * lookUp(c, x[i], 0, 1);
  },
);

/**
 * The derivative as a kernel of its own, since it costs as much as gelu.
 *
 * Error    float32: one rounding, and 2e-10 · (1 + |x|) from the cubics
 */
export const geluGradKernel = unaryKernel(
  "geluGrad",
  (x) => distribution(x) + x * density(x),
  (y, x) => {
    const { distribution: cdf, density: pdf } = tables();
    for (let i = 0; i < y.length; i++) y[i] = lookUp(cdf, x[i], 0, 1) + x[i] * lookUp(pdf, x[i], 0, 0);
  },
);

/** φ of x, from x². */
const densityOf = (square: Tensor): Tensor =>
  square
    .mul(-0.5)
    .exp()
    .mul(1 / Math.sqrt(2 * Math.PI));

// gelu″(x) = (2 − x²) · φ(x)
const geluGrad = unary(geluGradKernel, (g, x) => {
  const square = x.square();
  return g.mul(square.neg().add(2)).mul(densityOf(square));
});

const geluExact = unary(geluKernel, (g, x) => g.mul(geluGrad(x)));

/** Error    float32: one rounding, and 2e-10 from the cubics */
export const normalCdfKernel = unaryKernel("normalCdf", distribution, (y, x) => {
  const { distribution: c } = tables();
  for (let i = 0; i < y.length; i++) y[i] = lookUp(c, x[i], 0, 1);
});

/** y = Φ(x): the chance that a standard normal number is at most x. Its derivative is φ(x). */
export const normalCdf = unary(normalCdfKernel, (g, x) => g.mul(densityOf(x.square())));

/**
 * gelu(x) = x · Φ(x), the exact form; with `{ approximate: "tanh" }` the approximation that some models were trained with:
 *
 *   ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))
 *
 * Shapes   x any → the same
 * Error    float32: one rounding, and 2e-10 · |x|
 * Throws   TypeError for int32, or an unknown option
 * Source   Hendrycks & Gimpel 2016
 */
export function gelu(x: Tensor, options: { approximate?: "none" | "tanh" | undefined } = {}): Tensor {
  checkTensor("gelu", "x", x);
  checkOptions("gelu", options, ["approximate"]);
  const { approximate = "none" } = options;
  checkDtype("gelu", "x", x.dtype, ["float32", "float64"], "convert with to()");
  if (approximate === "none") return geluExact(x);
  if (approximate !== "tanh") throw typeError("gelu", "approximate", show(approximate), '"none" or "tanh"');
  const inner = x
    .square()
    .mul(0.044715)
    .add(1)
    .mul(x)
    .mul(Math.sqrt(2 / Math.PI));
  return inner.tanh().add(1).mul(x).mul(0.5);
}
