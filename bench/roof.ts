/**
 * The roof: what this machine's core could do at best with WebAssembly's vectors, measured.
 *
 *   peak        multiplications and additions of four floats each, in chains that do not wait for each other
 *   bandwidth   memory.copy of an array that no cache holds; bytes read and bytes written both count
 *
 * Source   Williams et al. 2009, "Roofline: an insightful visual performance model"
 */
import { assemble, copy, type Func, f32x4, fn, i32, room, v128 } from "../src/device/assembler.ts";
import { instantiate, newMemory, type WasmMemory } from "../src/device/platform.ts";
import { type Clock, clocks } from "./timing.ts";

export interface Roof {
  readonly gflops: number;
  readonly gbytes: number;
}

const PAGE = 65536;
const COPIED = 64 * 2 ** 20;
const LANES = 4;

/** A name that says how many chains there are. */
const chainsOf = (count: number): string => `chains${count}`;

/**
 * x ← x · ½ + 1 in `count` vectors, n times over; their sum goes to the room.
 *
 * A core starts a product before the one ahead of it is done, so it takes about as many chains as an operation takes
 * cycles, times units. More than there are registers would be slower again.
 */
function chains(count: number): Func {
  return fn(chainsOf(count), ["i32"], (f, [n]) => {
    const [half, one] = f.locals("v128", "v128");
    const xs = Array.from({ length: count }, () => f.local("v128"));
    return [
      half.set(f32x4.const(0.5)),
      one.set(f32x4.const(1)),
      f.loop([
        xs.map((x) => x.set(f32x4.add(f32x4.mul(x.get, half.get), one.get))),
        n.set(i32.sub(n.get, i32.const(1))),
        f.again(n.get),
      ]),
      v128.store(
        room,
        xs.map((x) => x.get).reduce((a, b) => f32x4.add(a, b)),
      ),
    ];
  });
}

const copyBytes = fn("copy", ["i32", "i32", "i32"], (_, [to, from, bytes]) => copy(to.get, from.get, bytes.get));

/** How many chains are tried: ten and twelve fit the sixteen registers of x86 beside the constants, the others spare some. */
export const CHAINS = [6, 8, 10, 12] as const;

export interface RoofKernels {
  readonly memory: WasmMemory;
  /** Runs so many chains n times; gives the first lane of their sum. */
  chains(count: (typeof CHAINS)[number], n: number): number;
  copy(to: number, from: number, bytes: number): void;
}

/** The kernels over a memory of so many bytes, of which the first sixteen are where sums go. */
export function roofKernels(bytes: number): RoofKernels {
  const pages = Math.ceil(bytes / PAGE);
  const memory = newMemory(pages, false);
  memory.grow(pages - 1);
  const { copy, ...functions } = instantiate(assemble([...CHAINS.map(chains), copyBytes], false), memory, 0);
  const sum = new Float32Array(memory.buffer, 0, 1);
  return {
    ...{ memory, copy },
    chains(count, n) {
      functions[chainsOf(count)](n);
      return sum[0];
    },
  };
}

/** The roof of one core. Of many tries the best counts: nothing makes a core faster than it is. */
export function measureRoof(seconds: number, clock: Clock): Roof {
  const best = (call: () => unknown, ms: number) => bestMs(call, ms, clocks[clock]);
  const kernels = roofKernels(2 * COPIED + PAGE);
  // Touched once: a page that was never written to is not memory yet.
  new Uint8Array(kernels.memory.buffer).fill(1);
  const n = 100_000;
  const share = (1000 * seconds) / (CHAINS.length + 1);
  const rates = CHAINS.map((count) => (2 * LANES * count * n) / best(() => kernels.chains(count, n), share) / 1e6);
  const copied = best(() => kernels.copy(PAGE, PAGE + COPIED, COPIED), share);
  return { gflops: Math.max(...rates), gbytes: (2 * COPIED) / copied / 1e6 };
}

/** The shortest call of as many as fit into a time. */
function bestMs(call: () => unknown, ms: number, now: () => number): number {
  let best = Infinity;
  for (const end = now() + ms; now() < end; ) {
    const start = now();
    call();
    best = Math.min(best, now() - start);
  }
  return best;
}
