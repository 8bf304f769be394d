/**
 * What works row by row, as gathers: a stage for each number that a whole row shares, and then the cells.
 *
 * Error    float32 at every step: sums of n terms are off by n · 2⁻²⁴ of their size
 */
import type { Four, Gather, GpuCall, GpuForm, Source, Stage } from "../gpu/form.ts";
import { divide, eachOfFour, ordered, TOP } from "./gather.gpu.ts";
import type { NormAttrs } from "./norm.ts";
import type { Rows, Shares } from "./softmax.ts";

/** Whether rows of n are read in fours: their starts allow it, and one of the arrays lies so. */
const readInFours = (n: number, sources: Iterable<Source>): boolean =>
  n % 4 === 0 && [...sources].some((x) => x.fours === true);

interface RowText {
  /** Statements before the loop; `i` is the row, `start` the flat index of its first element. */
  readonly before: string;
  /** What the names in `each` stand for: the element of each of these arrays. */
  readonly reads: Readonly<Record<string, Source>>;
  /** Statements for one element. */
  readonly each: string;
  readonly result: string;
  readonly numbers?: Readonly<Record<string, number>>;
}

/** A stage of one number a row, from a walk over its n elements. */
function perRow<A>(rows: number, n: number, text: (call: GpuCall<A>) => RowText): Stage<A> {
  return {
    length: rows,
    gather(call) {
      const { before, reads, each, result, numbers } = text(call);
      const inFours = readInFours(n, Object.values(reads));
      const fours = Object.entries(reads).map(([name, x]): [string, Four] => [
        name,
        inFours ? x.four(`${name}Four`, "at") : { text: "", parts: [x.at("at")] },
      ]);
      const steps = eachOfFour(each, (cell) =>
        Object.fromEntries(fours.map(([name, { parts }]) => [name, parts[cell] ?? ""])),
      ).slice(0, inFours ? 4 : 1);
      return {
        numbers: { n, steps: inFours ? n / 4 : n, ...numbers },
        turns: n,
        body: `
  let start = i * n;
  let first = i * steps;
  let end = first + steps;
  ${before}
  for (let at = first; at < end; at += 1) {
    ${fours.map(([, four]) => four.text).join(" ")}
    ${steps.join("\n    ")}
  }
  return ${result};`,
      };
    },
  };
}

interface CellText {
  readonly n: number;
  /** What the names in `text` stand for: the element of each of these arrays. */
  readonly reads: Readonly<Record<string, Source>>;
  /** Statements that rows have in common: `r` is the row. */
  readonly shared: string;
  /** Statements that declare y, the cell; `c` is its column. */
  readonly text: string;
  readonly numbers?: Readonly<Record<string, number>>;
}

/** The cells of rows, one a thread, or four where they lie so. */
export function cellsOf<A>(textOf: (call: GpuCall<A>) => CellText): Pick<GpuForm<A>, "gather" | "fours"> {
  const make = (call: GpuCall<A>, inFours: boolean): Gather => {
    const { n, reads, shared, text, numbers } = textOf(call);
    const fours = Object.entries(reads).map(([name, x]): [string, Four] => [
      name,
      inFours ? x.four(`${name}Four`, "i") : { text: `let ${name}One = ${x.at("i")};`, parts: [`${name}One`] },
    ]);
    const cells = eachOfFour(text, (cell) => ({
      ...Object.fromEntries(fours.map(([name, { parts }]) => [name, parts[cell] ?? ""])),
      c: inFours ? `(4 * group + ${cell})` : "group",
    })).slice(0, inFours ? 4 : 1);
    return {
      numbers: { width: inFours ? n / 4 : n, ...numbers },
      body: `${divide("r", "group", "i", "width")}
  ${shared}
  ${fours.map(([, four]) => four.text).join("\n  ")}
  ${cells.join("\n  ")}
  return ${inFours ? "[y_0, y_1, y_2, y_3]" : "y_0"};`,
    };
  };
  return {
    gather: (call) => make(call, false),
    fours(call) {
      const { n, reads } = textOf(call);
      return readInFours(n, Object.values(reads)) ? make(call, true) : null;
    },
  };
}

export const maxima = <A>(rows: number, n: number, of = 0): Stage<A> =>
  perRow(rows, n, ({ inputs }) => ({
    before: `let m = ${inputs[of].at("start")};`,
    reads: { x: inputs[of] },
    each: "m = Math.max(m, x);",
    result: "m",
  }));

/** Σ e^(x − m), with the maxima as stage 0. */
export const exponentials = <A>(rows: number, n: number, of = 0): Stage<A> =>
  perRow(rows, n, ({ inputs, stages: [m] }) => ({
    before: `let m = ${m.at("i")};\n  let sum = 0;`,
    reads: { x: inputs[of] },
    numbers: { top: TOP },
    each: `let v = x - m;${ordered("e", "v", "Math.exp(v)")}\n  sum += e;`,
    result: "sum",
  }));

const rowOf = (length: number, n: number): number => (n === 0 ? 0 : length / n);

export const softmaxGather: GpuForm<Shares> = {
  stages: ({ attrs: { n }, length }) => [maxima(rowOf(length, n), n), exponentials(rowOf(length, n), n)],
  // In a row with +∞ every share is NaN: m is ∞, and ∞ − ∞ is in the sum. In the limit the finite ones have 0.
  ...cellsOf(({ attrs: { n, limit = false }, inputs: [x], stages: [m, sum] }) => ({
    n,
    numbers: { ...(limit && { top: TOP }) },
    reads: { x },
    shared: `let m = ${m.at("r")};\n  let sum = ${sum.at("r")};`,
    text: `let y = Math.exp(x - m) / sum;${limit ? "\n  if (x <= top && m > top) {\n    y = 0;\n  }" : ""}`,
  })),
};

export const logSoftmaxGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [maxima(rowOf(length, n), n), exponentials(rowOf(length, n), n)],
  ...cellsOf(({ attrs: { n }, inputs: [x], stages: [m, sum] }) => ({
    n,
    reads: { x },
    numbers: { top: TOP },
    shared: `let m = ${m.at("r")};\n  let sum = ${sum.at("r")};${ordered("log", "sum", "Math.log(sum)")}`,
    text: "let y = x - m - log;",
  })),
};

export const logsumexpGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [maxima(length, n), exponentials(length, n)],
  gather: ({ stages: [m, sum] }) => ({
    numbers: { top: TOP },
    body: `  let sum = ${sum.at("i")};${ordered("log", "sum", "Math.log(sum)")}\n  return ${m.at("i")} + log;`,
  }),
};

export const softmaxBackwardGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [
    perRow(rowOf(length, n), n, ({ inputs: [g, y] }) => ({
      before: "let sum = 0;",
      reads: { g, p: y },
      each: "sum += g * p;",
      result: "sum",
    })),
  ],
  ...cellsOf(({ attrs: { n }, inputs: [g, y], stages: [along] }) => ({
    n,
    reads: { g, p: y },
    shared: `let along = ${along.at("r")};`,
    text: "let y = p * (g - along);",
  })),
};

export const logSoftmaxBackwardGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [
    perRow(rowOf(length, n), n, ({ inputs: [g] }) => ({
      before: "let sum = 0;",
      reads: { g },
      each: "sum += g;",
      result: "sum",
    })),
  ],
  ...cellsOf(({ attrs: { n }, inputs: [g, y], stages: [total] }) => ({
    n,
    reads: { g, l: y },
    shared: `let total = ${total.at("r")};`,
    numbers: { top: TOP },
    text: `${ordered("e", "l", "Math.exp(l)")}\n  let y = g - e * total;`,
  })),
};

/** The mean of each row of an input, or 0 where nothing is to be centred. */
const means = (rows: number, D: number, centre: boolean, of: number): Stage<NormAttrs> =>
  perRow(rows, D, ({ inputs }) => ({
    before: "let sum = 0;",
    reads: { x: inputs[of] },
    each: "sum += x;",
    result: centre ? "sum / n" : "0 * sum",
  }));

/** 1 / √(variance + eps), with the means of x as a stage. */
const scales = (rows: number, D: number, eps: number, of: number, meanAt: number): Stage<NormAttrs> =>
  perRow(rows, D, ({ inputs, stages }) => ({
    numbers: { eps },
    before: `let mean = ${stages[meanAt].at("i")};\n  let sum = 0;`,
    reads: { x: inputs[of] },
    each: "let v = x - mean;\n    sum += v * v;",
    result: "1 / Math.sqrt(sum / n + eps)",
  }));

export const normalizeGather: GpuForm<NormAttrs> = {
  stages: ({ attrs: { D, eps, centre }, length }) => [
    means(rowOf(length, D), D, centre, 0),
    scales(rowOf(length, D), D, eps, 0, 0),
  ],
  ...cellsOf(({ attrs: { D }, inputs: [x], stages: [mean, scale] }) => ({
    n: D,
    reads: { x },
    shared: `let mean = ${mean.at("r")};\n  let scale = ${scale.at("r")};`,
    text: "let y = (x - mean) * scale;",
  })),
};

export const normalizeBackwardGather: GpuForm<NormAttrs> = {
  stages({ attrs: { D, eps, centre }, length }) {
    const rows = rowOf(length, D);
    return [
      means(rows, D, centre, 1),
      means(rows, D, centre, 0),
      scales(rows, D, eps, 1, 0),
      perRow(rows, D, ({ inputs: [g, x], stages: [mean, , scale] }) => ({
        before: `let mean = ${mean.at("i")};\n  let scale = ${scale.at("i")};\n  let sum = 0;`,
        reads: { g, x },
        each: "sum += g * (x - mean);",
        result: "sum / n * scale * scale",
      })),
    ];
  },
  ...cellsOf(({ attrs: { D }, inputs: [g, x], stages: [meanX, meanG, scale, along] }) => ({
    n: D,
    reads: { g, x },
    shared: `let meanX = ${meanX.at("r")};
  let meanG = ${meanG.at("r")};
  let scale = ${scale.at("r")};
  let along = ${along.at("r")};`,
    text: "let y = (g - meanG - (x - meanX) * along) * scale;",
  })),
};
