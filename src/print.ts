/** Printing numbers the way NumPy does: aligned columns, the fewest digits that tell values apart, long arrays cut. */
import type { DType, Flat } from "./device/kernel.ts";
import { sizeOf } from "./shape.ts";

const LINE = 75;
const PRECISION = 8;
/** Arrays with more elements show only the edges of each dim. */
const THRESHOLD = 1000;
const EDGE = 3;

/** The fewest significant digits that give the number back in its dtype. */
function shortest(x: number, dtype: DType): string {
  if (dtype !== "float32") return x.toExponential();
  for (let digits = 0; digits < 9; digits++) {
    const text = x.toExponential(digits);
    if (Math.fround(Number(text)) === x) return text;
  }
  return x.toExponential();
}

/** How one column of numbers is written: every element through the same function, all of one width. */
function formatter(values: readonly number[], dtype: DType): (x: number) => string {
  if (dtype === "int32") {
    const width = Math.max(0, ...values.map((x) => String(x).length));
    return (x) => String(x).padStart(width);
  }
  const finite = values.filter(Number.isFinite);
  const sizes = finite.map(Math.abs).filter((x) => x > 0);
  const [largest, smallest] = [Math.max(0, ...sizes), Math.min(Infinity, ...sizes)];
  const exponential = sizes.length > 0 && (largest >= 1e8 || smallest < 1e-4 || largest / smallest > 1000);
  const write = exponential ? exponentialForm(finite, dtype) : positionalForm(finite, dtype);
  const text = (x: number): string =>
    Number.isNaN(x) ? "nan" : Number.isFinite(x) ? write(x) : x > 0 ? "inf" : "-inf";
  const width = Math.max(0, ...values.map((x) => text(x).length));
  return (x) => text(x).padStart(width);
}

const mantissaDigits = (x: number, dtype: DType): number =>
  (shortest(x, dtype).split("e")[0].split(".")[1] ?? "").length;

/** 1.25e-05, with as many digits everywhere as the longest needs, at most eight. */
function exponentialForm(finite: readonly number[], dtype: DType): (x: number) => string {
  const digits = Math.min(PRECISION, Math.max(0, ...finite.map((x) => mantissaDigits(x, dtype))));
  return (x) => {
    const [mantissa, exponent] = x.toExponential(digits).split("e");
    const sign = exponent[0] === "-" ? "-" : "+";
    return `${digits === 0 ? `${mantissa}.` : mantissa}e${sign}${exponent.slice(1).padStart(2, "0")}`;
  };
}

/** 1.25, padded on the right with spaces to the longest fraction. */
function positionalForm(finite: readonly number[], dtype: DType): (x: number) => string {
  const split = (x: number): [string, string] => {
    const exponent = Number(shortest(x, dtype).split("e")[1]);
    const needed = Math.max(0, mantissaDigits(x, dtype) - exponent);
    const [whole, fraction = ""] = x.toFixed(Math.min(PRECISION, needed)).split(".");
    return [Object.is(x, -0) ? "-0" : whole, fraction.replace(/0+$/, "")];
  };
  const fractionWidth = Math.max(0, ...finite.map((x) => split(x)[1].length));
  return (x) => {
    const [whole, fraction] = split(x);
    return `${whole}.${fraction.padEnd(fractionWidth)}`;
  };
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
  const rows = shape.slice(0, -1);
  const places: number[] = [];
  const collect = (dim: number, at: number): void => {
    if (dim === shape.length) {
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
      return dim === rows.length ? write(data[at + i]) : block(dim + 1, at + i * step);
    });
    if (dim === rows.length) return `[${wrap(parts, dim + 1)}]`;
    return `[${parts.join("\n".repeat(rows.length - dim) + " ".repeat(dim + 1))}]`;
  };
  return block(0, 0);
}

/** Elements on lines of at most 75 characters, further lines indented under the first element. */
function wrap(parts: readonly string[], indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const part of parts) {
    if (line !== "" && indent + line.length + 1 + part.length + indent > LINE) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? part : `${line} ${part}`;
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

function printScalar(x: number, dtype: DType): string {
  const text = formatter([x], dtype)(x).trim();
  return text.endsWith(".") ? `${text}0` : text;
}
