/** Plain data: what JSON can hold without losing anything of it. */
import { show, typeError } from "../errors.ts";

/** Finite numbers (−0 becomes 0), texts, booleans, null, and lists and plain objects of them. */
export type PlainData = number | string | boolean | null | readonly PlainData[] | { readonly [key: string]: PlainData };

export function isPlainObject(x: unknown): x is Record<string, unknown> {
  if (typeof x !== "object" || x === null) return false;
  const prototype: unknown = Object.getPrototypeOf(x);
  return prototype === Object.prototype || prototype === null;
}

/** Throws unless x comes back from JSON as it is: JSON turns NaN into null, and leaves out undefined, in silence. */
export function checkPlain(op: string, argument: string, x: unknown): asserts x is PlainData {
  if (x === null || typeof x === "string" || typeof x === "boolean") return;
  if (typeof x === "number" && Number.isFinite(x)) return;
  if (Array.isArray(x)) {
    for (let i = 0; i < x.length; i++) checkPlain(op, `${argument}[${i}]`, x[i]);
  } else if (isPlainObject(x)) {
    for (const [key, value] of Object.entries(x)) checkPlain(op, `${argument}.${key}`, value);
  } else {
    const expected = "a module, optimiser, scheduler or generator, or what JSON can hold";
    throw typeError(op, argument, show(x), expected);
  }
}

/** Whether two pieces of plain data have the same names and kinds, whatever their numbers are. */
export function samePlainKind(x: unknown, y: unknown): boolean {
  if (Array.isArray(x) && Array.isArray(y)) return x.length === y.length && x.every((v, i) => samePlainKind(v, y[i]));
  if (!isPlainObject(x) || !isPlainObject(y)) return typeof x === typeof y && typeof x !== "object";
  const names = Object.keys(x);
  return (
    names.length === Object.keys(y).length &&
    names.every((name) => Object.hasOwn(y, name) && samePlainKind(x[name], y[name]))
  );
}
