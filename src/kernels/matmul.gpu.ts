/** Matrix products as gathers: the thread of y[m, n] walks along k. */
import type { GpuForm, Source } from "../gpu/form.ts";
import { divide } from "./gather.gpu.ts";
import type { GroupedAttrs } from "./groupedMatmul.ts";
import type { MatmulAttrs } from "./matmul.ts";

/** Batches that a text can name: all of one, or each its own. Others are left to the loops. */
function batchStep(map: readonly number[]): number | null {
  if (map.every((b) => b === 0)) return 0;
  return map.every((b, i) => b === i) ? 1 : null;
}

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

/**
 * Error    products and sums are rounded to float32 at every step, in order of k: K · 2⁻²³ of Σ |a · b|
 */
export const matmulGather: GpuForm<MatmulAttrs> = {
  gather({ attrs: { M, N, K, transposeA, transposeB, aOfBatch, bOfBatch }, inputs: [a, b] }) {
    const [stepA, stepB] = [batchStep(aOfBatch), batchStep(bOfBatch)];
    if (stepA === null || stepB === null) return null;
    // p and q start at the first element of a row of a and a column of b, and move by steps of their own along k.
    return {
      numbers: {
        ...{ M, N, K, batchA: stepA * M * K, batchB: stepB * K * N },
        ...{ rowA: transposeA ? 1 : K, stepA: transposeA ? M : 1 },
        ...{ columnB: transposeB ? K : 1, stepB: transposeB ? 1 : N },
      },
      turns: K,
      body: `${divide("r", "n", "i", "N")}${divide("batch", "m", "r", "M")}
  let p = batch * batchA + m * rowA;
  let q = batch * batchB + n * columnB;
${dotOf(a, b, "K")}
  return sum;`,
    };
  },
};

/** Error    as matmul; a row does not depend on the others */
export const groupedMatmulGather: GpuForm<GroupedAttrs> = {
  gather({ attrs: { D, N, transposed }, inputs: [x, w, offsets] }) {
    const E = offsets.length - 1;
    return {
      numbers: { D, N, E, size: D * N, columnW: transposed ? D : 1, stepA: 1, stepB: transposed ? 1 : N },
      turns: Math.max(D, E),
      // The group of row s is the number of groups that end at s or before.
      body: `${divide("s", "n", "i", "N")}
  let e = 0;
  for (let j = 1; j < E + 1; j += 1) {
    if (${offsets.at("j")} <= s) {
      e += 1;
    }
  }
  // A row of no group takes no step.
  let count = D;
  if (e >= E) {
    count = 0;
    e = 0;
  }
  let p = s * D;
  let q = e * size + n * columnW;${dotOf(x, w, "count")}
  return sum;`,
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
