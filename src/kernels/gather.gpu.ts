/**
 * What the texts of GPU forms are made of.
 *
 * Numbers on the device are float32, integers too, which it holds exactly up to 2²⁴. Names that a helper declares carry the
 * name that it was given, since a text declares every name once.
 */
import type { Gather, Source } from "../gpu/form.ts";

/** The greatest finite number. A literal of it would be cut short, so texts get it as `top`. */
export const TOP = 3.4028234663852886e38;

/**
 * Declares y = f, a text in v, and NaN where v is one, which a GPU's own functions make a number of in silence. A NaN is
 * neither at most the greatest number nor at least its negative; `top` has to be among the numbers of the text.
 */
export const ordered = (y: string, v: string, f: string): string => `
  let ${y} = ${v};
  if (${v} <= top || ${v} >= -top) {
    ${y} = ${f};
  }`;

/** Declares the four cells that a thread makes. `from` is what they start with. */
export const fourCells = (from = "0"): string => [0, 1, 2, 3].map((j) => `\n  let y${j} = ${from};`).join("");

/** What a thread of four cells ends with. */
export const FOUR_RESULT = "  return [y0, y1, y2, y3];";

/** A statement for each of four numbers, such as y2 += v[2]. `by` is a factor in front. */
export const toFour = (parts: readonly string[], operator: "=" | "+=", by = ""): string =>
  parts.map((part, j) => `y${j} ${operator} ${by}${part};`).join(" ");

/** A text once for each of four cells: what it declares, and what `parts` names, has another name in each. */
export function eachOfFour(text: string, parts: (cell: number) => Readonly<Record<string, string>>): string[] {
  const declared = [...text.matchAll(/\blet (\w+)/g)].map(([, name]) => name);
  return [0, 1, 2, 3].map((cell) => {
    const names: Record<string, string> = { ...parts(cell) };
    for (const name of declared) names[name] = `${name}_${cell}`;
    return text.replace(/(?<!Math\.)\b[A-Za-z]\w*\b/g, (word) => (Object.hasOwn(names, word) ? names[word] : word));
  });
}

/**
 * Declares q = ⌊a / n⌋ and r = a − q · n for integers a ≥ 0 and n ≥ 1. The quotient of two floats may be off by a rounding,
 * and the drivers' division by more, so it is put right by the remainder, which is exact.
 */
export const divide = (q: string, r: string, a: string, n: string): string => `
  let ${q} = Math.floor((${a} + 0.5) / ${n});
  let ${r} = ${a} - ${q} * ${n};
  if (${r} < 0) {
    ${q} -= 1;
    ${r} += ${n};
  }
  if (${r} >= ${n}) {
    ${q} += 1;
    ${r} -= ${n};
  }`;

/**
 * A loop over all elements of an array: `step` is the text for one, of its value, its flat index, and a letter that
 * names it among those of one turn. Four a turn, and a fetch, where their number allows it.
 */
export function overAll(
  x: Source,
  step: (value: string, index: string, letter: string) => string,
): Pick<Gather, "body" | "turns"> & {
  readonly numbers: { readonly length: number };
} {
  const inFours = x.length % 4 === 0;
  const length = inFours ? x.length / 4 : x.length;
  const four = inFours ? x.four("v", "turn") : { text: "", parts: [x.at("turn")] };
  const steps = four.parts.map((part, j) => step(part, inFours ? (j === 0 ? "at" : `at + ${j}`) : "turn", "abcd"[j]));
  const body = `
  for (let turn = 0; turn < length; turn += 1) {
    ${inFours ? `let at = 4 * turn; ${four.text}` : ""}
    ${steps.join("\n    ")}
  }`;
  return { body, turns: length, numbers: { length } };
}

/** Declares `sum` = Σ of a text over `k` from `from` to before `to`, four partial sums added at the end. */
export const sumOf = (sum: string, k: string, from: string, to: string, term: string): string => `
  let ${sum} = 0;
  for (let ${k} = ${from}; ${k} < ${to}; ${k} += 1) {
    ${sum} += ${term};
  }`;

/**
 * Declares the flat index of cell i in an array that is read along strides: Σ_d (index of i along dim d) · stride_d. Sizes
 * and strides come as numbers with the prefix; the number of dims is part of the text.
 */
export function strided(prefix: string, at: string, shape: readonly number[], strides: readonly number[], offset = 0) {
  const numbers: Record<string, number> = {};
  const dims = shape.map((_, d) => d).filter((d) => shape[d] !== 1);
  const lines: string[] = [`  let ${at} = ${prefix}o;`];
  numbers[`${prefix}o`] = offset;
  let rest = "i";
  dims.reverse().forEach((d, turn) => {
    const name = `${prefix}${d}`;
    numbers[`${name}s`] = strides[d];
    if (turn === dims.length - 1) {
      lines.push(`  ${at} += ${rest} * ${name}s;`);
      return;
    }
    numbers[`${name}n`] = shape[d];
    lines.push(divide(`${name}q`, `${name}r`, rest, `${name}n`), `  ${at} += ${name}r * ${name}s;`);
    rest = `${name}q`;
  });
  return { text: lines.join("\n"), numbers };
}
