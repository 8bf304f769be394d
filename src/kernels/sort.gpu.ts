/** Counting, sorting by small keys, and top-k by counting ranks: integers, all exact. */

import { rangeError } from "../errors.ts";
import type { Gather, GpuForm, Range, Source } from "../gpu/form.ts";
import { divide, overAll, TOP } from "./gather.gpu.ts";

interface Keys {
  readonly numKeys: number;
}

const places = ({ length }: { length: number }): Range => [0, length - 1];

/** What counts how often key i occurs. */
function histogram(x: Source): Gather {
  const all = overAll(x, (key) => `if (${key} === i) { count += 1; }`);
  return { ...all, body: `\n  let count = 0;${all.body}\n  return count;` };
}

export const bincountGather: GpuForm<Keys> = {
  gather: ({ inputs: [x] }) => histogram(x),
  checked: [0],
  checksRange: true,
  range: ({ inputs: [x] }) => [0, x.length, x.length],
};

export const offsetsGather: GpuForm<object> = {
  gather: ({ inputs: [counts], length }) => ({
    turns: length,
    body: `
  let sum = 0;
  for (let j = 0; j < i; j += 1) {
    sum += ${counts.at("j")};
  }
  return sum;`,
  }),
  checked: [0],
  checksRange: true,
  range: ({ inputs: [counts] }, [r]) => (r === null ? null : [0, r[2] ?? r[1] * counts.length]),
};

/** The thread of place i finds the key that is there by the counts, and then that key's occurrence by a walk. */
export const countingSortGather: GpuForm<Keys> = {
  stages: ({ attrs: { numKeys } }) => [{ length: numKeys, gather: ({ inputs: [x] }) => histogram(x) }],
  gather({ attrs: { numKeys }, inputs: [x], stages: [counts] }) {
    const all = overAll(
      x,
      (value, j) => `if (${value} === key) {
      if (seen === i) {
        place = ${j};
      }
      seen += 1;
    }`,
    );
    return {
      numbers: { ...all.numbers, numKeys },
      turns: Math.max(numKeys, all.turns ?? 0),
      body: `
  let key = 0;
  let first = 0;
  let total = 0;
  for (let b = 0; b < numKeys; b += 1) {
    total += ${counts.at("b")};
    if (total <= i) {
      key = b + 1;
      first = total;
    }
  }
  let place = -1;
  let seen = first;${all.body}
  return place;`,
    };
  },
  checked: [0],
  checksRange: true,
  range: places,
};

export const invertGather: GpuForm<object> = {
  gather({ inputs: [order] }) {
    const all = overAll(order, (value, j) => `if (${value} === i) { place = ${j}; }`);
    return { ...all, body: `\n  let place = -1;${all.body}\n  return place;` };
  },
  range: places,
};

export const slotKeysGather: GpuForm<{ numExperts: number; capacity: number }> = {
  gather({ attrs: { numExperts, capacity }, inputs: [expertOf, allowed] }) {
    const all = overAll(
      expertOf,
      (value, j) => `if (${value} === e && ${j} < i && ${allowed.at(j)} > 0.5) { before += 1; }`,
    );
    return {
      numbers: { ...all.numbers, numExperts, capacity },
      turns: all.turns ?? 1,
      body: `
  let e = ${expertOf.at("i")};
  let before = 0;${all.body}
  let key = numExperts + e;
  if (${allowed.at("i")} > 0.5 && before < capacity) {
    key = e;
  }
  return key;`,
    };
  },
  checked: [0],
  checksRange: true,
  range: ({ attrs: { numExperts } }) => [0, 2 * numExperts - 1],
};

interface TopkAttrs {
  readonly op: string;
  readonly n: number;
  readonly k: number;
}

/**
 * The rank of an element is how many are larger, or equal and before it; the thread of place j finds the element of rank j.
 * A NaN has no order, so a launch looks for one: whoever reads what depends on the places gets an error.
 */
export const topkGather: GpuForm<TopkAttrs> = {
  stages: ({ attrs: { n }, inputs: [x] }) => [
    {
      length: x.length,
      gather: ({ inputs: [source] }) => ({
        numbers: { n },
        turns: n,
        body: `${divide("r", "c", "i", "n")}
  let start = r * n;
  let own = ${source.at("i")};
  let rank = 0;
  for (let j = 0; j < n; j += 1) {
    let other = ${source.at("start + j")};
    if (other > own || (other === own && j < c)) {
      rank += 1;
    }
  }
  return rank;`,
      }),
    },
  ],
  gather: ({ attrs: { n, k }, stages: [ranks] }) => ({
    numbers: { n, k },
    turns: n,
    body: `${divide("r", "rank", "i", "k")}
  let start = r * n;
  let place = -1;
  for (let j = 0; j < n; j += 1) {
    if (${ranks.at("start + j")} === rank) {
      place = j;
    }
  }
  return place;`,
  }),
  checked: [],
  range: ({ attrs: { n } }) => [0, n - 1],
  doubt({ attrs: { op, n }, inputs: [x] }) {
    if (x.dtype === "int32") return null;
    return {
      length: x.length / n,
      error: () => rangeError(op, "x", "a NaN", "numbers that can be ordered"),
      gather: ({ inputs: [source] }) => ({
        numbers: { n, top: TOP },
        turns: n,
        body: `
  let start = i * n;
  let end = start + n;
  let found = 0;
  for (let at = start; at < end; at += 1) {
    let v = ${source.at("at")};
    let ordered = 0;
    if (v <= top || v >= -top) {
      ordered = 1;
    }
    found += 1 - ordered;
  }
  return found;`,
      }),
    };
  },
};
