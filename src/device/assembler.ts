/**
 * A small assembler for WebAssembly: functions written as nested expressions, turned into the bytes of a module.
 *
 *   fn("double", ["i32", "i32"], (f, [x, end]) => [
 *     f.loop([v128.store(x.get, f32x4.add(v128.load(x.get), v128.load(x.get))), x.add(16), f.again(i32.lt(x.get, end.get))]),
 *   ])
 *
 * An expression is the code that leaves its value on the machine's stack, so an operator is its operands' code and one
 * opcode after it. Nothing is checked here: the engine validates a module before it compiles it.
 *
 * Source   WebAssembly Core Specification 2.0, chapter 5 (binary format)
 */

/** Code, nested as it was written; flattened once at the end. */
export type Code = number | Call | readonly Code[];
/** A call of a function of the same module, whose number is known once all are there. */
interface Call {
  readonly call: string;
}
export type ValueType = "i32" | "f32" | "f64" | "v128";

const TYPE_BYTES = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b };
const VOID = 0x40;

/** An unsigned integer in LEB128: seven bits a byte, lowest first. */
function unsigned(x: number): number[] {
  const bytes: number[] = [];
  for (let rest = x; ; rest >>>= 7) {
    if (rest < 0x80) return [...bytes, rest];
    bytes.push((rest & 0x7f) | 0x80);
  }
}

/** A signed 32-bit integer in LEB128. */
function signed(x: number): number[] {
  const bytes: number[] = [];
  for (let rest = x | 0; ; rest >>= 7) {
    const done = rest >= -0x40 && rest < 0x40;
    bytes.push((rest & 0x7f) | (done ? 0 : 0x80));
    if (done) return bytes;
  }
}

const floatBytes = (x: number): number[] => [...new Uint8Array(new Float32Array([x]).buffer)];
const doubleBytes = (x: number): number[] => [...new Uint8Array(new Float64Array([x]).buffer)];
const text = (s: string): Code => [unsigned(s.length), [...s].map((c) => c.charCodeAt(0))];

const op =
  (...code: number[]) =>
  (...operands: Code[]): Code => [operands, code];
const vector = (n: number) => op(0xfd, ...unsigned(n));

/** A load or store: the operands, the opcode, how the address is aligned, and a constant added to it. */
const memory =
  (code: number[], align: number) =>
  (address: Code, offset = 0): Code => [address, code, align, unsigned(offset)];
const store =
  (code: number[], align: number) =>
  (address: Code, value: Code, offset = 0): Code => [address, value, code, align, unsigned(offset)];

export const i32 = {
  const: (x: number): Code => [0x41, signed(x)],
  load: memory([0x28], 2),
  store: store([0x36], 2),
  add: op(0x6a),
  sub: op(0x6b),
  mul: op(0x6c),
  and: op(0x71),
  shl: op(0x74),
  eq: op(0x46),
  ne: op(0x47),
  lt: op(0x48),
  gt: op(0x4a),
  ge: op(0x4e),
};

export const f32 = {
  eq: op(0x5b),
  const: (x: number): Code => [0x43, floatBytes(x)],
  load: memory([0x2a], 2),
  store: store([0x38], 2),
  fromF64: op(0xb6),
};

export const f64 = {
  const: (x: number): Code => [0x44, doubleBytes(x)],
  load: memory([0x2b], 3),
  store: store([0x39], 3),
  add: op(0xa0),
  sub: op(0xa1),
  mul: op(0xa2),
  div: op(0xa3),
  sqrt: op(0x9f),
  fromF32: op(0xbb),
};

/** The address of the bytes that a function may use as it likes; each thread has its own. */
export const room: Code = [0x23, 0];

/** Copies bytes inside the memory: to, from, how many. */
export const copy = (to: Code, from: Code, bytes: Code): Code => [to, from, bytes, 0xfc, 10, 0, 0];
/** Sets bytes: where, to what, how many. */
export const fill = (at: Code, byte: Code, bytes: Code): Code => [at, byte, bytes, 0xfc, 11, 0];
/** a where the condition is not 0, else b; both are computed. */
export const select = (a: Code, b: Code, condition: Code): Code => [a, b, condition, 0x1b];

const v128Const = (bytes: readonly number[]): Code => [0xfd, 12, bytes];

export const v128 = {
  load: memory([0xfd, 0], 2),
  /** One float, in all four lanes. */
  loadSplat: memory([0xfd, 9], 2),
  /** One float in the first lane, 0 in the others. */
  loadFirst: memory([0xfd, 92], 2),
  /** Two floats in the first lanes, 0 in the others. */
  loadPair: memory([0xfd, 93], 2),
  store: store([0xfd, 11], 2),
  /** Stores the first lane alone. */
  storeFirst: (address: Code, value: Code, offset = 0): Code => [address, value, 0xfd, 90, 2, unsigned(offset), 0],
  /** Stores the first two lanes. */
  storePair: (address: Code, value: Code, offset = 0): Code => [address, value, 0xfd, 91, 2, unsigned(offset), 0],
  and: vector(78),
  andnot: vector(79),
  or: vector(80),
  /** Bits of a where the mask has ones, else those of b: (a, b, mask). */
  bitselect: vector(82),
  /** Lanes of a (0–3) and b (4–7), in the order given. */
  shuffle: (a: Code, b: Code, lanes: readonly number[]): Code => [
    a,
    b,
    [0xfd, 13],
    lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)),
  ],
  zero: v128Const(new Array(16).fill(0)),
};

export const i32x4 = {
  const: (x: number): Code => v128Const([0, 1, 2, 3].flatMap(() => [...new Uint8Array(new Int32Array([x]).buffer)])),
  /** One lane as an i32. */
  lane: (x: Code, lane: number): Code => [x, 0xfd, 27, lane],
  shl: vector(171),
  shr: vector(172),
  add: vector(174),
  sub: vector(177),
};

export const f32x4 = {
  const: (x: number): Code => v128Const([0, 1, 2, 3].flatMap(() => floatBytes(x))),
  splat: vector(19),
  /** One lane as an f32. */
  lane: (x: Code, lane: number): Code => [x, 0xfd, 31, lane],
  eq: vector(65),
  lt: vector(67),
  gt: vector(68),
  le: vector(69),
  ge: vector(70),
  abs: vector(224),
  neg: vector(225),
  sqrt: vector(227),
  add: vector(228),
  sub: vector(229),
  mul: vector(230),
  div: vector(231),
  /** NaN if either is. */
  min: vector(232),
  max: vector(233),
  /** b < a ? b : a, and a < b ? b : a: one instruction each, and a is kept when either is NaN. */
  pmin: vector(234),
  pmax: vector(235),
  fromInt: vector(250),
  /** Two doubles as the first two floats, 0 in the others. */
  fromF64: vector(94),
};

export const f64x2 = {
  const: (x: number): Code => v128Const([...doubleBytes(x), ...doubleBytes(x)]),
  splat: vector(20),
  lane: (x: Code, lane: number): Code => [x, 0xfd, 33, lane],
  /** The first two floats as doubles. */
  fromF32: vector(95),
  sqrt: vector(239),
  add: vector(240),
  sub: vector(241),
  mul: vector(242),
  div: vector(243),
};

/** A local variable or a parameter. */
export interface Local {
  readonly get: Code;
  set(value: Code): Code;
  /** Sets it and leaves the value. */
  tee(value: Code): Code;
  /** i32 only: adds a constant, or the value of an expression. */
  add(step: number | Code[]): Code;
}

/** A function under construction: its locals and the shapes of its control flow. */
export class FunctionBuilder {
  readonly #locals: ValueType[] = [];
  readonly #params: number;

  constructor(params: number) {
    this.#params = params;
  }

  local(type: ValueType): Local {
    return variable(this.#params + this.#locals.push(type) - 1);
  }

  locals<const T extends readonly ValueType[]>(...types: T): { [K in keyof T]: Local } {
    return types.map((type) => this.local(type)) as { [K in keyof T]: Local };
  }

  /** Runs the body, and again for as long as it ends in `again(condition)` that holds. Nothing else repeats. */
  loop(body: Code): Code {
    return [0x03, VOID, body, 0x0b];
  }

  again(condition: Code): Code {
    return [condition, 0x0d, 0];
  }

  when(condition: Code, body: Code, otherwise: Code = []): Code {
    return [condition, 0x04, VOID, body, 0x05, otherwise, 0x0b];
  }

  /** body while x < end, with x counted up by a step from where it stands. */
  while(x: Local, end: Code, step: number, body: Code): Code {
    const below = i32.lt(x.get, end);
    return this.when(below, this.loop([body, x.add(step), this.again(below)]));
  }

  call(name: string, ...args: Code[]): Code {
    return [args, { call: name }];
  }

  get header(): Code {
    return [unsigned(this.#locals.length), this.#locals.map((type) => [1, TYPE_BYTES[type]])];
  }
}

function variable(index: number): Local {
  const get: Code = [0x20, unsigned(index)];
  const set = (value: Code): Code => [value, 0x21, unsigned(index)];
  return {
    get,
    set,
    tee: (value) => [value, 0x22, unsigned(index)],
    add: (step) => set(i32.add(get, typeof step === "number" ? i32.const(step) : step)),
  };
}

/** A finished function: no result; it works on memory. */
export interface Func {
  readonly name: string;
  readonly params: readonly ValueType[];
  readonly code: Code;
}

/** A function from its parameters and its body. */
export function fn<const P extends readonly ValueType[]>(
  name: string,
  params: P,
  body: (f: FunctionBuilder, params: { [K in keyof P]: Local }) => Code,
): Func {
  const f = new FunctionBuilder(params.length);
  const code = body(f, params.map((_, i) => variable(i)) as { [K in keyof P]: Local });
  return { name, params, code: [f.header, code, 0x0b] };
}

/** Writes nested code as bytes; a call by name becomes one by index. */
function flatten(code: Code, into: number[], indexOf: (name: string) => number): void {
  if (typeof code === "number") into.push(code);
  else if ("call" in code) into.push(0x10, ...unsigned(indexOf(code.call)));
  else for (const part of code) flatten(part, into, indexOf);
}

const list = (items: readonly Code[]): Code => [unsigned(items.length), items];

/**
 * The bytes of a module that exports every function by its name and imports the memory `env.memory` and the address `env.room`.
 *
 * `shared`: whether that memory is shared between threads, which a module has to declare.
 */
export function assemble(functions: readonly Func[], shared: boolean): Uint8Array<ArrayBuffer> {
  const indexOf = (name: string): number => functions.findIndex((f) => f.name === name);
  const bytes = (code: Code): number[] => {
    const flat: number[] = [];
    flatten(code, flat, indexOf);
    return flat;
  };
  const section = (id: number, items: readonly Code[]): Code => {
    const body = bytes(list(items));
    return [id, unsigned(body.length), body];
  };
  const types = functions.map(({ params }) => [0x60, list(params.map((type) => TYPE_BYTES[type])), 0]);
  const limits: Code = shared ? [3, unsigned(0), unsigned(65536)] : [0, unsigned(0)];
  const bodies = functions.map(({ code }) => {
    const body = bytes(code);
    return [unsigned(body.length), body];
  });
  return Uint8Array.from(
    bytes([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(1, types),
      section(2, [
        [text("env"), text("memory"), 2, limits],
        [text("env"), text("room"), 3, TYPE_BYTES.i32, 0],
      ]),
      section(
        3,
        functions.map((_, i) => unsigned(i)),
      ),
      section(
        7,
        functions.map(({ name }, i) => [text(name), 0, unsigned(i)]),
      ),
      section(10, bodies),
    ]),
  );
}
