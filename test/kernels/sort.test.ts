import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bincount, type Tensor, tensor, zeros } from "../../src/index.ts";
import {
  bincountKernel,
  countingSort,
  countingSortKernel,
  invertKernel,
  invertOrder,
  offsetsKernel,
  offsetsOf,
  slotKeys,
  slotKeysKernel,
} from "../../src/kernels/sort.ts";
import { ints, numbers } from "../arbitraries.ts";
import { equalsReference } from "../suite.ts";

/** Keys from 0 to numKeys − 1: few kinds among many, many kinds among few, none at all. */
const keyed = fc
  .record({ n: fc.oneof(fc.nat(8), fc.integer({ min: 50, max: 70 })), numKeys: fc.integer({ min: 1, max: 9 }) })
  .chain(({ n, numKeys }) => ints(n, 0, numKeys - 1).map((keys) => ({ keys, numKeys })));

const orders = fc.nat(40).chain((n) => fc.shuffledSubarray([...new Array(n).keys()], { minLength: n }));

/** Assignments in order of priority, which of them are allowed, and the room of an expert. */
const assignments = fc
  .record({
    A: fc.nat(30),
    numExperts: fc.integer({ min: 1, max: 5 }),
    capacity: fc.oneof(fc.nat(4), fc.constant(30)),
  })
  .chain(({ A, numExperts, capacity }) =>
    fc.tuple(ints(A, 0, numExperts - 1), ints(A, 0, 1)).map(([expertOf, allowed]) => ({
      expertOf,
      allowed,
      numExperts,
      capacity,
    })),
  );

const int32 = (list: readonly number[]): Tensor => tensor([...list], { dtype: "int32" });

describe("bincount", () => {
  equalsReference(
    bincountKernel,
    keyed.map(({ keys, numKeys }) => ({
      inputs: [keys],
      attrs: { numKeys },
      length: numKeys,
      dtype: "int32" as const,
    })),
    "exact",
  );

  test("counts each integer, and all of them together are all there are", () => {
    fc.assert(
      fc.property(keyed, ({ keys, numKeys }) => {
        const counts = bincount(tensor(keys), { numBins: numKeys });
        expect(counts.dtype).toBe("int32");
        const expected = new Array<number>(numKeys).fill(0);
        for (const key of keys) expected[key]++;
        expect(numbers(counts)).toEqual(expected);
        expect(counts.sum().item()).toBe(keys.length);
        // More bins than keys: the rest are empty.
        expect(numbers(bincount(tensor(keys), { numBins: numKeys + 2 }))).toEqual([...expected, 0, 0]);
      }),
    );
  });

  test("does not depend on order", () => {
    fc.assert(
      fc.property(
        keyed.chain(({ keys, numKeys }) =>
          fc.tuple(
            fc.constant(keys),
            fc.constant(numKeys),
            fc.shuffledSubarray(Array.from(keys), { minLength: keys.length }),
          ),
        ),
        ([keys, numBins, shuffled]) => {
          expect(numbers(bincount(int32(shuffled), { numBins }))).toEqual(numbers(bincount(tensor(keys), { numBins })));
        },
      ),
    );
  });

  test("refuses what it cannot count", () => {
    expect(() => bincount(int32([0, 3]), { numBins: 3 })).toThrow(
      new RangeError("bincount: x has 3 at index 1, expected integers from 0 to 2"),
    );
    expect(() => bincount(int32([-1]), { numBins: 3 })).toThrow(
      new RangeError("bincount: x has -1 at index 0, expected integers from 0 to 2"),
    );
    expect(() => bincount(tensor([1]), { numBins: 3 })).toThrow(
      new TypeError("bincount: x has dtype float32, expected int32"),
    );
    expect(() => bincount(zeros([1, 1], { dtype: "int32" }), { numBins: 3 })).toThrow(
      new RangeError("bincount: x has shape [1, 1], expected 1 dim"),
    );
    expect(() => bincount(int32([0]), { numBins: -1 })).toThrow(
      new RangeError("bincount: numBins has -1, expected an integer from 0 to 2147483647"),
    );
    expect(() => bincount(int32([0]), {} as { numBins: number })).toThrow(
      new TypeError("bincount: numBins has undefined, expected an integer from 0 to 2147483647"),
    );
    expect(() => bincount(int32([0]), { bins: 1 } as unknown as { numBins: number })).toThrow(
      new TypeError('bincount: options has the name "bins", expected numBins'),
    );
  });
});

describe("offsetsOf", () => {
  equalsReference(
    offsetsKernel,
    fc
      .nat(9)
      .chain((n) => ints(n, 0, 5))
      .map((counts) => ({ inputs: [counts], attrs: {}, length: counts.length + 1, dtype: "int32" as const })),
    "exact",
  );

  test("starts at 0, ends at the sum, and steps by the counts", () => {
    fc.assert(
      fc.property(keyed, ({ keys, numKeys }) => {
        const counts = bincount(tensor(keys), { numBins: numKeys });
        const offsets = numbers(offsetsOf(counts));
        expect(offsets.length).toBe(numKeys + 1);
        expect(offsets[0]).toBe(0);
        expect(offsets[numKeys]).toBe(keys.length);
        expect(offsets.slice(1).map((end, b) => end - offsets[b])).toEqual(numbers(counts));
      }),
    );
  });

  test("refuses a count below 0", () => {
    expect(() => offsetsOf(int32([2, -1]))).toThrow(
      new RangeError("offsets: counts has -1 at index 1, expected sizes of at least 0"),
    );
  });
});

describe("countingSort", () => {
  equalsReference(
    countingSortKernel,
    keyed.map(({ keys, numKeys }) => ({
      inputs: [keys],
      attrs: { numKeys },
      length: keys.length,
      dtype: "int32" as const,
    })),
    "exact",
  );

  test("is a permutation that sorts the keys, equal ones in the order they came in", () => {
    fc.assert(
      fc.property(keyed, ({ keys, numKeys }) => {
        const order = numbers(countingSort(tensor(keys), numKeys));
        expect([...order].sort((a, b) => a - b)).toEqual([...keys.keys()]);
        for (let i = 1; i < order.length; i++) {
          const [a, b] = [order[i - 1], order[i]];
          expect(keys[a] < keys[b] || (keys[a] === keys[b] && a < b)).toBe(true);
        }
      }),
    );
  });

  test("puts each key where the offsets of its count say", () => {
    fc.assert(
      fc.property(keyed, ({ keys, numKeys }) => {
        const x = tensor(keys);
        const offsets = numbers(offsetsOf(bincount(x, { numBins: numKeys })));
        const sorted = numbers(x.indexSelect(0, countingSort(x, numKeys)));
        for (let b = 0; b < numKeys; b++) {
          for (const key of sorted.slice(offsets[b], offsets[b + 1])) expect(key).toBe(b);
        }
      }),
    );
  });

  test("refuses a key that is not there", () => {
    expect(() => countingSort(int32([0, 2]), 2)).toThrow(
      new RangeError("countingSort: x has 2 at index 1, expected integers from 0 to 1"),
    );
    expect(() => countingSort(int32([-1]), 2)).toThrow(
      new RangeError("countingSort: x has -1 at index 0, expected integers from 0 to 1"),
    );
  });
});

describe("invertOrder", () => {
  equalsReference(
    invertKernel,
    orders.map((order) => ({
      inputs: [Int32Array.from(order)],
      attrs: {},
      length: order.length,
      dtype: "int32" as const,
    })),
    "exact",
  );

  test("undoes a permutation, from either side, and undoes itself", () => {
    fc.assert(
      fc.property(orders, (list) => {
        const order = int32(list);
        const inverse = invertOrder(order);
        const identity = [...list.keys()];
        expect(numbers(order.indexSelect(0, inverse))).toEqual(identity);
        expect(numbers(inverse.indexSelect(0, order))).toEqual(identity);
        expect(numbers(invertOrder(inverse))).toEqual(list);
      }),
    );
  });
});

describe("slotKeys", () => {
  equalsReference(
    slotKeysKernel,
    assignments.map(({ expertOf, allowed, numExperts, capacity }) => ({
      inputs: [expertOf, allowed],
      attrs: { numExperts, capacity },
      length: expertOf.length,
      dtype: "int32" as const,
    })),
    "exact",
  );

  test("grants each expert its first allowed assignments, up to its capacity, and sends the rest to its tail", () => {
    fc.assert(
      fc.property(assignments, ({ expertOf, allowed, numExperts: E, capacity }) => {
        const keys = numbers(slotKeys(tensor(expertOf), tensor(allowed), E, capacity));
        keys.forEach((key, a) => {
          expect(key % E).toBe(expertOf[a]);
        });
        for (let e = 0; e < E; e++) {
          const asked = keys.flatMap((_, a) => (expertOf[a] === e && allowed[a] === 1 ? [a] : []));
          const granted = keys.flatMap((key, a) => (key === e ? [a] : []));
          expect(granted).toEqual(asked.slice(0, capacity));
        }
      }),
    );
  });

  test("what comes later takes nothing from what came before", () => {
    fc.assert(
      fc.property(assignments, fc.nat(), ({ expertOf, allowed, numExperts, capacity }, cut) => {
        const end = cut % (expertOf.length + 1);
        const all = slotKeys(tensor(expertOf), tensor(allowed), numExperts, capacity);
        const first = slotKeys(tensor(expertOf.slice(0, end)), tensor(allowed.slice(0, end)), numExperts, capacity);
        expect(numbers(first)).toEqual(numbers(all).slice(0, end));
      }),
    );
  });

  test("more room never takes a slot away", () => {
    fc.assert(
      fc.property(assignments, ({ expertOf, allowed, numExperts, capacity }) => {
        const keysAt = (room: number) => numbers(slotKeys(tensor(expertOf), tensor(allowed), numExperts, room));
        const [tight, roomy] = [keysAt(capacity), keysAt(capacity + 1)];
        tight.forEach((key, a) => {
          if (key < numExperts) expect(roomy[a]).toBe(key);
        });
      }),
    );
  });

  test("refuses an expert that is not there", () => {
    expect(() => slotKeys(int32([0, 3]), int32([1, 1]), 3, 1)).toThrow(
      new RangeError("slotKeys: x has 3 at index 1, expected integers from 0 to 2"),
    );
  });
});
