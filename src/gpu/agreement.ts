/**
 * Whether the device that is in use agrees with the typed-array loops, kernel by kernel: for a bug report, and for the tests.
 *
 * On a GPU every case runs twice: with inputs that come from the host, and with such that the device has made, in the layout
 * of its own that floats may have there. On "simd" the vector forms run whatever the size; on "loops" there is nothing to
 * compare but the reference forms, and these are what they are compared with.
 */

import { tensor } from "../create.ts";
import { type DeviceInfo, device } from "../device/device.ts";
import { allocate, type Flat, type HostForm } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import { asHostForm } from "../device/simd.ts";
import { shared } from "../device/state.ts";
import { where } from "../kernels/compare.ts";
import { Tensor } from "../tensor.ts";
import { distance } from "./case.ts";
import { allCases, type Case } from "./cases.ts";
import { GPUJS } from "./library.ts";

/** The library's, as package.json has it. */
export const VERSION = "0.1.0";

/** What is known of one kernel after its cases. */
export interface KernelAgreement {
  readonly kernel: string;
  readonly cases: number;
  /** The difference that uses most of its bound, as a share of the largest number or of the terms that cancel. */
  readonly worst: number;
  /** The bound of that case; 0 where the numbers have to be the same. */
  readonly bound: number;
  /** One line a case that does not agree, with what it gave. */
  readonly faults: readonly string[];
}

export interface Agreement {
  readonly version: string;
  /** The gpu.js that the library asks for. */
  readonly gpujs: string;
  readonly device: DeviceInfo;
  /** The browser's user agent, or the version of Node. */
  readonly platform: string;
  readonly kernels: readonly KernelAgreement[];
  readonly cases: number;
  readonly faults: number;
  /** All of it, to read or to paste into a bug report. */
  readonly text: string;
}

function filled(form: HostForm<never>, { attrs, dtype, length }: Case, inputs: readonly Flat[]): Flat {
  const out = allocate(dtype, length);
  form(out, inputs, attrs as never);
  return out;
}

/** The size of the terms that a case's output is made of. */
function termsOf(c: Case): number {
  if (typeof c.terms === "number") return c.terms;
  const sizes = c.inputs.map((x) => (x instanceof Int32Array ? x : x.map(Math.abs)));
  return Array.from(filled(c.kernel.loops, c, sizes)).reduce((a, b) => Math.max(a, b), 0);
}

/** Integers of the device: those of the host alone would stay there. */
const made = (x: Int32Array): Tensor => {
  const yes = tensor(new Float32Array(x.length).fill(1)).gt(0);
  return where(yes, tensor(x), tensor(x));
};

/** A product of one term is exact, and what it makes lies in fours where the device has that. */
const inFours = (x: Flat): Tensor =>
  tensor([[1]])
    .matmul(tensor(x).reshape([1, x.length]))
    .reshape([x.length]);

/** The ways for the inputs of a case to lie, by name; fewer where one is the same as another. */
function placesOf({ inputs }: Case): readonly (readonly [place: string, tensors: () => Tensor[]])[] {
  const integers = inputs.every((x) => x instanceof Int32Array);
  const host = (): Tensor[] => inputs.map((x, i) => (integers && i === 0 ? made(x as Int32Array) : tensor(x)));
  const canFour = (x: Flat): boolean => x instanceof Float32Array && x.length % 4 === 0 && x.length >= 8;
  const fours = (): Tensor[] => inputs.map((x) => (canFour(x) ? inFours(x) : tensor(x)));
  const all = [["host", host] as const, ["fours", fours] as const];
  return inputs.some(canFour) ? all : all.slice(0, 1);
}

/** What the GPU gives, or what it did besides that a form should not need. */
async function onGpu(c: Case, tensors: readonly Tensor[]): Promise<Flat | string> {
  const before = shared().gpu?.counts;
  const actual = await new Tensor(run(c.kernel, tensors, c.attrs as never, [c.length], c.dtype)).read();
  const after = shared().gpu?.counts;
  if (before === undefined || after === undefined) return "no GPU is in use";
  if (after.fallbacks > before.fallbacks) return "the loops ran";
  if (!(after.launches > before.launches)) return "nothing was launched";
  const reads = after.readbacks - before.readbacks;
  return reads === 1 ? actual : `${reads} readbacks for one`;
}

interface Finding {
  readonly place: string;
  readonly far: number;
  readonly what: string | null;
}

async function find(c: Case, expected: Flat, place: string, compute: () => Promise<Flat | string>): Promise<Finding> {
  try {
    const actual = await compute();
    if (typeof actual === "string") return { place, far: Infinity, what: actual };
    const far = distance(actual, expected, termsOf(c));
    if (far <= c.bound) return { place, far, what: null };
    const at = expected.findIndex((x, i) => !Object.is(x + 0, actual[i] + 0));
    const from = Math.max(0, at - 1);
    const shown = (x: Flat): string => Array.from(x.slice(from, from + 6)).join(", ");
    return {
      place,
      far,
      what: `off by ${far.toExponential(1)}: [${shown(actual)}] for [${shown(expected)}] from ${from} on`,
    };
  } catch (error) {
    return { place, far: Infinity, what: error instanceof Error ? error.message : String(error) };
  }
}

/** The vector form, where the device would run it: there are some for integers and some for floats. */
function vectorForm({ kernel, dtype }: Case): HostForm<never> | undefined {
  return (kernel.simd?.makesIntegers ?? false) === (dtype === "int32") ? asHostForm(kernel) : undefined;
}

/** What one case gives on the device in use, in every place that its inputs may be. */
async function tryCase(c: Case): Promise<Finding[]> {
  const { name } = device();
  const oracle = filled(name === "loops" ? c.kernel.reference : c.kernel.loops, c, c.inputs);
  if (name !== "gpu") {
    const form = name === "loops" ? c.kernel.loops : vectorForm(c);
    return form === undefined ? [] : [await find(c, oracle, name, async () => filled(form, c, c.inputs))];
  }
  const found: Finding[] = [];
  for (const [place, tensors] of placesOf(c)) found.push(await find(c, oracle, place, () => onGpu(c, tensors())));
  return found;
}

/** Tries all cases of one kernel on the device in use. */
export async function tryKernel(kernel: string, cases: readonly Case[]): Promise<KernelAgreement> {
  const faults: string[] = [];
  let [tried, worst, bound, used] = [0, 0, 0, -1];
  for (const c of cases.filter((x) => x.kernel.name === kernel)) {
    for (const { place, far, what } of await tryCase(c)) {
      tried++;
      const share = far === 0 ? 0 : far / c.bound;
      if (share > used) [used, worst, bound] = [share, far, c.bound];
      if (what === null) continue;
      const sizes = c.inputs.map((x) => x.length).join(", ");
      faults.push(`${kernel} ${JSON.stringify(c.attrs)} of ${sizes} (${place}): ${what}`);
    }
  }
  return { kernel, cases: tried, worst, bound, faults };
}

function platformName(): string {
  const { navigator, process } = globalThis as {
    navigator?: { userAgent?: string };
    process?: { versions?: { node?: string }; platform?: string; arch?: string };
  };
  if (process?.versions?.node) return `Node ${process.versions.node} on ${process.platform} ${process.arch}`;
  return navigator?.userAgent ?? "unknown";
}

/** The report as text: a head, a line a kernel, then the faults. */
function textOf({ version, gpujs, device, platform, kernels, cases, faults }: Omit<Agreement, "text">): string {
  const { name, why, threads, gpu } = device;
  const width = Math.max(...kernels.map(({ kernel }) => kernel.length));
  const number = (x: number): string => (x === 0 ? "0" : x.toExponential(1)).padStart(8);
  const lines = kernels.map(({ kernel, cases, worst, bound, faults }) => {
    const verdict = faults.length === 0 ? "" : `  ${faults.length} DISAGREE`;
    return `${kernel.padEnd(width)} ${String(cases).padStart(5)} ${number(worst)} ${number(bound)}${verdict}`;
  });
  const summary = faults === 0 ? "all agree" : `${faults} of them do not agree`;
  return [
    `moegrad ${version}, asking for ${gpujs}`,
    `device    ${name}${gpu ? ` by ${gpu.route} on ${gpu.adapter}` : threads > 1 ? `, ${threads} threads` : ""}`,
    ...(gpu ? [`software  ${gpu.software ? "yes: a program on the CPU" : "no"}`] : []),
    `why       ${why}`,
    `platform  ${platform}`,
    "",
    `${"kernel".padEnd(width)} cases    worst    bound`,
    ...lines,
    ...kernels.flatMap((kernel) => kernel.faults.map((fault) => `\n${fault}`)),
    "",
    `${cases} cases of ${kernels.length} kernels: ${summary}`,
  ].join("\n");
}

/**
 * Runs every kernel's cases on the device in use, and compares with the typed-array loops (on "loops": with the references).
 *
 *   console.log((await agreement()).text);
 *
 * A difference counts as a share of the largest number, or of the terms where they cancel; each kernel's bound follows from
 * its Error line, and none is above 2e-5. Of kernels whose form the device lacks there are no cases.
 */
export async function agreement(): Promise<Agreement> {
  const cases = allCases();
  const kernels: KernelAgreement[] = [];
  for (const name of new Set(cases.map(({ kernel }) => kernel.name))) {
    const found = await tryKernel(name, cases);
    if (found.cases > 0) kernels.push(found);
  }
  const total = (of: (x: KernelAgreement) => number): number => kernels.reduce((sum, x) => sum + of(x), 0);
  const head = { version: VERSION, gpujs: GPUJS, device: device(), platform: platformName() };
  const data = { ...head, kernels, cases: total((x) => x.cases), faults: total((x) => x.faults.length) };
  return { ...data, text: textOf(data) };
}
