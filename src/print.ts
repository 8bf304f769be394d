/** Printing numbers as NumPy 2.4 does: aligned columns, the fewest digits that tell values apart, long arrays cut. */
import type { DType, Flat } from "./device/kernel.ts";
import { sizeOf } from "./shape.ts";

const LINE = 75;
/** Most digits after the point. */
const PRECISION = 8;
/** Arrays with more elements show only the edges of each dim. */
const THRESHOLD = 1000;
const EDGE = 3;

/** The size of a number in decimal: d₁.d₂d₃… · 10^exponent. */
interface Decimal {
  readonly digits: string;
  readonly exponent: number;
}

/** The exact value of x, or its first 101 digits, which tell every tie from what is a little beside it. */
function exactly(x: number): Decimal {
  const [mantissa, exponent] = x.toExponential(100).split("e");
  return { digits: mantissa.replace(".", ""), exponent: Number(exponent) };
}

/** An exact value to `count` significant digits; a tie goes to the even digit. */
function rounded({ digits: exact, exponent }: Decimal, count: number): Decimal {
  const [kept, rest] = [exact.slice(0, count), exact.slice(count)];
  const half = "5".padEnd(rest.length, "0");
  const up = rest > half || (rest === half && Number(kept.at(-1)) % 2 === 1);
  const digits = String(BigInt(kept) + (up ? 1n : 0n)).padStart(count, "0");
  const carry = digits.length - count;
  return { digits: digits.slice(0, count), exponent: exponent + carry };
}

/** The fewest digits that give the number back in its dtype. */
function shortest(x: number, dtype: DType): Decimal {
  if (dtype === "float32") {
    const exact = exactly(x);
    for (let count = 1; count < 9; count++) {
      const { digits, exponent } = rounded(exact, count);
      // Above a power of two lies twice the room of below it: there the next decimal up may do when the nearest does not.
      const found = [digits, String(Number(digits) + 1)].find(
        (d) => Math.fround(Number(`${d}e${exponent - count + 1}`)) === x,
      );
      if (found !== undefined) return { digits: found, exponent };
    }
    return rounded(exact, 9);
  }
  const [mantissa, exponent] = x.toExponential().split("e");
  return { digits: mantissa.replace(".", ""), exponent: Number(exponent) };
}

/** The fewest digits, cut to at most `most(exponent)` of them. */
function decimalOf(x: number, dtype: DType, most: (exponent: number) => number): Decimal {
  const whole = shortest(Math.abs(x), dtype);
  const count = most(whole.exponent);
  return whole.digits.length <= count ? whole : rounded(exactly(Math.abs(x)), count);
}

const signOf = (x: number): string => (x < 0 || Object.is(x, -0) ? "-" : "");
const trimZeros = (digits: string): string => digits.replace(/0+$/, "");

/** 1.25e-05 in its parts: sign and digits before and after the point, sign and digits of the exponent. */
function exponentialParts(x: number, { digits, exponent }: Decimal): [string, string, string, string] {
  const size = String(Math.abs(exponent)).padStart(2, "0");
  return [signOf(x) + digits[0], digits.slice(1), exponent < 0 ? "-" : "+", size];
}

/** 1.25 in its parts: sign and whole, fraction. */
function positionalParts(x: number, dtype: DType, precision: number): [string, string] {
  const { digits, exponent } = decimalOf(x, dtype, (e) => e + 1 + precision);
  if (exponent < 0) return [`${signOf(x)}0`, trimZeros("0".repeat(-exponent - 1) + digits)];
  return [signOf(x) + digits.slice(0, exponent + 1).padEnd(exponent + 1, "0"), trimZeros(digits.slice(exponent + 1))];
}

const longest = (texts: readonly string[]): number => texts.reduce((width, text) => Math.max(width, text.length), 0);

/** How one array is written: every number through the same function, all of one width. */
function formatter(values: readonly number[], dtype: DType): (x: number) => string {
  const finite = values.filter(Number.isFinite);
  const write =
    dtype === "int32" ? String : isWide(finite, dtype) ? exponential(finite, dtype) : positional(finite, dtype);
  const text = (x: number): string =>
    Number.isNaN(x) ? "nan" : Number.isFinite(x) ? write(x) : x > 0 ? "inf" : "-inf";
  const width = longest(values.map(text));
  return (x) => text(x).padStart(width);
}

/** Whether numbers are so large, small or far apart that they need exponents. Decided in the array's own precision. */
function isWide(finite: readonly number[], dtype: DType): boolean {
  const own = dtype === "float32" ? Math.fround : (x: number) => x;
  const sizes = finite.map(Math.abs).filter((x) => x > 0);
  if (sizes.length === 0) return false;
  // Not Math.max(...sizes): seven dims have 6⁷ edges, too many for the arguments of one call.
  const [largest, smallest] = [sizes.reduce((a, b) => Math.max(a, b)), sizes.reduce((a, b) => Math.min(a, b))];
  return largest >= (dtype === "float32" ? 1e6 : 1e8) || smallest < own(1e-4) || own(largest / smallest) > 1000;
}

/** With as many digits everywhere as the longest needs. */
function exponential(finite: readonly number[], dtype: DType): (x: number) => string {
  const needed = finite.map((x) => trimZeros(decimalOf(x, dtype, () => PRECISION + 1).digits.slice(1)));
  const count = 1 + longest(needed);
  const parts = (x: number) => {
    const fewest = shortest(Math.abs(x), dtype);
    return exponentialParts(x, fewest.digits.length === count ? fewest : rounded(exactly(Math.abs(x)), count));
  };
  const width = longest(finite.map((x) => parts(x)[3]));
  return (x) => {
    const [whole, fraction, sign, size] = parts(x);
    return `${whole}.${fraction}e${sign}${size.padStart(width, "0")}`;
  };
}

/** Padded on the right with spaces to the longest fraction. */
function positional(finite: readonly number[], dtype: DType): (x: number) => string {
  const fraction = longest(finite.map((x) => positionalParts(x, dtype, PRECISION)[1]));
  return (x) => {
    const [whole, digits] = positionalParts(x, dtype, PRECISION);
    return `${whole}.${digits.padEnd(fraction)}`;
  };
}

/** One number by itself has all its digits, and switches to exponents later than an array does. */
function printScalar(x: number, dtype: DType): string {
  if (dtype === "int32" || !Number.isFinite(x)) return formatter([x], dtype)(x);
  const size = Math.abs(x);
  if (size === 0 || (size >= 1e-4 && size < (dtype === "float32" ? 1e6 : 1e16))) {
    const [whole, digits] = positionalParts(x, dtype, Infinity);
    return `${whole}.${digits || "0"}`;
  }
  const [whole, fraction, sign, exponent] = exponentialParts(x, shortest(size, dtype));
  return `${whole}${fraction && `.${fraction}`}e${sign}${exponent}`;
}

/** Positions along a dim that are shown; −1 stands for the gap. */
function shown(n: number, cut: boolean): number[] {
  if (!cut || n <= 2 * EDGE) return Array.from({ length: n }, (_, i) => i);
  return [0, 1, 2, -1, n - 3, n - 2, n - 1];
}

/** The numbers as NumPy's str() shows them. */
export function printNumbers(data: Flat, shape: readonly number[], dtype: DType): string {
  if (shape.length === 0) return printScalar(data[0], dtype);
  if (data.length === 0) return "[]";
  const cut = data.length > THRESHOLD;
  const last = shape.length - 1;
  const places: number[] = [];
  const collect = (dim: number, at: number): void => {
    if (dim > last) {
      places.push(at);
      return;
    }
    const step = sizeOf(shape.slice(dim + 1));
    for (const i of shown(shape[dim], cut)) if (i >= 0) collect(dim + 1, at + i * step);
  };
  collect(0, 0);
  const write = formatter(
    places.map((p) => data[p]),
    dtype,
  );
  const block = (dim: number, at: number): string => {
    const step = sizeOf(shape.slice(dim + 1));
    const parts = shown(shape[dim], cut).map((i) => {
      if (i < 0) return "...";
      return dim === last ? write(data[at + i]) : block(dim + 1, at + i * step);
    });
    if (dim === last) return `[${wrap(parts, dim + 1)}]`;
    return `[${parts.join("\n".repeat(last - dim) + " ".repeat(dim + 1))}]`;
  };
  return block(0, 0);
}

/** Elements on lines of at most 75 characters, brackets counted; further lines are indented under the first element. */
function wrap(parts: readonly string[], indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const part of parts) {
    if (line !== "" && indent + line.length + 1 + part.length + indent > LINE) {
      lines.push(line.trimEnd());
      line = "";
    }
    line = line === "" ? part : `${line} ${part}`;
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}
