/** Cases of the MoE primitives: idle groups, tails, ties, tokens without a slot and with several, one row, one column. */
import type { Kernel } from "../device/kernel.ts";
import * as slots from "../kernels/dispatch.ts";
import * as grouped from "../kernels/groupedMatmul.ts";
import { matmulKernel } from "../kernels/matmul.ts";
import { nextBestKernel } from "../kernels/nextBest.ts";
import { oneHotKernel } from "../kernels/oneHot.ts";
import * as sort from "../kernels/sort.ts";
import { topkKernel } from "../kernels/topk.ts";
import { type Case, call, Draw, sumOf } from "./case.ts";

function products({ floats }: Draw): Case[] {
  const sizes = [
    { M: 5, N: 7, K: 3 },
    { M: 1, N: 9, K: 16 },
    { M: 17, N: 4, K: 33 },
    { M: 3, N: 8, K: 12 },
    { M: 6, N: 20, K: 4 },
    { M: 8, N: 32, K: 12 },
    { M: 5, N: 36, K: 8 },
  ];
  return sizes.flatMap((size) =>
    [false, true].flatMap((transposeA) =>
      [false, true].map((transposeB) => {
        const inputs = [floats(2 * size.M * size.K), floats(2 * size.K * size.N)];
        const attrs = { ...size, transposeA, transposeB, aOfBatch: [0, 1], bOfBatch: transposeA ? [0, 0] : [0, 1] };
        return call(matmulKernel, inputs, attrs, 2 * size.M * size.N, "float32", sumOf(size.K));
      }),
    ),
  );
}

/** Batches of which one broadcasts against dims of the other. */
function batches({ floats }: Draw): Case[] {
  const maps = [
    { aOfBatch: [0, 0, 0, 1, 1, 1], bOfBatch: [0, 1, 2, 0, 1, 2] },
    { aOfBatch: [0, 1, 0, 1], bOfBatch: [0, 1, 2, 3] },
  ];
  return maps.flatMap((map) =>
    [3, 8].map((N) => {
      const size = (list: number[]): number => 1 + Math.max(...list);
      const attrs = { M: 2, N, K: 4, transposeA: false, transposeB: false, ...map };
      const inputs = [floats(8 * size(map.aOfBatch)), floats(4 * N * size(map.bOfBatch))];
      return call(matmulKernel, inputs, attrs, 2 * N * map.aOfBatch.length, "float32", sumOf(4));
    }),
  );
}

function experts({ floats }: Draw): Case[] {
  const groups = [
    { S: 7, D: 4, N: 3, ends: [0, 2, 2, 6] },
    { S: 5, D: 1, N: 6, ends: [0, 5] },
    { S: 6, D: 9, N: 5, ends: [0, 0, 0] },
    { S: 9, D: 8, N: 12, ends: [0, 2, 2, 7] },
    { S: 5, D: 3, N: 4, ends: [0, 0, 4] },
  ];
  return groups.flatMap(({ S, D, N, ends }) => {
    const E = ends.length - 1;
    const offsets = Int32Array.from(ends);
    return [
      ...[false, true].map((transposed) => {
        const inputs = [floats(S * D), floats(E * D * N), offsets];
        return call(grouped.groupedMatmulKernel, inputs, { D, N, transposed }, S * N, "float32", sumOf(D));
      }),
      call(
        grouped.groupedOuterKernel,
        [floats(S * D), floats(S * N), offsets],
        { D, N },
        E * D * N,
        "float32",
        sumOf(S),
      ),
      call(grouped.groupRowsKernel, [floats(E * N), offsets], { N }, S * N),
      call(grouped.groupSumsKernel, [floats(S * N), offsets], { N }, E * N, "float32", sumOf(S)),
    ];
  });
}

interface Routed {
  readonly T: number;
  readonly D: number;
  readonly S: number;
  readonly ends: readonly number[];
}

const ROUTINGS: readonly Routed[] = [
  { T: 4, D: 3, S: 6, ends: [0, 2, 2, 5] },
  { T: 1, D: 1, S: 3, ends: [0, 3] },
  { T: 5, D: 8, S: 10, ends: [0, 0, 0, 0] },
  { T: 3, D: 5, S: 4, ends: [1, 1, 4] },
  { T: 6, D: 12, S: 9, ends: [0, 3, 3, 7] },
];

function mapsOf({ T, S, ends }: Routed, tokenOfSlot: Int32Array): Int32Array[] {
  const slotsOfToken: number[] = [];
  const tokenOffsets = [0];
  for (let t = 0; t < T; t++) {
    for (let s = 0; s < S; s++) if (tokenOfSlot[s] === t) slotsOfToken.push(s);
    tokenOffsets.push(slotsOfToken.length);
  }
  return [tokenOfSlot, Int32Array.from(slotsOfToken), Int32Array.from(tokenOffsets), Int32Array.from(ends)];
}

/** Dispatch, combine and their adjoints: `from` names the inputs, x [T, D], h [S, D] and a [S]. */
function routed({ floats, ints }: Draw, kernel: Kernel<slots.Width>, from: string, to: "T" | "S" | "1"): Case[] {
  return ROUTINGS.map((r) => {
    const { T, S, D } = r;
    const size: Readonly<Record<string, number>> = { x: T * D, h: S * D, a: S };
    const inputs = [...[...from].map((name) => floats(size[name])), ...mapsOf(r, ints(S, T))];
    const length = to === "1" ? S : (to === "T" ? T : S) * D;
    const accuracy = to === "T" ? sumOf(S) : sumOf(to === "1" ? D : from.length - 1);
    return call(kernel, inputs, { D }, length, "float32", accuracy);
  });
}

function moved(draw: Draw): Case[] {
  return [
    ...routed(draw, slots.gatherSlotsKernel, "x", "S"),
    ...routed(draw, slots.sumSlotsKernel, "h", "T"),
    ...routed(draw, slots.combineSlotsKernel, "ha", "T"),
    ...routed(draw, slots.spreadSlotsKernel, "xa", "S"),
    ...routed(draw, slots.slotDotKernel, "xh", "1"),
    ...ROUTINGS.map((r) => call(slots.zeroTailKernel, [draw.floats(r.S), Int32Array.from(r.ends)], {}, r.S)),
  ];
}

function chosen({ floats, ties, ints }: Draw): Case[] {
  const widths = [
    { r: 3, n: 5 },
    { r: 1, n: 1 },
    { r: 4, n: 130 },
  ];
  return widths.flatMap(({ r, n }) =>
    [1, n].flatMap((k) =>
      [floats(r * n, 8), ties(r * n), ints(r * n, 4)].map((x) =>
        call(topkKernel, [x], { op: "topk", n, k }, r * k, "int32"),
      ),
    ),
  );
}

/** Rankings of all experts, of which many tokens prefer the first one, with room for few and for many. */
function moreChoices({ floats }: Draw): Case[] {
  const sizes = [
    { n: 9, E: 4, k: 2, capacity: 5 },
    { n: 7, E: 3, k: 3, capacity: 4 },
    { n: 12, E: 6, k: 1, capacity: 2 },
    { n: 5, E: 1, k: 1, capacity: 9 },
  ];
  return sizes.flatMap(({ n, E, k, capacity }) =>
    [0, 2].map((skew) => {
      const scores = floats(n * E).map((x, i) => x + (i % E === 0 ? skew : 0));
      const ranking = new Int32Array(n * E);
      topkKernel.reference(ranking, [scores], { op: "topk", n: E, k: E });
      return call(nextBestKernel, [ranking], { numExperts: E, k, capacity }, n * k, "int32");
    }),
  );
}

function sorted({ ints }: Draw): Case[] {
  const sizes = [
    { n: 9, numKeys: 4 },
    { n: 40, numKeys: 3 },
    { n: 5, numKeys: 1 },
  ];
  return sizes.flatMap(({ n, numKeys }) => {
    const keys = ints(n, numKeys);
    const odd = Int32Array.from({ length: n }, (_, i) => (i * 7 + 3) % n);
    // Not of every n is i · 7 + 3 a permutation.
    const order = new Set(odd).size === n ? odd : odd.map((_, i) => n - 1 - i);
    return [
      call(sort.bincountKernel, [keys], { numKeys }, numKeys, "int32"),
      call(sort.offsetsKernel, [keys], {}, n + 1, "int32"),
      call(sort.countingSortKernel, [keys], { numKeys }, n, "int32"),
      call(sort.invertKernel, [order], {}, n, "int32"),
      call(sort.slotKeysKernel, [keys, ints(n, 2)], { numExperts: numKeys, capacity: 2 }, n, "int32"),
      call(oneHotKernel, [keys], { classes: numKeys }, n * numKeys),
    ];
  });
}

export function routingCases(): Case[] {
  const draw = new Draw(7);
  return [products, batches, experts, moved, chosen, moreChoices, sorted].flatMap((cases) => cases(draw));
}
