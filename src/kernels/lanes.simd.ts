/**
 * Elementwise functions as WebAssembly: four numbers at a time, and what is left of them one at a time by the same
 * instructions, so that a number's result does not depend on its place.
 */
import {
  type Code,
  type Func,
  type FunctionBuilder,
  f32x4,
  f64x2,
  fill,
  fn,
  i32,
  type Local,
  v128,
} from "../device/assembler.ts";
import type { Call, SimdForm, SimdModule } from "../device/simd.ts";

/** Elements of one call: enough to be worth a thread's while, few enough to share. */
export const CHUNK = 16384;

/** Zeros: where, and how many bytes. */
export const zero: Func = fn("zero", ["i32", "i32"], (_, [at, bytes]) => fill(at.get, i32.const(0), bytes.get));

/** An input of a row: its address, and whether it is one number for all of the row. */
export interface LaneInput {
  readonly at: Local;
  readonly repeated: boolean;
}

/**
 * y[i] = body(x₀[i], x₁[i], …) for n floats. Moves the addresses of y and of inputs that are not repeated past the row.
 * `body` gets the vectors as locals, to read as often as it likes.
 */
export function mapLanes(
  f: FunctionBuilder,
  y: Local,
  n: Code,
  inputs: readonly LaneInput[],
  body: (...xs: Local[]) => Code,
): Code {
  const end = f.local("i32");
  const xs = inputs.map(() => f.local("v128"));
  const result = body(...xs);
  const moving = inputs.map((input, i) => ({ ...input, x: xs[i] })).filter(({ repeated }) => !repeated);
  const step = (bytes: number, load: (at: Code) => Code, store: (at: Code, value: Code) => Code): Code => [
    moving.map(({ at, x }) => x.set(load(at.get))),
    store(y.get, result),
    moving.map(({ at }) => at.add(bytes)),
  ];
  return [
    inputs.map(({ at, repeated }, i) => (repeated ? xs[i].set(v128.loadSplat(at.get)) : [])),
    end.set(i32.add(y.get, i32.shl(i32.and(n, i32.const(-4)), i32.const(2)))),
    f.while(y, end.get, 16, step(16, v128.load, v128.store)),
    end.set(i32.add(y.get, i32.shl(i32.and(n, i32.const(3)), i32.const(2)))),
    f.while(y, end.get, 4, step(4, v128.loadFirst, v128.storeFirst)),
  ];
}

/** The first two of four floats as doubles, and the last two. */
export const lowDoubles = (x: Code): Code => f64x2.fromF32(x);
export const highDoubles = (x: Local): Code => f64x2.fromF32(v128.shuffle(x.get, x.get, [2, 3, 2, 3]));
/** Two pairs of doubles as four floats, each rounded once. */
export const floatsOf = (low: Code, high: Code): Code =>
  v128.shuffle(f32x4.fromF64(low), f32x4.fromF64(high), [0, 1, 4, 5]);

/** Four floats computed in float64, two at a time, and rounded once. `body` gets pairs of doubles. */
export function inDoubles(xs: readonly Local[], body: (...xs: Code[]) => Code): Code {
  return floatsOf(body(...xs.map((x) => lowDoubles(x.get))), body(...xs.map(highDoubles)));
}

/**
 * Walks a row of `bytes` bytes: d = 0, 16, … with loads and stores of four floats, then 4 at a time with those of one.
 */
export function eachColumn(
  f: FunctionBuilder,
  d: Local,
  bytes: Code,
  body: (load: (at: Code) => Code, store: (at: Code, value: Code) => Code) => Code,
): Code {
  return [
    d.set(i32.const(0)),
    f.while(d, i32.and(bytes, i32.const(-16)), 16, body(v128.load, v128.store)),
    f.while(d, bytes, 4, body(v128.loadFirst, v128.storeFirst)),
  ];
}

/** Writes a body in terms of the function that it is part of, whose locals it may add to. */
export type Body = (f: FunctionBuilder, ...xs: Local[]) => Code;

/**
 * A function (x₀, x₁, …, y, n, c₀, c₁, …): y[i] = body(x₀[i], x₁[i], …, c₀, c₁, …) for n floats. The c are numbers that
 * come with the call, as pairs of doubles.
 */
export function laneFunction(name: string, inputs: number, body: Body, numbers = 0): Func {
  const params = [...new Array<"i32">(inputs + 2).fill("i32"), ...new Array<"f64">(numbers).fill("f64")];
  return fn(name, params, (f, locals) => {
    const lanes = locals.slice(0, inputs).map((at) => ({ at, repeated: false }));
    const pairs = locals.slice(inputs + 2).map((c) => ({ c, pair: f.local("v128") }));
    return [
      pairs.map(({ c, pair }) => pair.set(f64x2.splat(c.get))),
      mapLanes(f, locals[inputs], locals[inputs + 1].get, lanes, (...xs) =>
        body(f, ...xs, ...pairs.map((p) => p.pair)),
      ),
    ];
  });
}

/** Asks for a lane function over flat arrays, chunk by chunk. */
export function laneCalls(
  call: Call,
  name: string,
  out: number,
  inputs: readonly number[],
  length: number,
  numbers: readonly number[] = [],
): void {
  for (let i = 0; i < length; i += CHUNK) {
    call(name, ...inputs.map((at) => at + 4 * i), out + 4 * i, Math.min(CHUNK, length - i), ...numbers);
  }
}

/**
 * The form of an elementwise kernel whose inputs all have the output's shape. `ns`: nanoseconds an element. `numbers`: what
 * the body gets of the attributes.
 */
export function laneForm<A>(
  name: string,
  inputs: number,
  ns: number,
  body: Body,
  numbers: { readonly count: number; of(attrs: A): number[] } = { count: 0, of: () => [] },
): SimdForm<A> {
  const module: SimdModule = { functions: () => [laneFunction(name, inputs, body, numbers.count)] };
  return {
    module,
    cost: (_, length) => ns * length,
    run(call, out, blocks, attrs, length) {
      const addresses = blocks.map(({ at }) => at);
      laneCalls(call, name, out, addresses, length, numbers.of(attrs));
    },
  };
}
