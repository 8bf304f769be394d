/** What the programs of uses.ts, wrong.ts and long.ts have to give. */
import assert from "node:assert/strict";

type Expectations = Readonly<Record<string, (actual: unknown) => void>>;

interface Counted {
  readonly result: unknown;
  readonly launches: number;
  readonly uploads: number;
  readonly readbacks: number;
  readonly fallbacks: number;
}

const DATA = "data: the tensor has its numbers on a device, expected the host (use await read())";
const FREED = /^storage: the tensor has been freed by backward, dispose\(\) or the end of its scope/;
const PAIR = "add: the pair of inputs has shapes [2] and [3], expected shapes that broadcast";

export function close(actual: unknown, wanted: readonly number[], share = 2e-5): void {
  const list = actual as number[];
  assert.equal(list.length, wanted.length);
  const most = Math.max(...wanted.map(Math.abs));
  for (const [i, x] of wanted.entries())
    assert.ok(Math.abs(list[i] - x) <= share * most, `${list[i]} for ${x} at ${i}`);
}

/** The numbers of the loops, a readback for each tensor that is read unless the host has made it, and no fallback. */
const asLoops =
  (reads: number, atLeast = reads) =>
  (actual: unknown) => {
    const { gpu, loops } = actual as { gpu: Counted; loops: number[] };
    close(gpu.result, loops);
    assert.ok(gpu.launches > 0);
    assert.equal(gpu.fallbacks, 0);
    assert.ok(gpu.readbacks <= reads && gpu.readbacks >= atLeast, `${gpu.readbacks} readbacks of ${reads} reads`);
  };

const long: Expectations = {
  "memory of 2,000 steps"(actual) {
    const { found, rises, launches } = actual as {
      found: { live: number; bytes: number | null }[];
      rises: number;
      launches: number;
    };
    const [early, middle, late] = found;
    assert.ok(launches > 2000 * 30, `${launches} launches`);
    assert.equal(rises, 0);
    // The collector may give back what came before the first step.
    assert.ok(middle.live <= early.live && late.live <= middle.live, JSON.stringify(found));
    assert.ok(middle.bytes !== null && late.bytes !== null, "the platform does not say how much memory it has in use");
    // A record of a hundred bytes for every op of these 1,000 steps would be more.
    const growth = late.bytes - middle.bytes;
    assert.ok(growth < 2e6, `${growth} bytes more after 2,000 steps than after 1,000`);
  },
  "memory of sums"(actual) {
    const [, second, ...others] = actual as number[];
    assert.ok(
      others.every((live) => live <= second),
      `${actual}`,
    );
  },
  "curve of 200 steps"(actual) {
    const { result, loops, readbacks, fallbacks } = actual as Counted & { loops: number[] };
    const losses = result as number[];
    assert.deepEqual([losses.length, readbacks, fallbacks], [200, 200, 0]);
    for (const [i, x] of loops.entries())
      assert.ok(Math.abs(losses[i] - x) <= 0.01 * x, `step ${i}: ${losses[i]} for ${x}`);
    assert.ok(loops[199] < loops[0] / 5, "nothing is learned");
  },
};

const uses: Expectations = {
  "use: printing"(actual) {
    const { result, readbacks } = actual as Counted;
    assert.deepEqual([result, readbacks], [[DATA, DATA, DATA, "Tensor(shape [2], float32)"], 0]);
  },
  "use: reports"(actual) {
    const { refused, gpu, loops } = actual as { refused: string[]; gpu: Counted; loops: Record<string, unknown> };
    assert.deepEqual(refused, Array(5).fill(DATA));
    const { importance, routerEntropy, ...counts } = gpu.result as Record<string, unknown>;
    const { importance: sums, routerEntropy: entropy, ...others } = loops;
    assert.deepEqual(counts, others);
    close(importance, sums as number[]);
    close(Object.values(routerEntropy as object), Object.values(entropy as object));
    // Seven parts are read; what the host has made is there.
    assert.ok(gpu.readbacks <= 7 && gpu.readbacks > 3, `${gpu.readbacks} readbacks`);
    assert.equal(gpu.fallbacks, 0);
  },
  // Seven parts of the routing, then output and gate of both replays.
  "use: replay": asLoops(7 + 4, 8),
  "use: gradcheck"(actual) {
    const { result, readbacks } = actual as Counted;
    assert.deepEqual([result, readbacks], [[true, 36, DATA], 0]);
  },
  "use: state dicts": asLoops(3),
  "use: optimiser state": asLoops(3),
  "use: checkpoint": asLoops(3),
  "use: clipping": asLoops(4),
  "use: transforms": asLoops(5),
  // detectAnomaly reads what each of the two ops gives.
  "use: own ops": asLoops(3),
  "use: detectAnomaly"(actual) {
    const found = "detectAnomaly: the output of log has -Infinity at flat index 1, expected finite numbers";
    assert.deepEqual(actual, [found, found]);
  },
  "use: detach and noGrad"(actual) {
    const { result, readbacks } = actual as Counted;
    assert.deepEqual([result, readbacks], [[false, false, [3, 6], [4, 8], [5, 9]], 3]);
  },
};

const wrong: Expectations = {
  "wrong: too large for an upload"(actual) {
    const { result, launches, uploads } = actual as Counted;
    assert.deepEqual([result, launches, uploads], [[2 ** 24 + 1, 3, 3], 0, 0]);
  },
  "wrong: too large for the device"(actual) {
    const { result, fallbacks, readbacks } = actual as Counted;
    assert.deepEqual([result, fallbacks, readbacks], [[2 ** 24 + 16, 1, 1], 1, 1]);
  },
  "wrong: lost between steps"(actual) {
    const { messages, name, losses, loops } = actual as Record<string, unknown>;
    const [step, read, old] = messages as string[];
    for (const message of [step, read]) {
      assert.match(message, /the GPU has gone: the Web(GL context|GPU device) was lost, expected one that works/);
    }
    assert.match(old, /^gpu: an input has its numbers on a device that was replaced/);
    assert.equal(name, "gpu");
    close(losses, loops as number[]);
  },
  "wrong: read after dispose"(actual) {
    const [early, refused, read, other] = actual as [number[], string, string, number[]];
    assert.deepEqual([early, other], [[1, 2], [3]]);
    for (const message of [refused, read]) assert.match(message, FREED);
  },
  "wrong: useDevice twice": (actual) => assert.deepEqual(actual, [["gpu", "gpu"], [2, 3], 6, true, [3, 4]]),
  "wrong: int32"(actual) {
    const [lists, message] = (actual as Counted).result as [unknown, string];
    assert.deepEqual(lists, [
      ["Int32Array", 1, 3, 2],
      ["Int32Array", 7, -6, 10],
      ["Int32Array", 8],
      ["Float32Array", 0, 1, 0.5],
    ]);
    assert.match(message, /^add: the pair of inputs has dtypes int32 and float32, expected one dtype/);
  },
  "wrong: float64"(actual) {
    const [lists, message] = (actual as Counted).result as [unknown, string];
    assert.deepEqual(lists, [
      ["Float64Array", 1, 3e300],
      ["Float64Array", 1 / 3, 2 / 3],
    ]);
    assert.match(message, /^add: the pair of inputs has dtypes float32 and float64, expected one dtype/);
  },
  "wrong: empty tensors"(actual) {
    const [shapes, lists] = actual as [number[][], number[][]];
    assert.deepEqual(shapes, [[0, 2], [3, 2], [0, 3], [], [0, 4], [0, 2], [3], [1]]);
    assert.deepEqual(lists, [[], Array(6).fill(0), [], [0], [], [], [0, 0, 0], [2]]);
  },
  "wrong: reading in a scope"(actual) {
    const [inside, kept, promised] = actual as [number[], number[], string];
    assert.deepEqual(
      [inside, kept],
      [
        [3, 6],
        [4, 7],
      ],
    );
    assert.match(promised, /^scope: fn has a promise as its result, expected a synchronous function/);
  },
  "wrong: an error in a scope"(actual) {
    const [message, good, left] = actual as [string, number[], number];
    assert.ok(message.startsWith(PAIR), message);
    assert.deepEqual([good, left], [[3, 6], 0]);
  },
  "wrong: errors that nobody reads"(actual) {
    const [same, message, other] = actual as [boolean, string, number[]];
    assert.deepEqual([same, other], [true, [5]]);
    assert.match(message, /^indexSelect: index has 3 at flat index 0, expected indices from 0 to 1/);
  },
  "wrong: errors at the call"(actual) {
    const { result, launches } = actual as Counted;
    const [pair, reshape, dtype] = result as string[];
    assert.ok(pair.startsWith(PAIR), pair);
    assert.match(reshape, /^reshape: shape has \[3\], expected sizes that hold the 2 elements/);
    assert.match(dtype, /^indexSelect: index has dtype float32, expected int32/);
    assert.equal(launches, 0);
  },
  "wrong: writing into what was read": (actual) =>
    assert.deepEqual(actual, [
      [1, 2],
      [2, 3],
    ]),
  "memory without a scope"(actual) {
    const { most, made } = actual as { most: number; made: number };
    // Of some reads the collector may come late; of sixty it does not.
    assert.ok(made >= 1200 && most < 400, `${most} live of ${made} made`);
  },
};

export const expectedUses: Expectations = {
  ...long,
  ...uses,
  ...wrong,
  "PyTorch vectors"(actual) {
    const { result, launches, fallbacks } = actual as Counted;
    assert.deepEqual([result, fallbacks], [[], 0]);
    assert.ok(launches > 500, `${launches} launches`);
  },
};
