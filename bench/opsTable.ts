/** npm run docs:ops: writes docs/ops.md, in which every cell is what happened when the op was run. */

import { readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import type { DType, Kernel } from "../src/device/kernel.ts";
import { formOf } from "../src/gpu/forms.ts";
import { Tensor, tensor } from "../src/index.ts";
import { checkOp } from "../src/laws/index.ts";
import { groups, type Sample } from "./opsSamples.ts";

const YES = "✓";
const NO = "–";

/** What a cell says when the op does neither what it should nor refuses. The reason goes to the one who runs the script. */
const WRONG = "✗";

const COLUMNS = ["op", "forward", "gradient", "second gradient", "float32", "float64", "int32", "devices"];

/** The arguments with every tensor replaced, also those in lists. */
const replaceTensors = (args: readonly unknown[], f: (x: Tensor) => unknown): unknown[] =>
  args.map((arg) => (arg instanceof Tensor ? f(arg) : Array.isArray(arg) ? replaceTensors(arg, f) : arg));

function tensorsIn(args: readonly unknown[]): Tensor[] {
  const found: Tensor[] = [];
  replaceTensors(args, (x) => found.push(x));
  return found;
}

/** The op as a function of its tensors. Of values and indices the values are looked at. */
function asFunction({ call, args }: Sample): (...tensors: Tensor[]) => Tensor {
  return (...tensors) => {
    let next = 0;
    const result = call(...replaceTensors(args, () => tensors[next++])) as Tensor | { values: Tensor };
    return result instanceof Tensor ? result : result.values;
  };
}

/** Whether laws hold of the op at its sample. */
function holds(sample: Sample, laws: readonly string[]): boolean {
  const inputs = fc.constant(tensorsIn(sample.args));
  const results = checkOp(asFunction(sample), { inputs, only: laws, numRuns: 1, seed: 0, raiseException: false });
  for (const { ok, message } of results) if (!ok) console.error(`${sample.name}: ${message}`);
  return results.every((result) => result.ok);
}

function gradientCell(sample: Sample, law: string): string {
  const inputs = tensorsIn(sample.args);
  const y = asFunction(sample)(...inputs);
  if (y.dtype === "int32" || inputs.every((x) => x.dtype === "int32")) return NO;
  return holds(sample, [law]) ? YES : WRONG;
}

/** The tensors that a dtype is tried with: those of floats, or the first where there are none. The rest are indices. */
function inDtype(sample: Sample, dtype: DType): Tensor[] {
  const inputs = tensorsIn(sample.args);
  const floats = inputs.filter((x) => x.dtype !== "int32");
  const tried = floats.length > 0 ? floats : inputs.slice(0, 1);
  const cast = (x: Tensor): Tensor => {
    return dtype === "int32" ? tensor(Int32Array.from(x.data)).reshape(x.shape) : x.to(dtype);
  };
  return inputs.map((x) => (tried.includes(x) ? cast(x) : x));
}

/** Whether an op runs in a dtype, and gives there what it gives in float64 for the same numbers. */
function dtypeCell(sample: Sample, dtype: DType): string {
  const f = asFunction(sample);
  const inputs = inDtype(sample, dtype);
  let y: Tensor;
  try {
    y = f(...inputs);
  } catch (error) {
    if (error instanceof TypeError) return NO;
    throw error;
  }
  if (dtype === "float64" || tensorsIn(sample.args).every((x) => x.dtype === "int32")) return YES;
  const wide = inputs.map((x, i) => (x === tensorsIn(sample.args)[i] ? x : x.to("float64")));
  const exact = f(...wide).data;
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-5 * Math.max(1, Math.abs(b));
  return y.data.every((v: number, i: number) => near(v, exact[i])) ? YES : WRONG;
}

type Forms = { -readonly [K in keyof Kernel<unknown>]: Kernel<unknown>[K] };

const isKernel = (x: unknown): x is Forms => typeof (x as Forms | null)?.loops === "function";

/** The kernels that run while fn does, found by putting listeners in the place of their forms. */
function kernelsOf(kernels: readonly Forms[], fn: () => void): Forms[] {
  const used = new Set<Forms>();
  const before = kernels.map((kernel) => ({ ...kernel }));
  for (const kernel of kernels) {
    const listened =
      <Args extends unknown[]>(form: (...args: Args) => void) =>
      (...args: Args): void => {
        used.add(kernel);
        form(...args);
      };
    kernel.reference = listened(kernel.reference);
    kernel.loops = listened(kernel.loops);
    if (kernel.simd !== undefined) kernel.simd = { ...kernel.simd, run: listened(kernel.simd.run) };
  }
  try {
    fn();
  } finally {
    for (const [i, kernel] of kernels.entries()) Object.assign(kernel, before[i]);
  }
  return [...used];
}

/** The devices on which all kernels of a call have a form of their own. */
function devicesCell(sample: Sample, kernels: readonly Forms[]): string {
  const dtype = dtypeCell(sample, "float32") === YES ? "float32" : "int32";
  const inputs = inDtype(sample, dtype);
  const used = kernelsOf(kernels, () => asFunction(sample)(...inputs));
  if (used.length === 0) return "all";
  const has = { loops: () => true, simd: (kernel: Forms) => kernel.simd, gpu: formOf };
  return Object.entries(has)
    .filter(([, form]) => used.every(form))
    .map(([device]) => device)
    .join(", ");
}

const show = (arg: unknown): string => {
  if (arg instanceof Tensor) return `${arg.dtype === "int32" ? "ints" : "floats"}[${arg.shape.join(", ")}]`;
  if (Array.isArray(arg)) return `[${arg.map(show).join(", ")}]`;
  if (typeof arg === "object" && arg !== null && "tokenOfSlot" in arg) return "routing";
  if (typeof arg === "object" && arg !== null) {
    return `{ ${Object.entries(arg)
      .map(([key, value]) => `${key}: ${show(value)}`)
      .join(", ")} }`;
  }
  return JSON.stringify(arg);
};

function row(sample: Sample, kernels: readonly Forms[]): string[] {
  return [
    `\`${sample.name}(${sample.args.map(show).join(", ")})\``,
    holds(sample, ["same bits again", "inputs stay"]) ? YES : WRONG,
    gradientCell(sample, "gradient"),
    gradientCell(sample, "second gradient"),
    dtypeCell(sample, "float32"),
    dtypeCell(sample, "float64"),
    dtypeCell(sample, "int32"),
    devicesCell(sample, kernels),
  ];
}

const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;

const INTRODUCTION = `# The ops

Every op of the library, each with a sample call. No cell is written by hand: \`npm run docs:ops\` runs the calls and writes this
page, and a test fails when they differ.

- **forward**: the call gives the same bits again, and leaves its inputs alone.
- **gradient**: every entry is what differences give, in float64. ${NO} where the result or all inputs are integers.
- **second gradient**: the gradient of the gradient, likewise.
- **float32, float64, int32**: with tensors of this dtype in place of \`floats\` (or of the first \`ints\` where there are none), the
  call gives what it gives in float64. ${NO}: it refuses, with a TypeError.
- **devices**: those on which every kernel of the call has a form of its own; elsewhere the loops run. \`all\`: it needs no kernel.`;

/** The page as text. */
export async function opsPage(): Promise<string> {
  const kernels = await allKernels();
  const sections = groups.map(([title, samples]) => {
    const rows = samples.map((sample) => line(row(sample, kernels)));
    return [`## ${title}`, "", line(COLUMNS), line(COLUMNS.map(() => "---")), ...rows].join("\n");
  });
  return `${[INTRODUCTION, ...sections].join("\n\n")}\n`;
}

/** Every kernel that a file of src/kernels exports. */
async function allKernels(): Promise<Forms[]> {
  const folder = new URL("../src/kernels/", import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts"));
  const modules = await Promise.all(files.map((file) => import(new URL(file, folder).href)));
  return [...new Set(modules.flatMap((module: object) => Object.values(module)).filter(isKernel))];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = await opsPage();
  writeFileSync(new URL("../docs/ops.md", import.meta.url), page);
  if (page.includes(WRONG)) process.exitCode = 1;
}
