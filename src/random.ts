/**
 * Random numbers: a seeded generator whose streams can be split by name.
 *
 * The core is xoshiro128** (Blackman & Vigna 2018), 128 bits of state, period 2¹²⁸ − 1. Everything that is random in the
 * library (weights, noise, batches) draws from one of these, so the same seed gives the same run, to the last digit.
 */
import { checkInteger, rangeError, show, typeError } from "./errors.ts";

const rotl = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

/** A 32-bit hash of an integer and a seed. */
export const hashInteger = (x: number, seed: number): number => mix(mix(x | 0) ^ mix((seed | 0) + 0x9e3779b9));

/** Mixes 32 bits so that each input bit reaches each output bit (the finaliser of MurmurHash3). */
function mix(h: number): number {
  let x = h;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Throws a TypeError or RangeError unless the seed is a text or a safe integer. */
export function checkSeed(op: string, seed: unknown): void {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw rangeError(op, "seed", show(seed), "an integer", "of at most 2⁵³ − 1 in size");
  }
  if (typeof seed !== "number" && typeof seed !== "string") throw typeError(op, "seed", show(seed), "an integer");
}

/** Throws a TypeError unless rng is a generator, of whatever copy of the library. */
export function checkGenerator(op: string, rng: unknown): asserts rng is Generator {
  if (typeof (rng as Generator | null | undefined)?.uniform === "function") return;
  throw typeError(op, "rng", show(rng), "a Generator", "make one with new Generator(seed)");
}

/** Four 32-bit words from a text, by FNV-1a with four starting points. */
function words(text: string): Uint32Array {
  const state = new Uint32Array(4);
  for (let w = 0; w < 4; w++) {
    let h = mix(0x811c9dc5 + w);
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    state[w] = mix(h ^ w);
  }
  // xoshiro's one forbidden state is all zeros.
  if (state.every((x) => x === 0)) state[0] = 1;
  return state;
}

/** Where a generator stands in its stream. */
export interface GeneratorState {
  readonly words: Uint32Array;
  readonly spareNormal: number | null;
}

/** The part of the process-wide state (device/state.ts, which stands above this file) that generators look at. */
interface DrawState {
  draws: Map<Generator, GeneratorState> | null;
}

// Not there until the first op: by then nobody tracks draws, since that takes the state itself.
const key = Symbol.for("moegrad");
const trackedDraws = (): DrawState["draws"] => (globalThis as { [key]?: DrawState })[key]?.draws ?? null;

/**
 * Runs fn and remembers which random numbers it drew: `replay(other)` runs another function that draws the same ones, and
 * leaves every generator where it was. `holder` is the process-wide state, `shared()`.
 */
export function trackDraws<T>(holder: DrawState, fn: () => T): [result: T, replay: <U>(fn: () => U) => U] {
  const before = holder.draws;
  const draws = new Map<Generator, GeneratorState>();
  holder.draws = draws;
  try {
    return [fn(), (other) => replayDraws(draws, other)];
  } finally {
    holder.draws = before;
    if (before !== null) for (const [rng, state] of draws) if (!before.has(rng)) before.set(rng, state);
  }
}

function replayDraws<T>(draws: ReadonlyMap<Generator, GeneratorState>, fn: () => T): T {
  const now = [...draws].map(([rng, state]) => [rng, rng.exchange(state)] as const);
  try {
    return fn();
  } finally {
    for (const [rng, state] of now) rng.exchange(state);
  }
}

/** A label as one step of a path: "/" stands between steps, so one inside a label is marked. */
const plain = (label: string | number): string => String(label).replace(/[\\/]/g, "\\$&");

/**
 * A seeded source of random numbers.
 *
 *   const rng = new Generator(7);
 *   const init = rng.split("init"), noise = rng.split("noise");
 *
 * `split(label)` depends on the seed and the label alone, never on how much was drawn: adding a draw to one stream does
 * not shift another.
 *
 * Throws   TypeError or RangeError when the seed is not a safe integer
 */
export class Generator {
  readonly #state: Uint32Array;
  readonly #path: string;
  readonly #forks = new Map<string, number>();
  #spareNormal: number | null = null;

  constructor(seed: number | string) {
    checkSeed("Generator", seed);
    this.#path = String(seed);
    this.#state = words(this.#path);
  }

  /** An independent stream, the same for the same seed and label. `split("a/b")` is not `split("a").split("b")`. */
  split(label: string | number): Generator {
    if (typeof label !== "string" && typeof label !== "number") {
      throw typeError("split", "label", show(label), "a text or a number");
    }
    return new Generator(`${this.#path}/${plain(label)}`);
  }

  /**
   * A stream of its own for everyone who asks: `split(label)` the first time, another independent one at every later call.
   * So the layers of a model, all made with one generator, do not draw the same noise.
   */
  fork(label: string): Generator {
    const count = this.#forks.get(label) ?? 0;
    this.#forks.set(label, count + 1);
    const first = this.split(label);
    return count === 0 ? first : first.split(count);
  }

  /** Puts the generator at a place in its stream, and gives the place where it was. */
  exchange(state: GeneratorState): GeneratorState {
    const before = { words: this.#state.slice(), spareNormal: this.#spareNormal };
    this.#state.set(state.words);
    this.#spareNormal = state.spareNormal;
    return before;
  }

  #noteDraw(): void {
    const draws = trackedDraws();
    if (draws !== null && !draws.has(this))
      draws.set(this, { words: this.#state.slice(), spareNormal: this.#spareNormal });
  }

  /** 32 random bits as an integer in [0, 2³²). */
  bits(): number {
    this.#noteDraw();
    const s = this.#state;
    const result = Math.imul(rotl(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1), a multiple of 2⁻²⁴: exact in float32, so that rounding can never make it 1. */
  uniform(): number {
    return (this.bits() >>> 8) * 2 ** -24;
  }

  /** Normal with mean 0 and variance 1, by Box and Muller's transform, which gives two at a time. */
  normal(): number {
    this.#noteDraw();
    if (this.#spareNormal !== null) {
      const spare = this.#spareNormal;
      this.#spareNormal = null;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log((this.bits() + 0.5) * 2 ** -32));
    const angle = 2 * Math.PI * this.bits() * 2 ** -32;
    this.#spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Gumbel(0, 1): −ln(−ln u). argmax(logits + gumbel) is a draw from softmax(logits). */
  gumbel(): number {
    return -Math.log(-Math.log((this.bits() + 0.5) * 2 ** -32));
  }

  /** An integer in [0, n), each with the same chance: draws beyond the last full multiple of n are thrown back. */
  integer(n: number): number {
    checkInteger("integer", "n", n, 1, 2 ** 32);
    const limit = 2 ** 32 - (2 ** 32 % n);
    let x = this.bits();
    while (x >= limit) x = this.bits();
    return x % n;
  }

  /** A random order of 0 … n − 1, each with the same chance (Fisher and Yates). */
  permutation(n: number): Int32Array {
    checkInteger("permutation", "n", n, 0, 2 ** 31 - 1);
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swap = order[i];
      order[i] = order[j];
      order[j] = swap;
    }
    return order;
  }
}
