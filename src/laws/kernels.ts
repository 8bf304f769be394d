/** The laws of kernels, and checkKernel, which tries one form of a kernel against its reference. */
import type { Arbitrary } from "fast-check";
import { allocate, type DType, type Flat, type Kernel } from "../device/kernel.ts";
import { asHostForm } from "../device/simd.ts";
import { rangeError, show } from "../errors.ts";
import { type CheckOptions, checkLawOptions, checkLaws, holds, type Law, type LawResult, must } from "./law.ts";

/** One call of a kernel. */
export interface KernelCase<A> {
  readonly inputs: readonly Flat[];
  readonly attrs: A;
  /** Length and dtype of the output. */
  readonly length: number;
  readonly dtype: DType;
}

export interface CheckKernelOptions<A> extends CheckOptions {
  /** Draws the calls. */
  cases: Arbitrary<KernelCase<A>>;
  /** Which form is tried. Default "loops". */
  device?: "loops" | "simd" | undefined;
  /** Largest distance from the reference, in units of the last place of float32; 0 for exact kernels. Default 1. */
  ulps?: number | undefined;
  /** An absolute distance that is allowed besides. Default 0. */
  atol?: number | undefined;
}

interface KernelSubject {
  readonly cases: Arbitrary<KernelCase<unknown>>;
  readonly form: Kernel<unknown>["loops"];
  readonly reference: Kernel<unknown>["reference"];
  readonly ulps: number;
  readonly atol: number;
}

const widen = (x: Flat): Flat => (x instanceof Float32Array ? Float64Array.from(x) : x);

/** What a form gives on an output full of dirt. It reads copies, so that one that writes its inputs spoils no other case. */
function fill(
  { form }: Pick<KernelSubject, "form">,
  c: KernelCase<unknown>,
  dirt: number,
  dtype: DType = c.dtype,
): { out: Flat; inputs: Flat[] } {
  const out = allocate(dtype, c.length).fill(dirt);
  const inputs = c.inputs.map((x) => x.slice());
  form(out, inputs, c.attrs);
  return { out, inputs };
}

/** One unit of the last place of float32 at x. */
const unit = (x: number): number => 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(x)))) - 23);

const onCases = (subject: KernelSubject, body: (c: KernelCase<unknown>) => void) =>
  holds(subject.cases, body, (c) =>
    [...c.inputs.map((x) => show(Array.from(x))), `attrs ${JSON.stringify(c.attrs)}`].join("\n"),
  );

export const kernelLaws: readonly Law<KernelSubject>[] = [
  {
    name: "equals its reference",
    statement: "The form gives what the reference gives on float64 copies of the same numbers, within its error bound.",
    formula: "|form(x) − reference(x)| ≤ ulps · ulp(reference(x)) + atol; integers are equal",
    source: "the Error line of the kernel's docstring",
    property: (subject) =>
      onCases(subject, (c) => {
        const { out: actual } = fill(subject, c, 7);
        const dtype = c.dtype === "float32" ? "float64" : c.dtype;
        const { out: expected } = fill({ form: subject.reference }, { ...c, inputs: c.inputs.map(widen) }, 9, dtype);
        for (let i = 0; i < actual.length; i++) {
          const [a, b] = [actual[i], expected[i]];
          // What the reference gives, rounded once, is right also where that is ∞, from which every distance is ∞.
          const rounded = c.dtype === "float32" ? Math.fround(b) : b;
          const same = a === rounded || (Number.isNaN(a) && Number.isNaN(b));
          const near =
            c.dtype !== "int32" && Number.isFinite(b) && Math.abs(a - b) <= subject.ulps * unit(b) + subject.atol;
          must(same || near, () => `element ${i} is ${a}, the reference gives ${b}`);
        }
      }),
  },
  {
    name: "writes every cell",
    statement: "The output does not depend on what was in its memory before.",
    formula: "form(out = 7) = form(out = −3)",
    source: "memory is used again",
    property: (subject) =>
      onCases(subject, (c) => {
        const [{ out: a }, { out: b }] = [fill(subject, c, 7), fill(subject, c, -3)];
        const bad = a.findIndex((x: number, i: number) => !Object.is(x, b[i]));
        must(bad < 0, () => `element ${bad} is ${a[bad]} or ${b[bad]}, by what was there before`);
      }),
  },
  {
    name: "reads only",
    statement: "The inputs are not changed.",
    formula: "x after = x before",
    source: "tensors share storage",
    property: (subject) =>
      onCases(subject, (c) => {
        fill(subject, c, 7).inputs.forEach((x, i) => {
          const bad = x.findIndex((v: number, j: number) => !Object.is(v, c.inputs[i][j]));
          must(bad < 0, () => `element ${bad} of input ${i} was ${c.inputs[i][bad]} and is ${x[bad]}`);
        });
      }),
  },
];

/**
 * Tries one form of a kernel against its reference.
 *
 * Throws   Error when a law is broken (unless raiseException is false), RangeError when the kernel has no such form
 */
export function checkKernel<A>(kernel: Kernel<A>, options: CheckKernelOptions<A>): LawResult[] {
  checkLawOptions("checkKernel", options, ["cases", "device", "ulps", "atol"]);
  const { device = "loops", cases, ulps = 1, atol = 0 } = options;
  const form = device === "simd" ? asHostForm(kernel) : kernel[device];
  if (form === undefined)
    throw rangeError("checkKernel", "device", show(device), "a form that the kernel has", kernel.name);
  const subject = { cases, form, reference: kernel.reference, ulps, atol } as unknown as KernelSubject;
  return checkLaws("checkKernel", subject, kernelLaws, options);
}
