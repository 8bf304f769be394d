/** Sums and largest elements, along a run of dims: one thread walks along n. */
import type { GpuForm } from "../gpu/form.ts";
import { divide } from "./gather.gpu.ts";
import type { Span } from "./reduce.ts";
import type { ScanAttrs } from "./scan.ts";

/** Sums of more than so many terms are taken in two stages, so that more than one thread works on them. */
const LONG = 512;

/** Error    rounded to float32 at every step, in order of n; from 513 terms on in √n partial sums of √n terms */
export const sumGather: GpuForm<Span> = {
  stages({ attrs: { outer, n, inner } }) {
    if (n <= LONG) return [];
    const block = Math.ceil(Math.sqrt(n));
    const blocks = Math.ceil(n / block);
    return [
      {
        length: outer * blocks * inner,
        gather: ({ inputs: [x] }) => ({
          numbers: { n, inner, block, blocks },
          turns: block,
          body: `${divide("q", "c", "i", "inner")}${divide("o", "b", "q", "blocks")}
  let end = Math.min(n, (b + 1) * block);
  let sum = 0;
  for (let k = b * block; k < end; k += 1) {
    sum += ${x.at("(o * n + k) * inner + c")};
  }
  return sum;`,
        }),
      },
    ];
  },
  gather({ attrs, inputs, stages, dtype }) {
    if (dtype === "int32") return null;
    const { inner } = attrs;
    const [x] = stages.length > 0 ? stages : inputs;
    const n = stages.length > 0 ? Math.ceil(attrs.n / Math.ceil(Math.sqrt(attrs.n))) : attrs.n;
    return {
      numbers: { n, inner },
      turns: n,
      body: `${divide("o", "c", "i", "inner")}
  let sum = 0;
  for (let k = 0; k < n; k += 1) {
    sum += ${x.at("(o * n + k) * inner + c")};
  }
  return sum;`,
    };
  },
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

/** The greatest finite number: only a NaN is neither at most that nor at least its negative. */
const TOP = 3.4028234663852886e38;

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
