/** What the programs have to give. */
import assert from "node:assert/strict";
import { close, expectedUses } from "./expectedUses.ts";

interface Counted {
  readonly result: unknown;
  readonly launches: number;
  readonly uploads: number;
  readonly readbacks: number;
  readonly fallbacks: number;
}

/** What the reference forms give in float64. */
const GRADIENTS: { x: number[]; w: number[] } = {
  x: [0.011595779908084117, 0.03605946783661266, 0.00005931343965161341, 0.0002890547718880594],
  w: [0.018762382216017212, -0.0023925291190303503, 0.037238756778574696, -0.004809435185487338],
};

/** The losses of the loops, read once a step, and nothing else. */
function trained(actual: unknown, looked: readonly string[] = []): void {
  const { result, loops, readbacks, byLoops, checked } = actual as Counted & {
    loops: number[];
    byLoops: string[];
    checked: string[];
  };
  close(result, loops);
  assert.deepEqual([byLoops, checked, readbacks], [[], looked, loops.length + looked.length * 2]);
}

export const expected: Readonly<Record<string, (actual: unknown) => void>> = {
  ...expectedUses,
  "train token": (actual) => trained(actual),
  "train capacity": (actual) => trained(actual),
  "train switch": (actual) => trained(actual),
  "train gshard": (actual) => trained(actual),
  "train expert": (actual) => trained(actual),
  "train transformer": (actual) => trained(actual),
  memory(actual) {
    const live = actual as number[];
    // From the fifth step on no step adds to them; the collector may give back what came before.
    const rises = live.slice(5).filter((n, i) => n > live[i + 4]);
    assert.deepEqual([live.length, rises], [30, []]);
  },
  launched(actual) {
    const [driver, ours] = actual as number[];
    // Besides: an upload, and what a route may need to read back.
    assert.equal(ours, 4);
    assert.ok(driver > ours && driver <= ours + 2, `${driver} of the driver for ${ours}`);
  },
  lost(actual) {
    const [messages, name, sameRoute, numbers, old] = actual as [string[], string, boolean, number[], string];
    for (const message of messages) {
      assert.match(message, /the GPU has gone: the Web(GL context|GPU device) was lost, expected one that works/);
    }
    assert.deepEqual([name, sameRoute, numbers], ["gpu", true, [3, 4]]);
    assert.match(old, /^gpu: an input has its numbers on a device that was replaced/);
  },
  chain(actual) {
    const x = [1, 2, 3, 4].map((v) => Array.from({ length: 10 }).reduce((y: number) => (y + 1) * 2, v));
    assert.deepEqual(actual, { result: x, launches: 20, uploads: 1, readbacks: 1, fallbacks: 0 });
  },
  fallback: (actual) =>
    assert.deepEqual(actual, { result: [8, 18, 32], launches: 2, uploads: 2, readbacks: 2, fallbacks: 1 }),
  float64(actual) {
    const { result, fallbacks, readbacks } = actual as Counted;
    assert.deepEqual(
      result,
      [1, 2, 4].map((x) => Math.fround(x / 3) * 3),
    );
    assert.deepEqual([fallbacks, readbacks], [2, 1]);
  },
  largeIntegers(actual) {
    const { result, launches } = actual as Counted;
    assert.deepEqual([result, launches], [[2 ** 30 + 1, 6], 0]);
  },
  gradients(actual) {
    const { result, fallbacks, readbacks } = actual as Counted;
    const [dx, dw] = result as number[][];
    close(dx, GRADIENTS.x);
    close(dw, GRADIENTS.w);
    assert.deepEqual([fallbacks, readbacks], [0, 2]);
  },
  data: (actual) => assert.match(String(actual), /^data: the tensor has its numbers on a device/),
  badIndex: (actual) =>
    assert.match(String(actual), /^indexSelect: index has 7 at flat index 0, expected indices from 0 to 1/),
  badDeviceIndex(actual) {
    const [message, y, index] = actual as [string, number[], number[]];
    assert.match(message, /^indexSelect: index has 3 at flat index 0, expected indices from 0 to 1/);
    assert.deepEqual(
      [y, index],
      [
        [2, 3],
        [3, 2, 1, 0],
      ],
    );
  },
  nan: (actual) => assert.equal(actual, "topk: x has a NaN, expected numbers that can be ordered"),
  disposed: (actual) => {
    for (const message of actual as string[]) assert.match(message, /^storage: the tensor has been freed/);
  },
  scoped(actual) {
    const [kept, message] = actual as [number[], string];
    assert.deepEqual(kept, [6, 9]);
    assert.match(message, /^storage: the tensor has been freed/);
  },
  empty: (actual) =>
    assert.deepEqual(actual, { result: [[], [0]], launches: 0, uploads: 0, readbacks: 0, fallbacks: 0 }),
  switched(actual) {
    const [name, x, message] = actual as [string, number[], string];
    assert.deepEqual([name, x], ["loops", [2, 3]]);
    assert.match(message, /^run: input has its numbers on another device/);
  },
  folded: (actual) => assert.deepEqual(actual, [5 * 52_431, 0]),
};
