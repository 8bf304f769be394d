/** The laws of differentiable functions, and checkOp, which tries them on yours. */
import type { Arbitrary } from "fast-check";
import { noGrad } from "../autograd.ts";
import { show, typeError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { grad, vjp } from "../transforms.ts";
import { gradcheck } from "./gradcheck.ts";
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

const bits = (x: Tensor): string => Array.from(x.data).join();

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
        const before = inputs.map(bits);
        const [y, pull] = vjp((...xs: Tensor[]) => subject.op(...xs))(...exact(inputs));
        if (y.dtype !== "int32") pull(y.onesLike());
        subject.op(...inputs);
        for (const [i, x] of inputs.entries()) {
          must(bits(x) === before[i], () => `input ${i} was ${before[i]} and is ${bits(x)}`);
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
    source: "definition of the vjp",
    property: (subject) =>
      onInputs(subject, (inputs) => {
        if (subject.options.linear !== true) return;
        const [v, ...rest] = exact(inputs);
        const [y, pull] = vjp((x: Tensor) => subject.op(x, ...rest))(v);
        const g = y.mul(0.5).add(1).detach();
        const [left, right] = [pull(g)[0].mul(v).sum().item(), g.mul(y).sum().item()];
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
  if (typeof op !== "function") throw typeError("checkOp", "op", show(op), "a function of tensors");
  return checkLaws("checkOp", { op, options }, opLaws, { numRuns: 25, ...options });
}
