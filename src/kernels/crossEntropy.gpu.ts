/** Cross entropy as gathers: two numbers a row, and then the cells. */
import { rangeError } from "../errors.ts";
import type { GpuForm, Source } from "../gpu/form.ts";
import type { LossAttrs } from "./crossEntropy.ts";
import { divide, ordered, TOP } from "./gather.gpu.ts";
import { cellsOf, exponentials, maxima } from "./softmax.gpu.ts";

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
      numbers: { C, ignoreIndex, top: TOP, ...(smoothing > 0 && { smoothing }) },
      turns: C,
      body: `
  ${target(targets, "i")}
  let loss = 0;
  if (t < ignoreIndex || t > ignoreIndex) {
    let sum = ${sum.at("i")};${ordered("log", "sum", "Math.log(sum)")}
    let lse = ${m.at("i")} + log;${smoothing > 0 ? total : `\n    loss = lse - ${x.at("i * C + t")};`}
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
  ...cellsOf(({ attrs: { C, ignoreIndex, smoothing }, inputs: [g, x, targets], stages: [m, sum] }) => ({
    n: C,
    numbers: { ignoreIndex, hot: 1 - smoothing, floor: smoothing / C },
    reads: { x },
    shared: `${target(targets, "r")}
  let m = ${m.at("r")};
  let sum = ${sum.at("r")};
  let own = ${g.at("r")};`,
    text: `let y = 0;
  if (t < ignoreIndex || t > ignoreIndex) {
    let q = floor;
    if (t === c) {
      q += hot;
    }
    y = own * (Math.exp(x - m) / sum - q);
  }`,
  })),
};

/** q of nllLoss: smoothing / C everywhere, the rest at the target, 0 in rows to ignore. */
export const targetsGather: GpuForm<LossAttrs> = {
  gather: ({ attrs: { C, ignoreIndex, smoothing }, inputs: [targets] }) => ({
    numbers: { C, ignoreIndex, hot: 1 - smoothing, floor: smoothing / C },
    body: `${divide("r", "c", "i", "C")}
  ${target(targets, "r")}
  let y = floor;
  if (t === c) {
    y += hot;
  }
  if (t === ignoreIndex) {
    y = 0;
  }
  return y;`,
  }),
  checked: [0],
  checksRange: true,
};

/** How many rows count, in √N partial counts; a mean over none is an error for whoever reads it. */
export const countGather: GpuForm<{ readonly op: string; readonly ignoreIndex: number }> = {
  stages({ inputs: [targets] }) {
    const n = targets.length;
    const block = Math.ceil(Math.sqrt(n));
    return [
      {
        length: Math.ceil(n / block),
        gather: ({ attrs: { ignoreIndex }, inputs: [from] }) => ({
          numbers: { n, block, ignoreIndex },
          turns: block,
          body: `
  let end = Math.min(n, (i + 1) * block);
  let count = 0;
  for (let at = i * block; at < end; at += 1) {
    ${target(from, "at")}
    if (t < ignoreIndex || t > ignoreIndex) {
      count += 1;
    }
  }
  return count;`,
        }),
      },
    ];
  },
  gather: ({ stages: [counts] }) => ({
    numbers: { n: counts.length },
    turns: counts.length,
    body: `
  let count = 0;
  for (let k = 0; k < n; k += 1) {
    count += ${counts.at("k")};
  }
  return count;`,
  }),
  checked: [],
  doubt: ({ attrs: { op } }) => ({
    length: 1,
    error: () => rangeError(op, "target", "no row that counts", "at least one for a mean", 'or reduction: "sum"'),
    gather: ({ stages: [count] }) => ({ body: `  return ${count.at("0")} < 0.5 ? 1 : 0;` }),
  }),
};
