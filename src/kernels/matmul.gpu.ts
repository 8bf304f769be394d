/**
 * Matrix products as gathers: the thread of y[m, n] walks along k.
 *
 * Where N is a multiple of four a thread makes four neighbouring columns. Per step of four along k it then reads one group of
 * a and four of b for sixteen products, 0.3 fetches each instead of 2.
 */
import type { Four, Gather, GpuForm, Source } from "../gpu/form.ts";
import { divide } from "./gather.gpu.ts";
import type { GroupedAttrs } from "./groupedMatmul.ts";
import type { MatmulAttrs } from "./matmul.ts";

/**
 * A broadcast batch as ⌊b / repeat⌋ mod count: all of one, each its own, and one broadcast dim within others. Null for what is
 * more than that, which is left to the loops.
 */
function batchRule(map: readonly number[]): { repeat: number; count: number } | null {
  const count = map.reduce((most, b) => Math.max(most, b), 0) + 1;
  const change = map.findIndex((b) => b !== map[0]);
  const repeat = change < 0 ? map.length || 1 : change;
  return map.every((b, i) => b === Math.floor(i / repeat) % count) ? { repeat, count } : null;
}

/** Declares `of`, the matrix of an input that a batch reads. */
const batchOf = (of: string): string =>
  `${divide(`${of}Turn`, `${of}Rest`, "batch", `${of}Repeat`)}${divide(`${of}Round`, of, `${of}Turn`, `${of}Count`)}`;

/** Declares m, the row of y that a thread is in, and where its row of a and its column of b begin: p and q. */
const startsOf = (batched: boolean): string =>
  batched
    ? `${divide("batch", "m", "r", "M")}${batchOf("batchA")}${batchOf("batchB")}
  let p = batchA * sizeA + m * rowA;
  let q = batchB * sizeB + n * columnB;`
    : `
  let p = r * rowA;
  let q = n * columnB;`;

/**
 * Declares `sum` = Σ a[p] · b[q] over so many steps of p by stepA and of q by stepB, in order. Four steps a turn: turning
 * costs as much as a step.
 */
const dotOf = (a: Source, b: Source, count: string): string => `
  let sum = 0;
  let whole = ${count} - 3;
  let rest = 0;
  for (let k = 0; k < whole; k += 4) {
    sum += ${a.at("p")} * ${b.at("q")};
    sum += ${a.at("p + stepA")} * ${b.at("q + stepB")};
    sum += ${a.at("p + 2 * stepA")} * ${b.at("q + 2 * stepB")};
    sum += ${a.at("p + 3 * stepA")} * ${b.at("q + 3 * stepB")};
    p += 4 * stepA;
    q += 4 * stepB;
    rest = k + 4;
  }
  for (let last = rest; last < ${count}; last += 1) {
    sum += ${a.at("p")} * ${b.at("q")};
    p += stepA;
    q += stepB;
  }`;

/** Four sums of a group of columns. */
const SUMS = `
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;`;
const RESULT = "  return [sum0, sum1, sum2, sum3];";

/** sum[j] += x · y[j] for each of four columns. */
const addRow = (x: string, y: Four): string => y.parts.map((part, j) => `sum${j} += ${x} * ${part};`).join(" ");

/**
 * Walks along k in fours: groups of a from p, and the rows k … k + 3 of b, groups of columns from q with `row` groups a row.
 */
const alongRows = (a: Source, b: Source): string => {
  const x = a.four("u", "p + k");
  const rows = [0, 1, 2, 3].map((j) => b.four(`v${"abcd"[j]}`, j === 0 ? "q" : `q + ${j === 1 ? "" : `${j} * `}row`));
  return `
  for (let k = 0; k < count; k += 1) {
    ${x.text}
    ${rows.map(({ text }, j) => `${text} ${addRow(x.parts[j], rows[j])}`).join("\n    ")}
    q += 4 * row;
  }`;
};

/**
 * The same where four neighbours of a along k are not: one number of a for each row of b, from `start` on to before `end`; p
 * and q are those of the start, and move by stepA and row. Four steps a turn: turning costs as much as a step.
 */
const alongColumn = (a: Source, b: Source, start = "0", end = "count"): string => {
  const rows = [0, 1, 2, 3].map((j) => b.four(`v${"abcd"[j]}`, j === 0 ? "q" : `q + ${j === 1 ? "" : `${j} * `}row`));
  const last = b.four("v", "q");
  const step = (y: Four, j: number): string => {
    const x = a.at(j === 0 ? "p" : `p + ${j === 1 ? "" : `${j} * `}stepA`);
    return `let u${j} = ${x}; ${y.text} ${addRow(`u${j}`, y)}`;
  };
  return `
  let whole = ${end} - 3;
  let rest = ${start};
  for (let k = ${start}; k < whole; k += 4) {
    ${rows.map(step).join("\n    ")}
    p += 4 * stepA;
    q += 4 * row;
    rest = k + 4;
  }
  for (let last = rest; last < ${end}; last += 1) {
    let u = ${a.at("p")};
    ${last.text} ${addRow("u", last)}
    p += stepA;
    q += row;
  }`;
};

/** Walks along k in fours: groups of a from p, and of four rows of b, each `row` groups after the last, from q. */
const alongBoth = (a: Source, b: Source): string => {
  const x = a.four("u", "p + k");
  const columns = [0, 1, 2, 3].map((j) =>
    b.four(`v${"abcd"[j]}`, j === 0 ? "q + k" : `q + ${j === 1 ? "" : `${j} * `}row + k`),
  );
  const add = ({ text, parts }: Four, j: number): string =>
    `${text} ${parts.map((part, at) => `sum${j} += ${x.parts[at]} * ${part};`).join(" ")}`;
  return `
  for (let k = 0; k < count; k += 1) {
    ${x.text}
    ${columns.map(add).join("\n    ")}
  }`;
};

/**
 * Error    products and sums are rounded to float32 at every step, in order of k: K · 2⁻²³ of Σ |a · b|
 */
export const matmulGather: GpuForm<MatmulAttrs> = {
  gather({ attrs, inputs: [a, b] }) {
    const { M, N, K, transposeA, transposeB, aOfBatch } = attrs;
    const batches = batchNumbers(attrs, M * K, K * N);
    if (batches === null) return null;
    // p and q start at the first element of a row of a and a column of b, and move by steps of their own along k.
    return {
      numbers: {
        ...{ N, K, ...batches },
        ...{ rowA: transposeA ? 1 : K, stepA: transposeA ? M : 1 },
        ...{ columnB: transposeB ? K : 1, stepB: transposeB ? 1 : N },
      },
      turns: K,
      body: `${divide("r", "n", "i", "N")}${startsOf(aOfBatch.length > 1)}
${dotOf(a, b, "K")}
  return sum;`,
    };
  },
  fours({ attrs, inputs: [a, b] }): Gather | null {
    const { M, N, K, transposeA, transposeB, aOfBatch } = attrs;
    const wholeA = !transposeA && K % 4 === 0;
    if (N % 4 !== 0 || (transposeB && !wholeA)) return null;
    const groups = wholeA ? 4 : 1;
    const batches = batchNumbers(attrs, (M * K) / groups, (K * N) / 4);
    if (batches === null) return null;
    const along = transposeB ? alongBoth : wholeA ? alongRows : alongColumn;
    return {
      numbers: {
        ...{ columns: N / 4, count: K / groups, ...batches },
        ...{ rowA: transposeA ? 1 : K / groups, ...(!wholeA && { stepA: transposeA ? M : 1 }) },
        ...{ columnB: transposeB ? K : 1, row: transposeB ? K / 4 : N / 4 },
      },
      turns: K / groups,
      body: `${divide("r", "n", "i", "columns")}${startsOf(aOfBatch.length > 1)}${SUMS}${along(a, b)}
${RESULT}`,
    };
  },
};

/** What startsOf needs where there is more than one batch. Sizes are those of the matrices, in what p and q count. */
function batchNumbers(
  { aOfBatch, bOfBatch, M }: MatmulAttrs,
  sizeA: number,
  sizeB: number,
): Record<string, number> | null {
  if (aOfBatch.length === 1) return {};
  const [a, b] = [batchRule(aOfBatch), batchRule(bOfBatch)];
  if (a === null || b === null) return null;
  const rules = { batchARepeat: a.repeat, batchACount: a.count, batchBRepeat: b.repeat, batchBCount: b.count };
  return { M, sizeA, sizeB, ...rules };
}

/**
 * Declares e, the group of row s: the number of groups that end at s or before; and `count`, how far to walk. A row of no
 * group takes no step.
 */
const groupOf = (offsets: Source, steps: string): string => `
  let e = 0;
  for (let j = 1; j < E + 1; j += 1) {
    if (${offsets.at("j")} <= s) {
      e += 1;
    }
  }
  let count = ${steps};
  if (e >= E) {
    count = 0;
    e = 0;
  }`;

/** Error    as matmul; a row does not depend on the others */
export const groupedMatmulGather: GpuForm<GroupedAttrs> = {
  gather({ attrs: { D, N, transposed }, inputs: [x, w, offsets] }) {
    const E = offsets.length - 1;
    return {
      numbers: { D, N, E, size: D * N, columnW: transposed ? D : 1, stepA: 1, stepB: transposed ? 1 : N },
      turns: Math.max(D, E),
      body: `${divide("s", "n", "i", "N")}${groupOf(offsets, "D")}
  let p = s * D;
  let q = e * size + n * columnW;${dotOf(x, w, "count")}
  return sum;`,
    };
  },
  fours({ attrs: { D, N, transposed }, inputs: [x, w, offsets] }): Gather | null {
    const whole = D % 4 === 0;
    if (N % 4 !== 0 || (transposed && !whole)) return null;
    const E = offsets.length - 1;
    const groups = whole ? 4 : 1;
    return {
      numbers: {
        ...{ E, columns: N / 4, steps: D / groups, size: (D * N) / 4, ...(!whole && { stepA: 1 }) },
        ...{ columnW: transposed ? D : 1, row: transposed ? D / 4 : N / 4 },
      },
      turns: Math.max(D / groups, E),
      body: `${divide("s", "n", "i", "columns")}${groupOf(offsets, "steps")}
  let p = s * steps;
  let q = e * size + n * columnW;${SUMS}${transposed ? alongBoth(x, w) : whole ? alongRows(x, w) : alongColumn(x, w)}
${RESULT}`,
    };
  },
  checked: [2],
  checksRange: true,
};

/** Error    as matmul, in order of s */
export const groupedOuterGather: GpuForm<{ D: number; N: number }> = {
  gather({ attrs: { D, N }, inputs: [x, g, offsets] }) {
    return {
      numbers: { D, N },
      turns: x.length / Math.max(1, D),
      body: `${divide("r", "n", "i", "N")}${divide("e", "d", "r", "D")}
  let end = ${offsets.at("e + 1")};
  let sum = 0;
  for (let s = ${offsets.at("e")}; s < end; s += 1) {
    sum += ${x.at("s * D + d")} * ${g.at("s * N + n")};
  }
  return sum;`,
    };
  },
  fours({ attrs: { D, N }, inputs: [x, g, offsets] }): Gather | null {
    if (N % 4 !== 0) return null;
    return {
      numbers: { stepA: D, row: N / 4 },
      turns: x.length / Math.max(1, D),
      body: `${divide("r", "n", "i", "row")}${divide("e", "d", "r", "stepA")}
  let start = ${offsets.at("e")};
  let end = ${offsets.at("e + 1")};
  let p = start * stepA + d;
  let q = start * row + n;${SUMS}${alongColumn(x, g, "start", "end")}
${RESULT}`,
    };
  },
};

/** y[s, :] = b[e, :], 0 beyond the groups. */
export const groupRowsGather: GpuForm<{ N: number }> = {
  gather({ attrs: { N }, inputs: [b, offsets] }) {
    const E = offsets.length - 1;
    return {
      numbers: { N, E },
      turns: E,
      body: `${divide("s", "n", "i", "N")}
  let e = 0;
  for (let j = 1; j < E + 1; j += 1) {
    if (${offsets.at("j")} <= s) {
      e += 1;
    }
  }
  let y = 0;
  if (e < E) {
    y = ${b.at("e * N + n")};
  }
  return y;`,
    };
  },
  fours({ attrs: { N }, inputs: [b, offsets] }): Gather | null {
    if (N % 4 !== 0) return null;
    const E = offsets.length - 1;
    const v = b.four("v", "e * columns + n");
    return {
      numbers: { columns: N / 4, E },
      turns: E,
      body: `${divide("s", "n", "i", "columns")}${groupOf(offsets, "1")}${SUMS}
  if (count > 0.5) {
    ${v.text} ${v.parts.map((part, j) => `sum${j} = ${part};`).join(" ")}
  }
${RESULT}`,
    };
  },
};

/** y[e, :] = Σ x[s, :], rounded to float32 at every step. */
export const groupSumsGather: GpuForm<{ N: number }> = {
  gather({ attrs: { N }, inputs: [x, offsets] }) {
    return {
      numbers: { N },
      turns: x.length / Math.max(1, N),
      body: `${divide("e", "n", "i", "N")}
  let end = ${offsets.at("e + 1")};
  let sum = 0;
  for (let s = ${offsets.at("e")}; s < end; s += 1) {
    sum += ${x.at("s * N + n")};
  }
  return sum;`,
    };
  },
};
