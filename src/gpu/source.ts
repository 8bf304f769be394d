/**
 * From a form to the text of a gpu.js kernel.
 *
 * Kernels are text from the start: functions would be changed by minifiers and by coverage before gpu.js could read them.
 * Sizes are arguments of the text, not part of it, so that one compiled kernel serves every shape. A tensor of one element
 * whose number is known is an argument, too: no texture is made of it.
 */
import type { DType } from "../device/kernel.ts";
import type { Gather, GpuCall, GpuForm, Source } from "./form.ts";
import { faults } from "./lint.ts";

/** Most elements that float32 can count, and so that a flat index can reach. */
export const MAX_ELEMENTS = 2 ** 24;
/** Loops longer than this are cut off in silence on some routes. */
export const MAX_TURNS = 65_535;
/** The arrays that one WebGPU kernel can read besides the one that it writes. */
export const MAX_ARRAYS = 7;

/** An input as a launch is planned: how long, of what, and its number when it is one that is known. */
export interface Planned {
  readonly length: number;
  readonly dtype: DType;
  readonly known?: number | undefined;
}

/** One launch: the text, and for each of its arguments an array by its place (inputs first, then stages) or a number. */
export interface Launch {
  readonly text: string;
  readonly args: readonly ({ readonly array: number } | number)[];
  readonly length: number;
}

/** The cell of a thread: outputs are [columns, 1, rows], which every route can have in one way. */
const CELL = "const i = this.thread.z * this.output.x + this.thread.x;";

/** The text of a gather, with the arrays that it reads in front of its numbers. */
export function write(
  { body, numbers = {} }: Gather,
  arrays: readonly (string | null)[],
  knowns: readonly (readonly [name: string, value: number])[],
): Pick<Launch, "text" | "args"> {
  const read = arrays.flatMap((name, array) => (name === null ? [] : [{ name, array }]));
  const names = [...read.map(({ name }) => name), ...knowns.map(([name]) => name), ...Object.keys(numbers)];
  return {
    text: `function (${names.join(", ")}) {\n  ${CELL}\n${body.replace(/^\n|\s+$/g, "")}\n}`,
    args: [...read, ...knowns.map(([, value]) => value), ...Object.values(numbers)].map((x) =>
      typeof x === "number" ? x : { array: x.array },
    ),
  };
}

/** Inputs that note whether they are read. */
function sourcesOf(prefix: string, list: readonly Planned[]): { sources: Source[]; used: Set<number> } {
  const used = new Set<number>();
  const sources = list.map(({ length, dtype, known }, at) => ({
    length,
    dtype,
    at(index: string): string {
      used.add(at);
      return known === undefined ? `${prefix}${at}[${index}]` : `${prefix}${at}`;
    },
  }));
  return { sources, used };
}

/** Makes one launch of a gather; null when a limit of some route is in the way. */
function launchOf<A>(
  gatherOf: (call: GpuCall<A>) => Gather | null,
  call: Omit<GpuCall<A>, "inputs" | "stages">,
  inputs: readonly Planned[],
  stages: readonly Planned[],
): Launch | null {
  const ins = sourcesOf("x", inputs);
  const mids = sourcesOf("y", stages);
  const gather = gatherOf({ ...call, inputs: ins.sources, stages: mids.sources });
  if (gather === null || (gather.turns ?? 1) > MAX_TURNS) return null;
  const used = [...ins.used].map((at) => inputs[at]);
  const arrays = [
    ...inputs.map(({ known }, at) => (ins.used.has(at) && known === undefined ? `x${at}` : null)),
    ...stages.map((_, at) => (mids.used.has(at) ? `y${at}` : null)),
  ];
  const knowns = inputs.flatMap(({ known }, at) =>
    known !== undefined && ins.used.has(at) ? [[`x${at}`, known] as const] : [],
  );
  const tooLarge = call.length > MAX_ELEMENTS || used.some(({ length }) => length === 0 || length > MAX_ELEMENTS);
  if (tooLarge || arrays.filter((name) => name !== null).length > MAX_ARRAYS) return null;
  const launch = { ...write(gather, arrays, knowns), length: call.length };
  const wrong = faults(launch.text);
  if (wrong.length > 0) throw new Error(`the kernel's text breaks the dialect: ${wrong.join("; ")}`);
  return launch;
}

/** All launches of a call, the last one makes its output; null when the loops have to run. */
export function plan<A>(
  form: GpuForm<A>,
  attrs: A,
  inputs: readonly Planned[],
  length: number,
  dtype: DType,
): readonly Launch[] | null {
  const bare = { attrs, length, dtype };
  const stages = form.stages?.({ ...bare, inputs: sourcesOf("x", inputs).sources, stages: [] }) ?? [];
  const launches: Launch[] = [];
  const made: Planned[] = [];
  for (const stage of [...stages, { length, gather: form.gather }]) {
    const launch = launchOf(stage.gather, { ...bare, length: stage.length }, inputs, made);
    if (launch === null) return null;
    launches.push(launch);
    made.push({ length: stage.length, dtype: "float32" });
  }
  return launches;
}
