/** Sums and largest elements, along a run of dims: one thread walks along n. */
import type { Gather, GpuCall, GpuForm, Source } from "../gpu/form.ts";
import { divide, FOUR_RESULT, fourCells, TOP, toFour } from "./gather.gpu.ts";
import type { Span } from "./reduce.ts";
import type { ScanAttrs } from "./scan.ts";

/** Sums of more than so many terms are taken in two stages, so that more than one thread works on them. */
const LONG = 512;

/** A sum of [outer, n, inner] in `blocks` parts of `block` terms each: [outer, blocks, inner]. */
interface Parts extends Span {
  readonly block: number;
  readonly blocks: number;
}

/** Columns side by side lie in fours: a thread adds up a group of them. */
const wide = ({ inner }: Span, x: Source): boolean => inner % 4 === 0 && x.fours === true;

function partsOf({ n, inner, block, blocks }: Parts, x: Source): Gather {
  const place = `${divide("q", "c", "i", "columns")}${divide("o", "b", "q", "blocks")}`;
  if (wide({ outer: 1, n, inner }, x)) {
    const v = x.four("v", "(o * n + k) * columns + c");
    return {
      numbers: { n, columns: inner / 4, block, blocks },
      turns: block,
      body: `${place}
  let end = Math.min(n, (b + 1) * block);${fourCells()}
  for (let k = b * block; k < end; k += 1) {
    ${v.text} ${toFour(v.parts, "+=")}
  }
${FOUR_RESULT}`,
    };
  }
  const inFours = inner === 1 && n % 4 === 0 && block % 4 === 0 && x.fours === true;
  const step = inFours ? 4 : 1;
  const v = inFours ? x.four("v", "o * n + k") : { text: "", parts: [x.at("(o * n + k) * columns + c")] };
  return {
    numbers: { n: n / step, columns: inner, block: block / step, blocks },
    turns: block,
    body: `${place}
  let end = Math.min(n, (b + 1) * block);
  let sum = 0;
  for (let k = b * block; k < end; k += 1) {
    ${v.text} ${v.parts.map((part) => `sum += ${part};`).join(" ")}
  }
  return sum;`,
  };
}

/** The parts of a long sum: about √n of them, of a multiple of four terms where n is one. */
function partition({ outer, n, inner }: Span): Parts {
  const unit = n % 4 === 0 ? 4 : 1;
  const block = unit * Math.ceil(Math.sqrt(n) / unit);
  return { outer, n, inner, block, blocks: Math.ceil(n / block) };
}

/** The last launch of a sum, over the parts where there are some. */
function lastSum({ attrs, inputs, stages }: GpuCall<Span>, four: boolean): Gather | null {
  const x = (stages.length > 0 ? stages : inputs)[0];
  const n = stages.length > 0 ? partition(attrs).blocks : attrs.n;
  return wide(attrs, x) === four ? partsOf({ ...attrs, n, block: n, blocks: 1 }, x) : null;
}

/**
 * Error    rounded to float32 at every step, in order of n, from 513 terms on in about √n partial sums of √n terms: at most
 *          n · 2⁻²⁴ of Σ |x|. Integers are exact, as long as n times their bounds is at most 2²⁴
 */
export const sumGather: GpuForm<Span> = {
  stages({ attrs, inputs }) {
    if (attrs.n <= LONG) return [];
    const parts = partition(attrs);
    const length = attrs.outer * parts.blocks * attrs.inner;
    return [{ length, fours: wide(attrs, inputs[0]), gather: ({ inputs: [x] }) => partsOf(parts, x) }];
  },
  gather: (call) => lastSum(call, false),
  fours: (call) => lastSum(call, true),
  range: ({ attrs: { n } }, [r]) => r && [Math.min(0, n * r[0]), r[2] ?? Math.max(0, n * r[1])],
};

/** Error    each partial sum is one of float32, rounded at every step in order of n */
export const cumsumGather: GpuForm<ScanAttrs> = {
  gather: ({ attrs: { n, inner, exclusive, reverse }, inputs: [x] }) => ({
    // Walking along n, the own element is at place 0 of those that count.
    numbers: { n, inner, step: reverse ? -1 : 1, skip: exclusive ? 1 : 0, end: reverse ? n - 1 : 0 },
    turns: n,
    body: `${divide("q", "c", "i", "inner")}${divide("o", "k", "q", "n")}
  let turns = (k - end) * step + 1 - skip;
  let at = (o * n + end) * inner + c;
  let sum = 0;
  for (let j = 0; j < turns; j += 1) {
    sum += ${x.at("at")};
    at += step * inner;
  }
  return sum;`,
  }),
  range: ({ attrs: { n } }, [r]) =>
    r === null ? null : [Math.min(0, n * r[0]), r[0] >= 0 && r[2] !== undefined ? r[2] : Math.max(0, n * r[1])],
};

/** The first largest element (sign 1) or smallest (−1); a NaN counts as beyond both. */
export const argmaxGather: GpuForm<Span & { readonly sign: 1 | -1 }> = {
  gather: ({ attrs: { n, inner, sign }, inputs: [x] }) => ({
    numbers: { n, inner, sign, top: TOP },
    turns: n,
    body: `${divide("o", "c", "i", "inner")}
  let at = o * n * inner + c;
  let best = sign * ${x.at("at")};
  let place = 0;
  let open = 0;
  if (best <= top || best >= -top) {
    open = 1;
  }
  for (let k = 1; k < n; k += 1) {
    at += inner;
    let v = sign * ${x.at("at")};
    if (open > 0.5) {
      if (v <= top || v >= -top) {
        if (v > best) {
          best = v;
          place = k;
        }
      } else {
        place = k;
        open = 0;
      }
    }
  }
  return place;`,
  }),
  range: ({ attrs: { n } }) => [0, n - 1],
};
