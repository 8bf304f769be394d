/** Movement, joining, and gathers and scatter-adds by index: all as gathers. */
import type { Gather, GpuCall, GpuForm, Range, Source } from "../gpu/form.ts";
import { divide, FOUR_RESULT, fourCells, overAll, strided, toFour } from "./gather.gpu.ts";
import type { Span } from "./reduce.ts";

type Ranges = readonly (Range | null)[];
const same = (_: unknown, [r]: Ranges): Range | null => r && [r[0], r[1]];

interface Strided {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

export const stridedGather: GpuForm<Strided> = {
  gather({ attrs: { shape, strides, offset }, inputs: [x] }) {
    const { text, numbers } = strided("p", "u", shape, strides, offset);
    return { numbers, body: `${text}\n  return ${x.at("u")};` };
  },
  fours({ attrs: { shape, strides, offset }, inputs: [x] }) {
    const last = shape.length - 1;
    const width = shape[last] ?? 1;
    const groups = [...strides.slice(0, -1), offset].map((step) => step / 4);
    if (!x.fours || strides[last] !== 1 || width % 4 !== 0 || !groups.every(Number.isInteger)) return null;
    const steps = [...groups.slice(0, -1), 1];
    const { text, numbers } = strided("p", "u", [...shape.slice(0, -1), width / 4], steps, offset / 4);
    const v = x.four("v", "u");
    return { numbers, body: `${text}\n  ${v.text}\n  return [${v.parts.join(", ")}];` };
  },
  // Where no element is read twice, what bounds their sum still does; integers that may be negative have none.
  range: ({ attrs: { shape, strides } }, [r]) =>
    r === null ? null : strides.some((s, d) => s === 0 && shape[d] > 1) ? [r[0], r[1]] : r,
};

interface IndexAttrs extends Span {
  readonly M: number;
}

/**
 * An index that is not there gives NaN on the device, not the number of another cell. It cannot come from a tensor whose
 * values were checked.
 */
const picked = (x: Source, j: string, at: string): string => `
  let y = none;
  if (${j} >= 0 && ${j} < n) {
    y = ${x.at(at)};
  }
  return y;`;

export const indexSelectGather: GpuForm<IndexAttrs> = {
  gather: ({ attrs: { n, inner, M }, inputs: [x, index] }) => ({
    numbers: { n, inner, M, none: Number.NaN },
    body: `${divide("q", "c", "i", "inner")}${divide("o", "m", "q", "M")}
  let j = ${index.at("m")};${picked(x, "j", "(o * n + j) * inner + c")}`,
  }),
  fours: selectedFours,
  checked: [1],
  checksRange: true,
  range: same,
};

/** Rows of a multiple of four, whole groups at a time. */
function selectedFours({ attrs: { n, inner, M }, inputs: [x, index] }: GpuCall<IndexAttrs>): Gather | null {
  if (inner % 4 !== 0) return null;
  const v = x.four("v", "(o * n + j) * groups + c");
  return {
    numbers: { n, groups: inner / 4, M, none: Number.NaN },
    body: `${divide("q", "c", "i", "groups")}${divide("o", "m", "q", "M")}
  let j = ${index.at("m")};${fourCells("none")}
  if (j >= 0 && j < n) {
    ${v.text} ${toFour(v.parts, "=")}
  }
${FOUR_RESULT}`,
  };
}

export const gatherGather: GpuForm<IndexAttrs> = {
  gather: ({ attrs: { n, inner, M }, inputs: [x, index] }) => ({
    numbers: { n, inner, size: M * inner, none: Number.NaN },
    body: `${divide("o", "rest", "i", "size")}${divide("m", "c", "rest", "inner")}
  let j = ${index.at("i")};${picked(x, "j", "(o * n + j) * inner + c")}`,
  }),
  checked: [1],
  checksRange: true,
  range: same,
};

/** Bounds of x + Σ of at most M terms. */
const sums = (x: Range | null, term: Range | null, M: number): Range | null =>
  x && term && [x[0] + Math.min(0, M * term[0]), x[1] + Math.max(0, M * term[1])];

/** Each cell looks through the whole index: M reads, in order of m. `x`: what the sum is added to. */
function rowSums({ n, inner, M }: IndexAttrs, src: Source, index: Source, x: Source | null): Gather {
  const all = overAll(index, (value, m) => `if (${value} === row) { sum += ${src.at(`(o * M + ${m}) * inner + c`)}; }`);
  return {
    numbers: { ...all.numbers, n, inner, M },
    turns: all.turns ?? 1,
    body: `${divide("q", "c", "i", "inner")}${divide("o", "row", "q", "n")}
  let sum = 0;${all.body}
  return sum${x === null ? "" : ` + ${x.at("i")}`};`,
  };
}

/** The same for four neighbours: of a row, or, where rows have one element, of four rows. */
function rowSumsOfFour(attrs: IndexAttrs, src: Source, index: Source, x: Source | null): Gather | null {
  const { n, inner, M } = attrs;
  if (inner !== 1 && inner % 4 !== 0) return null;
  const from = x === null ? null : x.four("w", "i");
  const all = inner === 1 ? elementsOfFour(src, index) : groupsOfFour(src, index);
  if (inner === 1 && n % 4 !== 0) return null;
  const size = inner === 1 ? { rows: n / 4 } : { n, groups: inner / 4 };
  const place =
    inner === 1 ? divide("o", "row", "i", "rows") : `${divide("q", "c", "i", "groups")}${divide("o", "row", "q", "n")}`;
  return {
    numbers: { ...all.numbers, ...size, M },
    turns: all.turns ?? 1,
    body: `${place}${fourCells()}${all.body}
  ${from?.text ?? ""}
  return [${[0, 1, 2, 3].map((j) => (from === null ? `y${j}` : `y${j} + ${from.parts[j]}`)).join(", ")}];`,
  };
}

/** Adds src[m, 4c … 4c + 3] where the index says so. */
const groupsOfFour = (src: Source, index: Source) =>
  overAll(index, (value, m, letter) => {
    const v = src.four(`u${letter}`, `(o * M + ${m}) * groups + c`);
    return `if (${value} === row) {
      ${v.text} ${toFour(v.parts, "+=")}
    }`;
  });

/** Adds src[m] to the row of four that the index names, if any. */
const elementsOfFour = (src: Source, index: Source) =>
  overAll(index, (value, m, letter) => {
    const at = `at${letter}`;
    return `let ${at} = ${value} - 4 * row;
    if (${at} >= 0 && ${at} < 4) {
      let s${at} = ${src.at(`o * M + ${m}`)};
      ${[0, 1, 2, 3].map((j) => `if (${at} === ${j}) { y${j} += s${at}; }`).join(" ")}
    }`;
  });

export const indexAddGather: GpuForm<IndexAttrs> = {
  gather: ({ attrs, inputs: [src, index] }) => rowSums(attrs, src, index, null),
  fours: ({ attrs, inputs: [src, index] }) => rowSumsOfFour(attrs, src, index, null),
  checked: [1],
  checksRange: true,
  range: ({ attrs: { M } }, [src]) => sums([0, 0], src, M),
};

export const indexAddToGather: GpuForm<IndexAttrs> = {
  gather: ({ attrs, inputs: [x, src, index] }) => rowSums(attrs, src, index, x),
  fours: ({ attrs, inputs: [x, src, index] }) => rowSumsOfFour(attrs, src, index, x),
  checked: [2],
  checksRange: true,
  range: ({ attrs: { M } }, [x, src]) => sums(x, src, M),
};

export const scatterAddGather: GpuForm<IndexAttrs> = {
  gather: ({ attrs: { n, inner, M }, inputs: [src, index] }) => ({
    numbers: { n, inner, M },
    turns: M,
    body: `${divide("q", "c", "i", "inner")}${divide("o", "row", "q", "n")}
  let sum = 0;
  for (let m = 0; m < M; m += 1) {
    let at = (o * M + m) * inner + c;
    if (${index.at("at")} === row) {
      sum += ${src.at("at")};
    }
  }
  return sum;`,
  }),
  checked: [1],
  checksRange: true,
  range: ({ attrs: { M } }, [src]) => sums([0, 0], src, M),
};

export const oneHotGather: GpuForm<{ classes: number }> = {
  gather: ({ attrs: { classes }, inputs: [index] }) => ({
    numbers: { classes },
    body: `${divide("r", "c", "i", "classes")}
  return ${index.at("r")} === c ? 1 : 0;`,
  }),
  checked: [0],
  checksRange: true,
  range: () => [0, 1],
};

/** Cells start, start + stride, … of each dim; the others are 0. Where steps go backwards, the last cell is the first one. */
export const placeGather: GpuForm<Strided> = {
  gather({ attrs: { shape, strides, offset }, inputs: [g], dtype }) {
    if (dtype === "int32" || strides.some((s) => s === 0)) return null;
    const numbers: Record<string, number> = { offset };
    const dims = shape.map((n, d) => {
      const back = strides[d] < 0;
      if (back) numbers.offset += (n - 1) * strides[d];
      const name = { n: `n${d}`, step: `s${d}`, first: `f${d}`, sign: `t${d}` };
      numbers[name.n] = n;
      numbers[name.step] = Math.abs(strides[d]);
      numbers[name.first] = back ? n - 1 : 0;
      numbers[name.sign] = back ? -1 : 1;
      // Strides fall from dim to dim, so what the outer ones leave over is the inner ones'.
      return `${divide(`q${d}`, `r${d}`, d === 0 ? "rest" : `r${d - 1}`, name.step)}
  if (q${d} >= ${name.n}) {
    inside = 0;
  }
  at = at * ${name.n} + ${name.first} + ${name.sign} * q${d};`;
    });
    const last = shape.length === 0 ? "rest" : `r${shape.length - 1}`;
    return {
      numbers,
      body: `
  let inside = 1;
  let at = 0;
  let rest = i - offset;
  if (rest < 0) {
    inside = 0;
    rest = 0;
  }${dims.join("")}
  let y = 0;
  if (inside > 0.5 && ${last} < 0.5) {
    y = ${g.at("at")};
  }
  return y;`,
    };
  },
};

/** Blocks side by side: a cell is of the input whose range along the dim holds it. */
export const concatGather: GpuForm<{ readonly spans: readonly Span[] }> = {
  gather({ attrs: { spans }, inputs }) {
    const numbers: Record<string, number> = { width: spans.reduce((sum, { n, inner }) => sum + n * inner, 0) };
    let start = 0;
    const blocks = inputs.map((x, j) => {
      const size = spans[j].n * spans[j].inner;
      Object.assign(numbers, { [`start${j}`]: start, [`size${j}`]: size });
      start += size;
      // A block without elements is nobody's.
      if (size === 0) return "";
      return `
  if (c >= start${j} && c < start${j} + size${j}) {
    y = ${x.at(`o * size${j} + c - start${j}`)};
  }`;
    });
    return {
      numbers,
      body: `${divide("o", "c", "i", "width")}
  let y = 0;${blocks.join("")}
  return y;`,
    };
  },
  range: (_, ranges) => ranges.reduce((a, b) => a && b && [Math.min(a[0], b[0]), Math.max(a[1], b[1])]),
};
