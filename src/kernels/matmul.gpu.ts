/**
 * Matrix products as gathers: the thread of y[m, n] walks along k.
 *
 * Where N is a multiple of four a thread makes four neighbouring columns. Per step of four along k it then reads one group of
 * a and four of b for sixteen products, 0.3 fetches each instead of 2.
 */
import type { Four, Gather, GpuForm, Source, Stage } from "../gpu/form.ts";
import { divide, FOUR_RESULT, fourCells, toFour } from "./gather.gpu.ts";
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
export const dotOf = (a: Source, b: Source, count: string): string => `
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

/** y[j] += x · v[j] for each of four columns. */
export const addRow = (x: string, v: Four): string => toFour(v.parts, "+=", `${x} * `);

/**
 * Walks along k in fours: groups of a from p, and the rows k … k + 3 of b, groups of columns from q with `row` groups a row.
 */
export const alongRows = (a: Source, b: Source): string => {
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
export const alongColumn = (a: Source, b: Source, start = "0", end = "count"): string => {
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
export const alongBoth = (a: Source, b: Source): string => {
  const x = a.four("u", "p + k");
  const columns = [0, 1, 2, 3].map((j) =>
    b.four(`v${"abcd"[j]}`, j === 0 ? "q + k" : `q + ${j === 1 ? "" : `${j} * `}row + k`),
  );
  const add = ({ text, parts }: Four, j: number): string =>
    `${text} ${parts.map((part, at) => `y${j} += ${x.parts[at]} * ${part};`).join(" ")}`;
  return `
  for (let k = 0; k < count; k += 1) {
    ${x.text}
    ${columns.map(add).join("\n    ")}
  }`;
};

/**
 * A stage: matrices [rows, columns] with four neighbours of a column in a group, ⌈rows / 4⌉ of them, zeros behind the last row.
 * For a product along the rows, which then reads groups of both sides.
 */
export function inColumns<A>(of: number, rows: number, columns: number, count = 1): Stage<A> {
  const groups = Math.ceil(rows / 4);
  return {
    length: 4 * groups * columns * count,
    fours: true,
    gather({ inputs }) {
      const x = inputs[of];
      const inFours = x.fours === true && columns % 4 === 0;
      const reads = [0, 1, 2, 3].map((j) => {
        const row = `(matrix * rows + ${j === 0 ? "first" : `first + ${j}`})`;
        if (!inFours) return `y${j} = ${x.at(`${row} * columns + c`)};`;
        const { text, parts } = x.four(`v${"abcd"[j]}`, `${row} * width + at`);
        return `${text} y${j} = part < 0.5 ? ${parts[0]} : (part < 1.5 ? ${parts[1]} : (part < 2.5 ? ${parts[2]} : ${parts[3]}));`;
      });
      return {
        numbers: { rows, columns, groups, ...(inFours && { width: columns / 4 }) },
        body: `${divide("r", "group", "i", "groups")}${divide("matrix", "c", "r", "columns")}
  let first = 4 * group;
  ${inFours ? `let at = Math.floor((c + 0.5) / 4);\n  let part = c - 4 * at;` : ""}${fourCells()}
  ${reads.map((read, j) => `if (first + ${j} < rows) {\n    ${read}\n  }`).join("\n  ")}
${FOUR_RESULT}`,
      };
    },
  };
}

/** Whether a is better turned round first: the products of a column of it with four columns of b are many. */
const turnsA = ({ N, K, transposeA, transposeB }: MatmulAttrs): boolean =>
  transposeA && !transposeB && K % 4 === 0 && N % 4 === 0 && N >= MIN_COLUMNS;

/** Fewer columns do not pay for turning the other side round. */
export const MIN_COLUMNS = 32;

/**
 * Error    products and sums are rounded to float32 at every step, in order of k: K · 2⁻²³ of Σ |a · b|
 */
export const matmulGather: GpuForm<MatmulAttrs> = {
  stages: ({ attrs, inputs: [a] }) =>
    turnsA(attrs) ? [inColumns(0, attrs.K, attrs.M, a.length / Math.max(1, attrs.K * attrs.M))] : [],
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
  fours({ attrs, inputs: [given, b], stages: [turned] }): Gather | null {
    const { M, N, K, transposeB, aOfBatch } = attrs;
    const a = turned ?? given;
    const transposeA = attrs.transposeA && turned === undefined;
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
      body: `${divide("r", "n", "i", "columns")}${startsOf(aOfBatch.length > 1)}${fourCells()}${along(a, b)}
${FOUR_RESULT}`,
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
