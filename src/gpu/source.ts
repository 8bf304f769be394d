/**
 * From a form to the text of a gpu.js kernel.
 *
 * Kernels are text from the start: functions would be changed by minifiers and by coverage before gpu.js could read them.
 * Sizes are arguments of the text, not part of it, so that one compiled kernel serves every shape. A tensor of one element
 * whose number is known is an argument, too: no texture is made of it.
 *
 * WebGL's textures have four numbers a texel. An array lies in them one number a texel, or in fours, which are fetched at
 * once; a launch says for each array how it reads it. WebGPU's buffers are read either way.
 */
import type { DType } from "../device/kernel.ts";
import type { Four, Gather, GpuCall, GpuForm, Source } from "./form.ts";
import { faults } from "./lint.ts";
import { CELL, type Layout } from "./texels.ts";

/** Most elements that float32 can count, and so that a flat index can reach. */
export const MAX_ELEMENTS = 2 ** 24;
/** Loops longer than this are cut off in silence on some routes. */
export const MAX_TURNS = 65_535;
/** The arrays that one WebGPU kernel can read besides the one that it writes. */
export const MAX_ARRAYS = 7;

/** An input as a launch is planned: how long, of what, its number when it is one that is known, and whether it is in fours. */
export interface Planned {
  readonly length: number;
  readonly dtype: DType;
  readonly known?: number | undefined;
  readonly fours?: boolean | undefined;
}

/** An array of a launch, by its place (inputs first, then stages), read in fours or not. */
export interface ArrayArg {
  readonly array: number;
  readonly fours: boolean;
}

/** One launch: the text, its arguments, how many threads, and whether each of them makes four cells. */
export interface Launch {
  readonly text: string;
  readonly args: readonly (ArrayArg | number)[];
  readonly threads: number;
  readonly fours: boolean;
}

/** Arrays and numbers that a text reads, by their names in it, in the order of its arguments. */
class Arguments {
  readonly #named = new Map<string, ArrayArg | number>();
  readonly #layout: Layout;
  /** Of every array that is read, how many texels or single numbers that is. */
  readonly sizes: number[] = [];

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  get names(): string[] {
    return [...this.#named.keys()];
  }

  get values(): (ArrayArg | number)[] {
    return [...this.#named.values()];
  }

  get arrays(): number {
    return this.values.filter((arg) => typeof arg !== "number").length;
  }

  number(name: string, value: number): string {
    this.#named.set(name, value);
    return name;
  }

  #array(name: string, array: number, fours: boolean, size: number): string {
    if (!this.#named.has(name)) {
      this.#named.set(name, { array, fours });
      this.sizes.push(size);
    }
    return name;
  }

  /** An input or a stage as a form reads it. */
  source(name: string, array: number, { length, dtype, known, fours }: Planned): Source {
    const one = (): string => this.#array(`x${name}`, array, false, length);
    const at = (index: string): string => (known === undefined ? `${one()}[${index}]` : this.number(`x${name}`, known));
    const four = (variable: string, index: string): Four => {
      const each = [0, 1, 2, 3];
      if (known !== undefined) return { text: "", parts: each.map(() => this.number(`x${name}`, known)) };
      if (this.#layout === "texels") {
        const texel = `${this.#array(`f${name}`, array, true, length / 4)}[${index}]`;
        return { text: `let ${variable} = ${texel};`, parts: each.map((j) => `${variable}[${j}]`) };
      }
      const lines = each.map((j) => `let ${variable}${j} = ${one()}[${variable}${j === 0 ? "" : ` + ${j}`}];`);
      return {
        text: `let ${variable} = 4 * (${index}); ${lines.join(" ")}`,
        parts: each.map((j) => `${variable}${j}`),
      };
    };
    return { length, dtype, fours, at, four };
  }
}

/** Makes one launch of a gather; null when a limit of some route is in the way. */
function launchOf<A>(
  gatherOf: (call: GpuCall<A>) => Gather | null,
  call: Omit<GpuCall<A>, "inputs" | "stages">,
  [inputs, stages]: readonly (readonly Planned[])[],
  layout: Layout,
  fours: boolean,
): Launch | null {
  const args = new Arguments(layout);
  const gather = gatherOf({
    ...call,
    inputs: inputs.map((x, at) => args.source(`${at}`, at, x)),
    stages: stages.map((y, at) => args.source(`s${at}`, inputs.length + at, y)),
  });
  const threads = fours ? call.length / 4 : call.length;
  const reach = layout === "buffers" ? call.length : threads;
  if (gather === null || (gather.turns ?? 1) > MAX_TURNS || args.arrays > MAX_ARRAYS) return null;
  if ([reach, ...args.sizes].some((size) => size > MAX_ELEMENTS) || args.sizes.includes(0)) return null;
  for (const [name, value] of Object.entries(gather.numbers ?? {})) args.number(name, value);
  const text = `function (${args.names.join(", ")}) {\n  const i = ${CELL};\n${gather.body.replace(/^\n|\s+$/g, "")}\n}`;
  const wrong = faults(text);
  if (wrong.length > 0) throw new Error(`the kernel's text breaks the dialect: ${wrong.join("; ")}`);
  return { text, args: args.values, threads, fours };
}

/** All launches of a call, the last one makes its output; null when the loops have to run. */
export function plan<A>(
  form: GpuForm<A>,
  attrs: A,
  inputs: readonly Planned[],
  output: { readonly length: number; readonly dtype: DType },
  layout: Layout,
): readonly Launch[] | null {
  const call = { attrs, ...output };
  const unread = inputs.map((x, at) => new Arguments(layout).source(`${at}`, at, x));
  const stages = form.stages?.({ ...call, inputs: unread, stages: [] }) ?? [];
  const launches: Launch[] = [];
  const made: Planned[] = [];
  for (const { length, gather, fours = false } of stages) {
    const launch = launchOf(gather, { ...call, length }, [inputs, made], layout, fours);
    if (launch === null) return null;
    launches.push(launch);
    made.push({ length, dtype: "float32", fours });
  }
  const last =
    (form.fours && output.length % 4 === 0 && launchOf(form.fours, call, [inputs, made], layout, true)) ||
    launchOf(form.gather, call, [inputs, made], layout, false);
  return last && [...launches, last];
}

/** How many numbers one thread looks through to say whether one of them is not 0. */
const LOOKED_THROUGH = 256;

/** The launches that look for what may be wrong with a call, the last of few numbers; null where nothing can be. */
export function planDoubt<A>(
  form: GpuForm<A>,
  attrs: A,
  inputs: readonly Planned[],
  output: Planned,
  layout: Layout,
): { readonly launches: readonly Launch[]; readonly length: number; readonly error: () => Error } | null {
  const read = [...inputs, output].map((x, at) => new Arguments(layout).source(`${at}`, at, x));
  const call = { attrs, length: output.length, dtype: output.dtype };
  const doubt = form.doubt?.({ ...call, inputs: read.slice(0, -1), stages: read.slice(-1) }) ?? null;
  if (doubt === null) return null;
  const whole = launchOf(doubt.gather, { ...call, length: doubt.length }, [inputs, [output]], layout, false);
  if (whole === null) return null;
  const { length, error } = doubt;
  if (length <= LOOKED_THROUGH) return { launches: [whole], length, error };
  const block = Math.ceil(Math.sqrt(length));
  const blocks = Math.ceil(length / block);
  const found: Planned = { length, dtype: "float32", fours: false };
  const sum = ({ stages }: GpuCall<A>): Gather => ({
    numbers: { n: length, block },
    turns: block,
    body: `
  let end = Math.min(n, (i + 1) * block);
  let sum = 0;
  for (let k = i * block; k < end; k += 1) {
    sum += ${stages[1].at("k")};
  }
  return sum;`,
  });
  const short = launchOf(sum, { ...call, length: blocks }, [inputs, [output, found]], layout, false);
  return short && { launches: [whole, short], length: blocks, error };
}
