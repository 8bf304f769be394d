/**
 * gradcheck: is the gradient what finite differences say it is?
 *
 *   analytic   J[j, i] = ∂y[j] / ∂x[i], one pullback per output
 *   numeric    (f(x + ε·uᵢ)[j] − f(x − ε·uᵢ)[j]) / 2ε, two forwards per input
 *
 * Every entry is compared, in float64. A function with discrete choices inside (top-k, sorts, comparisons) is smooth
 * only between its boundaries: the choices are recorded at x and at x ± ε·uᵢ, and where they differ the difference says
 * nothing about the gradient. Such entries are counted as crossed, not as wrong.
 */
import { noGrad } from "../autograd.ts";
import type { Flat } from "../device/kernel.ts";
import { shared } from "../device/state.ts";
import { hostValue } from "../device/storage.ts";
import { checkBoolean, checkFunction, checkNumber, checkOptions, rangeError, show, typeError } from "../errors.ts";
import { checkTensor, type Tensor } from "../tensor.ts";
import { vjp } from "../transforms.ts";

export interface GradcheckOptions {
  /** ε of the differences. Default 1e-6. */
  eps?: number | undefined;
  /** |analytic − numeric| ≤ atol + rtol · |numeric| is right. Default 1e-5. */
  atol?: number | undefined;
  /** Default 1e-3. */
  rtol?: number | undefined;
  /** Throw when an entry is wrong; false gives the report with `ok: false`. Default true. */
  raiseException?: boolean | undefined;
}

/** One entry of the Jacobian. */
export interface JacobianEntry {
  /** Which of the inputs, and which of its elements. */
  readonly input: number;
  readonly index: number;
  /** Which element of the output. */
  readonly output: number;
  readonly analytic: number;
  readonly numeric: number;
  readonly error: number;
}

export interface GradcheckReport {
  /** Whether every entry that was compared is right. */
  readonly ok: boolean;
  /** How many entries were compared. */
  readonly checked: number;
  /** The entry with the largest error, relative to what is allowed; null when none was compared. */
  readonly worst: JacobianEntry | null;
  /** Largest |analytic − numeric|. */
  readonly maxError: number;
  /** Input elements whose difference crossed a boundary of a discrete choice: nothing can be said about them. */
  readonly crossed: readonly { readonly input: number; readonly index: number }[];
  /** The report in words. */
  readonly message: string;
}

// biome-ignore lint/suspicious/noExplicitAny: the inputs of a checked function are the caller's.
type Checked = (...inputs: any[]) => Tensor;

/**
 * Checks the gradient of fn at the inputs, every entry, in float64. fn runs on float64 copies of the float inputs. No
 * `x.grad` is touched, also of tensors that fn uses besides.
 *
 *   gradcheck((x, w) => x.matmul(w).gelu(), [randn([3, 4]), randn([4, 2])])
 *
 * Cost     one pullback per output element, two forwards per input element
 * Throws   Error with the worst entry when one is wrong (unless raiseException is false); TypeError when fn gives no
 *          float64 tensor; RangeError when it does not depend on its inputs alone (two calls differ)
 * Source   torch.autograd.gradcheck: name and defaults
 */
export function gradcheck(fn: Checked, inputs: readonly Tensor[], options: GradcheckOptions = {}): GradcheckReport {
  checkOptions("gradcheck", options, ["eps", "atol", "rtol", "raiseException"]);
  const { eps = 1e-6, atol = 1e-5, rtol = 1e-3, raiseException = true } = options;
  checkFunction("gradcheck", "fn", fn);
  checkBoolean("gradcheck", "raiseException", raiseException);
  checkNumber("gradcheck", "eps", eps, "a number above 0", (x) => x > 0);
  checkNumber("gradcheck", "atol", atol, "a number of at least 0", (x) => x >= 0);
  checkNumber("gradcheck", "rtol", rtol, "a number of at least 0", (x) => x >= 0);
  if (!Array.isArray(inputs)) throw typeError("gradcheck", "inputs", show(inputs), "a list of tensors");
  const points = inputs.map((x, i) => {
    checkTensor("gradcheck", `input ${i}`, x);
    return x.dtype === "int32" ? x : noGrad(() => x.to("float64")).detach();
  });
  const base = listen(fn, points);
  checkOutput(base.y);
  const { y, rows } = analyticRows(fn, points);
  if (!sameNumbers(base.y.data, y.data)) {
    throw rangeError("gradcheck", "fn", "two results for the same inputs", "one", "fix its random numbers");
  }
  const report = compareAll(fn, points, base, rows, { eps, atol, rtol });
  if (!report.ok && raiseException) throw new Error(report.message);
  return report;
}

function checkOutput(y: unknown): asserts y is Tensor {
  checkTensor("gradcheck", "the result of fn", y);
  if (y.dtype === "float64") return;
  throw typeError("gradcheck", "the result of fn", `dtype ${y.dtype}`, "float64", "make its constants float64 too");
}

interface Heard {
  readonly y: Tensor;
  /** Every int32 array that was made from floats: the discrete choices. */
  readonly decisions: readonly Flat[];
}

function listen(fn: Checked, inputs: readonly Tensor[]): Heard {
  const state = shared();
  const before = state.decisions;
  const decisions: Flat[] = [];
  state.decisions = decisions;
  try {
    return { y: noGrad(() => fn(...inputs)), decisions };
  } finally {
    state.decisions = before;
  }
}

const sameNumbers = (a: Flat, b: Flat): boolean =>
  a.length === b.length && a.every((x: number, i: number) => Object.is(x, b[i]));

const sameDecisions = (a: Heard, b: Heard): boolean =>
  a.decisions.length === b.decisions.length && a.decisions.every((x, i) => sameNumbers(x, b.decisions[i]));

/** Rows of the Jacobian by pullback, [output][input] → flat gradient, empty for integers; and the output. */
function analyticRows(fn: Checked, points: readonly Tensor[]): { y: Tensor; rows: Flat[][] } {
  const { y, pull } = vjpOfFloats(fn, points);
  const rows = Array.from({ length: y.size }, (_, j) => {
    const g = new Float64Array(y.size);
    g[j] = 1;
    return pull(y.make(hostValue(g, y.shape), null)).map((dx) => dx?.data ?? new Float64Array());
  });
  return { y, rows };
}

/** Value and pullback of fn, differentiated by its float inputs; the pullback gives null for integers. */
export function vjpOfFloats(fn: Checked, points: readonly Tensor[]) {
  const floats = points.flatMap((x, i) => (x.dtype === "int32" ? [] : [i]));
  const put = <T>(list: readonly T[], values: readonly Tensor[]): (T | Tensor)[] =>
    list.map((x, i) => values[floats.indexOf(i)] ?? x);
  const [y, pull] = vjp((...xs: Tensor[]) => fn(...put(points, xs)))(...floats.map((i) => points[i]));
  const none = points.map(() => null);
  return { y, pull: (g: Tensor): (Tensor | null)[] => put(none, pull(g)) };
}

type Tolerances = { readonly eps: number; readonly atol: number; readonly rtol: number };

function compareAll(
  fn: Checked,
  points: readonly Tensor[],
  base: Heard,
  analytic: Flat[][],
  { eps, atol, rtol }: Tolerances,
): GradcheckReport {
  const crossed: { input: number; index: number }[] = [];
  let worst: JacobianEntry | null = null;
  let worstExcess = -1;
  let [checked, maxError] = [0, 0];
  points.forEach((x, input) => {
    if (x.dtype === "int32") return;
    for (let index = 0; index < x.size; index++) {
      const [up, down] = [eps, -eps].map((step) => at(fn, points, input, index, step));
      if (!sameDecisions(base, up) || !sameDecisions(base, down)) {
        crossed.push({ input, index });
        continue;
      }
      for (let output = 0; output < base.y.size; output++, checked++) {
        const numeric = (up.y.data[output] - down.y.data[output]) / (2 * eps);
        const a = analytic[output][input][index];
        const error = Math.abs(a - numeric);
        // No division where it would be 0 / 0 or ∞ / ∞, neither of which is larger than anything.
        const relative = error === 0 ? 0 : error / (atol + rtol * Math.abs(numeric));
        const excess = Number.isFinite(error) ? relative : Infinity;
        maxError = Math.max(maxError, Number.isNaN(error) ? Infinity : error);
        if (excess > worstExcess) {
          worstExcess = excess;
          worst = { input, index, output, analytic: a, numeric, error };
        }
      }
    }
  });
  const ok = worstExcess <= 1;
  return { ok, checked, worst, maxError, crossed, message: describe(ok, checked, worst, crossed.length) };
}

/** fn with one element of one input moved by a step. */
function at(fn: Checked, points: readonly Tensor[], input: number, index: number, step: number): Heard {
  const moved = points.map((x, i) => {
    if (i !== input) return x;
    const data = x.data.slice();
    data[index] += step;
    return x.make(hostValue(data, x.shape), null);
  });
  return listen(fn, moved);
}

function describe(ok: boolean, checked: number, worst: JacobianEntry | null, crossed: number): string {
  const boundary =
    crossed === 0
      ? ""
      : `; ${crossed} differences crossed a routing boundary (a discrete choice changed) and were left out`;
  if (worst === null) return `gradcheck: nothing was compared${boundary}`;
  const { input, index, output, analytic, numeric, error } = worst;
  const entry = `d output[${output}] / d input ${input}[${index}]: ${analytic} by backward, ${numeric} by difference`;
  const verdict = ok
    ? `all ${checked} entries agree, the worst by ${error.toExponential(1)} at`
    : "the gradient is wrong at";
  return `gradcheck: ${verdict} ${entry}${boundary}`;
}
