/** Elementwise functions as gathers: the thread of a cell reads one element of each input. */
import type { GpuCall, GpuForm, Range, Source } from "../gpu/form.ts";
import type { Broadcast } from "./elementwise.ts";
import { eachOfFour, ordered, strided, TOP } from "./gather.gpu.ts";

/** Bounds of f(a, b) for integers a and b within theirs: those of its corners, which is right for sums and products. */
const corners =
  (f: (a: number, b: number) => number) =>
  (_: unknown, [a, b]: readonly (Range | null)[]): Range | null => {
    if (a === null || b === null) return null;
    const all = [f(a[0], b[0]), f(a[0], b[1]), f(a[1], b[0]), f(a[1], b[1])];
    return [Math.min(...all), Math.max(...all)];
  };

const flag = (): Range => [0, 1];

type Numbers = Record<string, number>;
type RangeOf = (call: GpuCall<Broadcast>, ranges: readonly (Range | null)[]) => Range | null;

/**
 * y = f(a, b) with broadcasting: `f` a text in a and b, after the statements of `before`. Integers are left to the loops where
 * their bounds are not known.
 */
export function binaryGather(f: string, range?: RangeOf, before = "", constants: Numbers = {}): GpuForm<Broadcast> {
  return {
    gather({ attrs: { shape, aStrides, bStrides }, inputs: [a, b] }) {
      const p = strided("p", "u", shape, aStrides);
      const q = strided("q", "v", shape, bStrides);
      const single = [a.length === 1, b.length === 1];
      return {
        numbers: { ...(!single[0] && p.numbers), ...(!single[1] && q.numbers), ...constants },
        body: `${single[0] ? "" : p.text}
${single[1] ? "" : q.text}
  let a = ${a.at(single[0] ? "0" : "u")};
  let b = ${b.at(single[1] ? "0" : "v")};${before}
  return ${f};`,
      };
    },
    fours: (call) => binaryFours(call, `${before}\n  let cell = ${f};`, constants),
    ...(range && { range }),
  };
}

/** Steps through an input for groups of four cells along the last dim; null where they are no neighbours in it. */
function groupSteps(x: Source, strides: readonly number[]): readonly number[] | null {
  if (x.length === 1 || strides[strides.length - 1] === 0) return strides;
  const outer = strides.slice(0, -1).map((step) => step / 4);
  return strides[strides.length - 1] === 1 && outer.every(Number.isInteger) ? [...outer, 1] : null;
}

/** The same for four neighbours of the last dim: those of an input are a group of it, or all the same number. */
function binaryFours(
  { attrs: { shape, aStrides, bStrides }, inputs: [a, b] }: GpuCall<Broadcast>,
  cell: string,
  constants: Numbers,
) {
  const width = shape[shape.length - 1] ?? 1;
  const [p, q] = [groupSteps(a, aStrides), groupSteps(b, bStrides)];
  if (width % 4 !== 0 || p === null || q === null || !(a.fours || b.fours)) return null;
  const groups = [...shape.slice(0, -1), width / 4];
  const [first, second] = [a, b].map((x, j) => {
    const [name, steps] = j === 0 ? ["a", p] : ["b", q];
    const single = x.length === 1;
    const where = single ? { text: "", numbers: {} } : strided("pq"[j], "uv"[j], groups, steps);
    if (single || steps[steps.length - 1] === 0) {
      return { ...where, read: `let ${name} = ${x.at(single ? "0" : "uv"[j])};`, parts: [name, name, name, name] };
    }
    const four = x.four(name, "uv"[j]);
    return { ...where, read: four.text, parts: four.parts };
  });
  const cells = eachOfFour(cell, (j) => ({ a: first.parts[j], b: second.parts[j] }));
  return {
    numbers: { ...first.numbers, ...second.numbers, ...constants },
    body: `${first.text}
${second.text}
  ${first.read}
  ${second.read}
${cells.join("\n")}
  return [cell_0, cell_1, cell_2, cell_3];`,
  };
}

/** The larger or smaller one, and NaN where either is one. */
const extremeGather = (f: string, range: (a: number, b: number) => number): GpuForm<Broadcast> =>
  binaryGather("y", corners(range), `${ordered("one", "a", f)}${ordered("y", "b", "one")}`, { top: TOP });

export const binaryForms = {
  add: binaryGather(
    "a + b",
    corners((a, b) => a + b),
  ),
  sub: binaryGather(
    "a - b",
    corners((a, b) => a - b),
  ),
  mul: binaryGather(
    "a * b",
    corners((a, b) => a * b),
  ),
  div: binaryGather("a / b"),
  maximum: extremeGather("Math.max(a, b)", Math.max),
  minimum: extremeGather("Math.min(a, b)", Math.min),
  eq: binaryGather("a === b ? 1 : 0", flag),
  ne: binaryGather("a === b ? 0 : 1", flag),
  lt: binaryGather("a < b ? 1 : 0", flag),
  le: binaryGather("a <= b ? 1 : 0", flag),
};

type NumbersOf<A> = (attrs: A) => Numbers;

/** y = f of inputs that all have the output's size: `f` a text in a, b and c, after the statements of `before`. */
export const cellGather = <A extends object>(
  f: string,
  { numbers = () => ({}), before = "" }: { numbers?: NumbersOf<A>; before?: string } = {},
): GpuForm<A> => ({
  gather: ({ attrs, inputs }) => ({
    numbers: numbers(attrs),
    body: `${inputs.map((x, j) => `  let ${"abc"[j]} = ${x.at("i")};`).join("\n")}\n${before}\n  return ${f};`,
  }),
  fours({ attrs, inputs }) {
    if (!inputs.some((x) => x.fours)) return null;
    const read = inputs.map((x, j) => x.four("abc"[j], "i"));
    // The steps before the result and the result itself, so that both have the same names.
    const cells = eachOfFour(`${before}\n  let cell = ${f};`, (cell) =>
      Object.fromEntries(read.map(({ parts }, j) => ["abc"[j], parts[cell]])),
    );
    return {
      numbers: numbers(attrs),
      body: `${read.map(({ text }) => `  ${text}`).join("\n")}\n${cells.join("\n")}
  return [cell_0, cell_1, cell_2, cell_3];`,
    };
  },
});

/** The same for integers too: of one tensor, and with bounds that follow from its own. */
const integerGather = (f: string, range: (r: Range) => Range): GpuForm<object> => ({
  ...cellGather<object>(f),
  range: (_, [r]) => (r === null ? null : range(r)),
});

/** y = f(a), and NaN of a NaN. */
const orderedGather = (f: string, before = ""): GpuForm<object> =>
  cellGather("y", { numbers: () => ({ top: TOP }), before: `${before}${ordered("y", "a", f)}` });

/** Below this a GPU may take a number for 0, or not: 2⁶⁴ lifts what it does not. */
const LOG = `
  let scaled = a;
  let lifted = 0;
  if (a < 1e-30) {
    scaled = a * 18446744073709551616;
    lifted = 44.3614195558365;
  }
  let y = a;
  if (a <= top) {
    y = none;
  }
  if (a === 0) {
    y = -endless;
  }
  if (scaled > 0 && a <= top) {
    y = Math.log(scaled) - lifted;
  }`;

export const unaryForms = {
  neg: integerGather("-a", ([low, high]) => [-high, -low]),
  exp: orderedGather("Math.exp(a)"),
  log: cellGather("y", {
    numbers: () => ({ top: TOP, none: Number.NaN, endless: Number.POSITIVE_INFINITY }),
    before: LOG,
  }),
  sqrt: cellGather("Math.sqrt(a)"),
  square: integerGather("a * a", ([low, high]) => [0, Math.max(low * low, high * high)]),
  abs: integerGather("Math.abs(a)", ([low, high]) => [0, Math.max(-low, high)]),
  sign: integerGather("a > 0 ? 1 : (a < 0 ? -1 : (a === 0 ? 0 : a))", () => [-1, 1]),
  to: {
    // Integers to floats: nothing to check. Floats to integers are left to the loops, which check.
    checked: [],
    gather: ({ inputs: [x], dtype }) => (dtype === "float32" ? { body: `  return ${x.at("i")};` } : null),
  } satisfies GpuForm<{ dtype: string }>,
};

/** Numbers of ±9 and beyond have a tanh of ±1 in float32. */
const tanhText = (x: string): string => `Math.tanh(Math.max(-9, Math.min(9, ${x})))`;

/**
 * Φ(x) = ½ erfc(−x / √2), erfc(z) = t · e^(−z² + P(t)), t = 1 / (1 + z/2), for z ≥ 0.
 *
 * Error    1.2e-7 of erfc, and what float32 makes of the exponent
 * Source   Press et al., "Numerical Recipes", 2nd edition, Section 6.2, erfcc
 */
const PHI = `
  let z = Math.abs(a) * 0.7071067811865476;
  let t = 1 / (1 + 0.5 * z);
  let poly = -0.82215223 + t * 0.17087277;
  poly = 1.48851587 + t * poly;
  poly = -1.13520398 + t * poly;
  poly = 0.27886807 + t * poly;
  poly = -0.18628806 + t * poly;
  poly = 0.09678418 + t * poly;
  poly = 0.37409196 + t * poly;
  poly = 1.00002368 + t * poly;
  let half = 0.5 * t * Math.exp(-z * z - 1.26551223 + t * poly);
  let phi = half;
  if (a > 0) {
    phi = 1 - half;
  }`;

/** The same where x is the second input: a cotangent is the first. */
const PHI_OF_B = PHI.replace(/\ba\b/g, "b");

const logistic = (x: string): string => `1 / (1 + Math.exp(-(${x})))`;

const TANH_SLOPE = `
  let square = Math.min(b * b, 1000);
  let s = 1 / (1 + Math.exp(-(1.5957691216057308 + 0.07135481282698926 * square) * b));
  let slope = s + b * s * (1 - s) * (1.5957691216057308 + 0.21406443848096778 * square);`;

export const activationForms = {
  sigmoid: orderedGather(logistic("a")),
  sigmoidBackward: cellGather("a * b * (1 - b)"),
  tanh: orderedGather(tanhText("a")),
  tanhBackward: cellGather("a * (1 - b * b)"),
  relu: cellGather("a <= 0 ? 0 : a"),
  reluBackward: cellGather("b > 0 ? a : 0"),
  silu: cellGather(`a * (${logistic("a")})`),
  siluBackward: cellGather("a * (s + b * s * (1 - s))", { before: `  let s = ${logistic("b")};` }),
  // For an e that 1 swallows, the first terms of the series of ln(1 + e).
  softplus: orderedGather(
    "Math.max(0, a) + tail",
    `
  let e = Math.exp(-Math.abs(a));
  let tail = e * (1 - 0.5 * e);
  if (e > 0.001) {
    tail = Math.log(1 + e);
  }`,
  ),
  normalCdf: cellGather("phi", { before: PHI }),
  gelu: cellGather("a * phi", { before: PHI }),
  geluBackward: cellGather("a * (phi + b * 0.3989422804014327 * Math.exp(-0.5 * b * b))", { before: PHI_OF_B }),
  geluTanh: cellGather("a / (1 + Math.exp(-(1.5957691216057308 + 0.07135481282698926 * a * a) * a))"),
  geluTanhBackward: cellGather("a * slope", { before: TANH_SLOPE }),
};

/** a where c is not 0, else b; one number stands for all where a step is 0. */
export const whereGather: GpuForm<{ readonly steps: readonly number[] }> = {
  gather({ attrs: { steps }, inputs }) {
    const [c, a, b] = inputs.map((x, j) => x.at(steps[j] === 0 ? "0" : "i"));
    return { body: `  let y = ${b};\n  if (${c} > 0.5) {\n    y = ${a};\n  }\n  return y;` };
  },
  fours({ attrs: { steps }, inputs }) {
    if (!inputs.some((x) => x.fours)) return null;
    const read = inputs.map((x, j) => {
      if (steps[j] !== 0) return x.four("cab"[j], "i");
      return { text: `let ${"cab"[j]} = ${x.at("0")};`, parts: new Array<string>(4).fill("cab"[j]) };
    });
    const cells = eachOfFour("let y = b;\n  if (c > 0.5) {\n    y = a;\n  }", (cell) =>
      Object.fromEntries(read.map(({ parts }, j) => ["cab"[j], parts[cell]])),
    );
    return { body: `${[...read.map(({ text }) => text), ...cells].join("\n  ")}\n  return [y_0, y_1, y_2, y_3];` };
  },
  range: (_, [, a, b]) => (a && b ? [Math.min(a[0], b[0]), Math.max(a[1], b[1])] : null),
};

type Bounds = { readonly min: number; readonly max: number };
const bounds: NumbersOf<Bounds> = ({ min, max }) => ({ low: min, high: max });

export const clampGather: GpuForm<Bounds> = cellGather("a < low ? low : (a > high ? high : a)", { numbers: bounds });
export const clampBackwardGather: GpuForm<Bounds> = cellGather("y", {
  numbers: bounds,
  before: "  let y = 0;\n  if (b >= low && b <= high) {\n    y = a;\n  }",
});

export const updateForms = {
  blend: cellGather<{ p: number; q: number }>("p * a + q * b", { numbers: ({ p, q }) => ({ p, q }) }),
  secondMoment: cellGather<{ beta: number }>("beta * a + rest * b * b", {
    numbers: ({ beta }) => ({ beta, rest: 1 - beta }),
  }),
  adamStep: cellGather<{ keep: number; rate: number; root: number; eps: number }>(
    "keep * a - rate * b / (Math.sqrt(c) / root + eps)",
    { numbers: ({ keep, rate, root, eps }) => ({ keep, rate, root, eps }) },
  ),
};
