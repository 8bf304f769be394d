/** The laws of differentiable functions, and checkOp, which tries them on yours. */
import type { Arbitrary } from "fast-check";
import { noGrad } from "../autograd.ts";
import { randn } from "../create.ts";
import { checkFunction } from "../errors.ts";
import { Generator } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { grad } from "../transforms.ts";
import { gradcheck, vjpOfFloats } from "./gradcheck.ts";
import { type CheckOptions, checkLawOptions, checkLaws, holds, type Law, type LawResult, must } from "./law.ts";
import { drawValue } from "./picture.ts";

// biome-ignore lint/suspicious/noExplicitAny: the inputs of a checked function are the caller's.
export type OpUnderTest = (...inputs: any[]) => Tensor;

export interface CheckOpOptions extends CheckOptions {
  /** Draws the inputs: lists of tensors, float32 or float64. Integer inputs are passed on as they are. */
  inputs: Arbitrary<readonly Tensor[]>;
  /** Whether the function is linear in its first input; its pullback is then held to the adjoint identity. Default false. */
  linear?: boolean | undefined;
  /** Whether it has a second derivative worth checking. Default true. */
  smooth?: boolean | undefined;
  /** What is right: |analytic − numeric| ≤ atol + rtol · |numeric|. Default 1e-6 and 1e-5. */
  atol?: number | undefined;
  rtol?: number | undefined;
}

interface OpSubject {
  readonly op: OpUnderTest;
  readonly options: CheckOpOptions;
}

const exact = (inputs: readonly Tensor[]): Tensor[] =>
  inputs.map((x) => (x.dtype === "int32" ? x : noGrad(() => x.to("float64"))));

/** A tensor as text that tells all of its bits apart, −0 from 0 among them. */
const bits = (x: Tensor): string =>
  `${x.dtype} [${x.shape}] ${Array.from(x.data, (v) => (Object.is(v, -0) ? "-0" : String(v)))}`;

const normalLike = (x: Tensor, rng: Generator): Tensor => randn(x.shape, { dtype: "float64", rng });

const dot = (x: Tensor, y: Tensor): number => x.mul(y).sum().item();

const onInputs = (subject: OpSubject, body: (inputs: readonly Tensor[]) => void) =>
  holds(subject.options.inputs, body, drawValue);

const tolerances = ({ atol = 1e-6, rtol = 1e-5 }: CheckOpOptions) => ({ atol, rtol, raiseException: false });

export const opLaws: readonly Law<OpSubject>[] = [
  {
    name: "same bits again",
    statement: "The same inputs give the same bits.",
    formula: "f(x) = f(x)",
    source: "no atomics, no hidden state",
    property: (subject) =>
      onInputs(subject, (inputs) => {
        const [a, b] = [subject.op(...inputs), subject.op(...inputs)];
        must(bits(a) === bits(b), () => `${a}\nthen\n${b}`);
      }),
  },
  {
    name: "inputs stay",
    statement: "The inputs are not changed, forward or backward.",
    formula: "x after f(x) = x before",
    source: "nothing is in place but an optimiser's step()",
    property: (subject) =>
      onInputs(subject, (inputs) => {
        for (const points of [inputs, exact(inputs)]) {
          const before = points.map(bits);
          const { y, pull } = vjpOfFloats(subject.op, points);
          if (y.dtype !== "int32") pull(y.onesLike());
          for (const [i, x] of points.entries()) {
            must(bits(x) === before[i], () => `input ${i} was ${before[i]} and is ${bits(x)}`);
          }
        }
      }),
  },
  {
    name: "gradient",
    statement: "The gradient is what differences give, entry by entry, in float64.",
    formula: "∂f[j] / ∂x[i] = (f(x + ε·uᵢ) − f(x − ε·uᵢ))[j] / 2ε",
    source: "gradcheck",
    property: (subject) =>
      onInputs(subject, (inputs) => {
        const report = gradcheck(subject.op, inputs, tolerances(subject.options));
        must(report.ok, () => report.message);
      }),
  },
  {
    name: "second gradient",
    statement: "The gradient of the gradient is what differences give, where the function is smooth.",
    formula: "∂²(Σ f²) / ∂x∂x by backward twice = by differences of the gradient",
    source: "vjps are written with ops",
    property: (subject) =>
      onInputs(subject, (inputs) => {
        if (subject.options.smooth === false) return;
        for (const [i, x] of inputs.entries()) {
          if (x.dtype === "int32") continue;
          const first = grad(
            (...xs: Tensor[]) =>
              subject
                .op(...xs)
                .square()
                .sum(),
            { argnums: i },
          );
          const report = gradcheck((...xs: Tensor[]) => first(...xs), inputs, tolerances(subject.options));
          must(report.ok, () => `of input ${i}: ${report.message}`);
        }
      }),
  },
  {
    name: "adjoint",
    statement: "A linear function and its pullback are transposes of each other.",
    formula: "⟨pullback(g), v⟩ = ⟨g, f(v)⟩",
    source: "definition of the vjp of a linear function, at whatever point",
    property: (subject) =>
      onInputs(subject, (inputs) => {
        if (subject.options.linear !== true) return;
        const [v, ...rest] = exact(inputs);
        // Three numbers apart: a point to differentiate at, a direction and a cotangent. Where they are tied to each other
        // an error can cancel; relu, say, looks linear along its own point.
        const rng = new Generator(inputs[0].size);
        const { y, pull } = vjpOfFloats((x: Tensor) => subject.op(x, ...rest), [normalLike(v, rng)]);
        const g = normalLike(y, rng);
        const [left, right] = [dot(pull(g)[0] ?? v.zerosLike(), v), dot(g, subject.op(v, ...rest))];
        must(
          Math.abs(left - right) <= 1e-9 * (1 + Math.abs(right)),
          () => `⟨pullback(g), v⟩ = ${left}, ⟨g, f(v)⟩ = ${right}`,
        );
      }),
  },
];

/**
 * Tries the laws of differentiable functions on an op.
 *
 *   checkOp((x) => x.softmax(), { inputs: tensorOf([2, 3]).map((x) => [x]) })
 *
 * Throws   Error when a law is broken (unless raiseException is false), TypeError for what is no function
 */
export function checkOp(op: OpUnderTest, options: CheckOpOptions): LawResult[] {
  checkLawOptions("checkOp", options, ["inputs", "linear", "smooth", "atol", "rtol"]);
  checkFunction("checkOp", "op", op, "a function of tensors");
  return checkLaws("checkOp", { op, options }, opLaws, { ...options, numRuns: options.numRuns ?? 25 });
}
