/**
 * What works row by row, as gathers: a stage for each number that a whole row shares, and then the cells.
 *
 * Error    float32 at every step: sums of n terms are off by n · 2⁻²⁴ of their size
 */
import type { GpuCall, GpuForm, Source, Stage } from "../gpu/form.ts";
import type { LossAttrs } from "./crossEntropy.ts";
import { divide } from "./gather.gpu.ts";
import type { NormAttrs } from "./norm.ts";
import type { Rows, Shares } from "./softmax.ts";

/** A stage of one number a row: `before`, a loop over the n elements with `at` as their index, and what it gives. */
function perRow<A>(
  rows: number,
  n: number,
  text: (call: GpuCall<A>) => { before: string; each: string; result: string; numbers?: Record<string, number> },
): Stage<A> {
  return {
    length: rows,
    gather(call) {
      const { before, each, result, numbers } = text(call);
      return {
        numbers: { n, ...numbers },
        turns: n,
        body: `
  let start = i * n;
  let end = start + n;
  ${before}
  for (let at = start; at < end; at += 1) {
    ${each}
  }
  return ${result};`,
      };
    },
  };
}

const maxima = <A>(rows: number, n: number, of = 0): Stage<A> =>
  perRow(rows, n, ({ inputs }) => ({
    before: `let m = ${inputs[of].at("start")};`,
    each: `m = Math.max(m, ${inputs[of].at("at")});`,
    result: "m",
  }));

/** Σ e^(x − m), with the maxima as stage 0. */
const exponentials = <A>(rows: number, n: number, of = 0): Stage<A> =>
  perRow(rows, n, ({ inputs, stages: [m] }) => ({
    before: `let m = ${m.at("i")};\n  let sum = 0;`,
    each: `sum += Math.exp(${inputs[of].at("at")} - m);`,
    result: "sum",
  }));

const rowOf = (length: number, n: number): number => (n === 0 ? 0 : length / n);

export const softmaxGather: GpuForm<Shares> = {
  stages: ({ attrs: { n }, length }) => [maxima(rowOf(length, n), n), exponentials(rowOf(length, n), n)],
  // In a row with +∞ every share is NaN: m is ∞, and ∞ − ∞ is in the sum. In the limit the finite ones have 0.
  gather: ({ attrs: { n, limit = false }, inputs: [x], stages: [m, sum] }) => ({
    numbers: { n, ...(limit && { top: 3.4028234663852886e38 }) },
    body: `${divide("r", "c", "i", "n")}
  let v = ${x.at("i")};
  let y = Math.exp(v - ${m.at("r")}) / ${sum.at("r")};${
    limit
      ? `
  if (v <= top && ${m.at("r")} > top) {
    y = 0;
  }`
      : ""
  }
  return y;`,
  }),
};

export const logSoftmaxGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [maxima(rowOf(length, n), n), exponentials(rowOf(length, n), n)],
  gather: ({ attrs: { n }, inputs: [x], stages: [m, sum] }) => ({
    numbers: { n },
    body: `${divide("r", "c", "i", "n")}
  return ${x.at("i")} - ${m.at("r")} - Math.log(${sum.at("r")});`,
  }),
};

export const logsumexpGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [maxima(length, n), exponentials(length, n)],
  gather: ({ stages: [m, sum] }) => ({ body: `  return ${m.at("i")} + Math.log(${sum.at("i")});` }),
};

export const softmaxBackwardGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [
    perRow(rowOf(length, n), n, ({ inputs: [g, y] }) => ({
      before: "let sum = 0;",
      each: `sum += ${g.at("at")} * ${y.at("at")};`,
      result: "sum",
    })),
  ],
  gather: ({ attrs: { n }, inputs: [g, y], stages: [along] }) => ({
    numbers: { n },
    body: `${divide("r", "c", "i", "n")}
  return ${y.at("i")} * (${g.at("i")} - ${along.at("r")});`,
  }),
};

export const logSoftmaxBackwardGather: GpuForm<Rows> = {
  stages: ({ attrs: { n }, length }) => [
    perRow(rowOf(length, n), n, ({ inputs: [g] }) => ({
      before: "let sum = 0;",
      each: `sum += ${g.at("at")};`,
      result: "sum",
    })),
  ],
  gather: ({ attrs: { n }, inputs: [g, y], stages: [total] }) => ({
    numbers: { n },
    body: `${divide("r", "c", "i", "n")}
  return ${g.at("i")} - Math.exp(${y.at("i")}) * ${total.at("r")};`,
  }),
};

/** The mean of each row of an input, or 0 where nothing is to be centred. */
const means = (rows: number, D: number, centre: boolean, of: number): Stage<NormAttrs> =>
  perRow(rows, D, ({ inputs }) => ({
    before: "let sum = 0;",
    each: `sum += ${inputs[of].at("at")};`,
    result: centre ? "sum / n" : "0 * sum",
  }));

/** 1 / √(variance + eps), with the means of x as a stage. */
const scales = (rows: number, D: number, eps: number, of: number, meanAt: number): Stage<NormAttrs> =>
  perRow(rows, D, ({ inputs, stages }) => ({
    numbers: { eps },
    before: `let mean = ${stages[meanAt].at("i")};\n  let sum = 0;`,
    each: `let v = ${inputs[of].at("at")} - mean;\n    sum += v * v;`,
    result: "1 / Math.sqrt(sum / n + eps)",
  }));

export const normalizeGather: GpuForm<NormAttrs> = {
  stages: ({ attrs: { D, eps, centre }, length }) => [
    means(rowOf(length, D), D, centre, 0),
    scales(rowOf(length, D), D, eps, 0, 0),
  ],
  gather: ({ attrs: { D }, inputs: [x], stages: [mean, scale] }) => ({
    numbers: { D },
    body: `${divide("r", "c", "i", "D")}
  return (${x.at("i")} - ${mean.at("r")}) * ${scale.at("r")};`,
  }),
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
        each: `sum += ${g.at("at")} * (${x.at("at")} - mean);`,
        result: "sum / n * scale * scale",
      })),
    ];
  },
  gather: ({ attrs: { D }, inputs: [g, x], stages: [meanX, meanG, scale, along] }) => ({
    numbers: { D },
    body: `${divide("r", "c", "i", "D")}
  let v = ${x.at("i")} - ${meanX.at("r")};
  return (${g.at("i")} - ${meanG.at("r")} - v * ${along.at("r")}) * ${scale.at("r")};`,
  }),
};

/** Whether a row counts, and its target. */
const target = (of: Source, row: string): string => `let t = ${of.at(row)};`;

export const crossEntropyGather: GpuForm<LossAttrs> = {
  stages: ({ attrs: { C }, length }) => [maxima(length, C), exponentials(length, C)],
  // With smoothing, a sum of all logits is needed too.
  gather({ attrs: { C, ignoreIndex, smoothing }, inputs: [x, targets], stages: [m, sum] }) {
    const total = `
    let total = 0;
    for (let c = 0; c < C; c += 1) {
      total += ${x.at("i * C + c")};
    }
    loss = lse - (1 - smoothing) * ${x.at("i * C + t")} - smoothing * total / C;`;
    return {
      numbers: { C, ignoreIndex, ...(smoothing > 0 && { smoothing }) },
      turns: C,
      body: `
  ${target(targets, "i")}
  let loss = 0;
  if (t < ignoreIndex || t > ignoreIndex) {
    let lse = ${m.at("i")} + Math.log(${sum.at("i")});${smoothing > 0 ? total : `\n    loss = lse - ${x.at("i * C + t")};`}
  }
  return loss;`,
    };
  },
  checked: [1],
  checksRange: true,
};

/** Error    at the target the difference p − q is one of float32 numbers: off by 2⁻²³ · |g| */
export const crossEntropyBackwardGather: GpuForm<LossAttrs> = {
  stages: ({ attrs: { C }, inputs: [g] }) => [maxima(g.length, C, 1), exponentials(g.length, C, 1)],
  gather: ({ attrs: { C, ignoreIndex, smoothing }, inputs: [g, x, targets], stages: [m, sum] }) => ({
    numbers: { C, ignoreIndex, hot: 1 - smoothing, floor: smoothing / C },
    body: `${divide("r", "c", "i", "C")}
  ${target(targets, "r")}
  let y = 0;
  if (t < ignoreIndex || t > ignoreIndex) {
    let q = floor;
    if (t === c) {
      q += hot;
    }
    y = ${g.at("r")} * (Math.exp(${x.at("i")} - ${m.at("r")}) / ${sum.at("r")} - q);
  }
  return y;`,
  }),
};
