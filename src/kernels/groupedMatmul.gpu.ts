/** Products of groups of rows as gathers: the thread of a cell finds its group by the offsets. */
import type { Gather, GpuForm, Source } from "../gpu/form.ts";
import { divide, FOUR_RESULT, fourCells, toFour } from "./gather.gpu.ts";
import type { GroupedAttrs } from "./groupedMatmul.ts";
import { addRow, alongBoth, alongColumn, alongRows, dotOf, inColumns } from "./matmul.gpu.ts";

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
  let q = e * size + n * columnW;${fourCells()}${transposed ? alongBoth(x, w) : whole ? alongRows(x, w) : alongColumn(x, w)}
${FOUR_RESULT}`,
    };
  },
  checked: [2],
  checksRange: true,
};

/** Error    as matmul, in order of s */
export const groupedOuterGather: GpuForm<{ D: number; N: number }> = {
  // In columns of x, four neighbours are four steps of the sum.
  stages: ({ attrs: { D, N }, inputs: [x] }) => (N % 4 === 0 && x.length > 0 ? [inColumns(0, x.length / D, D)] : []),
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
  fours({ attrs: { D, N }, inputs: [x, g, offsets], stages: [columns] }): Gather | null {
    if (columns === undefined) return null;
    const u = columns.four("u", "p + t");
    const v = columns.four("v", "p + part");
    const row = (name: string, s: string) => g.four(name, `(${s}) * row + n`);
    const whole = [0, 1, 2, 3].map((j) => {
      const y = row(`u${"abcd"[j]}`, `4 * t + ${j}`);
      return `${y.text} ${addRow(u.parts[j], y)}`;
    });
    const some = [0, 1, 2, 3].map((j) => {
      const y = row(`v${"abcd"[j]}`, `s + ${j}`);
      return `if (s + ${j} >= low && s + ${j} < high) {\n      ${y.text} ${addRow(v.parts[j], y)}\n    }`;
    });
    const quarters = Math.ceil(x.length / D / 4);
    return {
      numbers: { D, row: N / 4, quarters },
      turns: quarters,
      body: `${divide("r", "n", "i", "row")}${divide("e", "d", "r", "D")}
  let start = ${offsets.at("e")};
  let end = ${offsets.at("e + 1")};
  let p = d * quarters;${fourCells()}
  let first = Math.floor((start + 3) / 4);
  let last = Math.floor(end / 4);
  for (let t = first; t < last; t += 1) {
    ${u.text}
    ${whole.join("\n    ")}
  }
  // The groups of four that only begin or end within the rows.
  for (let side = 0; side < 2; side += 1) {
    let low = start;
    let high = Math.min(end, 4 * first);
    if (side > 0) {
      low = 4 * Math.max(first, last);
      high = end;
    }
    let part = Math.floor(low / 4);
    let s = 4 * part;
    if (low < high) {
      ${v.text}
      ${some.join("\n    ")}
    }
  }
${FOUR_RESULT}`,
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
      body: `${divide("s", "n", "i", "columns")}${groupOf(offsets, "1")}${fourCells()}
  if (count > 0.5) {
    ${v.text} ${toFour(v.parts, "=")}
  }
${FOUR_RESULT}`,
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
