/**
 * Calls of every kernel that has a form on the GPU, with the awkward among them: idle groups, tails, ties, repeated tokens,
 * broadcasts that merge and such that do not, one row, one column.
 *
 * Plain data from one seed, since they run in a browser. The loops are right by their own tests.
 */

import type { DType, Flat, Kernel } from "../../src/device/kernel.ts";
import { formOf } from "../../src/gpu/forms.ts";
import { Generator } from "../../src/index.ts";
import * as activations from "../../src/kernels/activations.ts";
import * as compare from "../../src/kernels/compare.ts";
import { concatKernel } from "../../src/kernels/concat.ts";
import * as loss from "../../src/kernels/crossEntropy.ts";
import * as slots from "../../src/kernels/dispatch.ts";
import * as elementwise from "../../src/kernels/elementwise.ts";
import * as gelu from "../../src/kernels/gelu.ts";
import * as grouped from "../../src/kernels/groupedMatmul.ts";
import { matmulKernel } from "../../src/kernels/matmul.ts";
import * as movement from "../../src/kernels/movement.ts";
import * as norm from "../../src/kernels/norm.ts";
import { oneHotKernel } from "../../src/kernels/oneHot.ts";
import * as reduce from "../../src/kernels/reduce.ts";
import * as rows from "../../src/kernels/rows.ts";
import { cumsumKernel } from "../../src/kernels/scan.ts";
import * as softmax from "../../src/kernels/softmax.ts";
import * as sort from "../../src/kernels/sort.ts";
import { topkKernel } from "../../src/kernels/topk.ts";
import * as unary from "../../src/kernels/unary.ts";
import * as update from "../../src/kernels/update.ts";
import { broadcastShapes, sizeOf } from "../../src/shape.ts";

export interface Case {
  readonly kernel: Kernel<never>;
  readonly inputs: readonly Flat[];
  readonly attrs: object;
  readonly length: number;
  readonly dtype: DType;
  /** The size of terms that cancel, where the result itself may be far smaller. */
  readonly terms?: number;
}

const rng = new Generator(5);
const floats = (n: number, scale = 2): Float32Array =>
  Float32Array.from({ length: n }, () => scale * (2 * rng.uniform() - 1));
const ints = (n: number, below: number): Int32Array => Int32Array.from({ length: n }, () => rng.integer(below));
/** Numbers of which many are equal. */
const ties = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.integer(5) - 2);

function call<A extends object>(
  kernel: Kernel<A>,
  inputs: readonly Flat[],
  attrs: A,
  length: number,
  dtype: DType = "float32",
): Case {
  return { kernel: kernel as unknown as Kernel<never>, inputs, attrs, length, dtype };
}

const shapePairs = [
  [
    [3, 5],
    [3, 5],
  ],
  [[4, 3], [3]],
  [
    [4, 1],
    [1, 7],
  ],
  [
    [2, 3, 4],
    [3, 1],
  ],
  [
    [2, 1, 3, 1],
    [4, 1, 5],
  ],
  [[6], []],
  [[], [2, 2]],
  [[600], [600]],
  [[3, 8], [8]],
  [
    [3, 8],
    [3, 1],
  ],
  [
    [2, 1, 12],
    [5, 1],
  ],
  [
    [2, 3, 1, 4],
    [2, 1, 5, 4],
  ],
] as const;

const binary = (kernel: Kernel<elementwise.Broadcast>, number: (n: number) => Flat, dtype: DType = "float32"): Case[] =>
  shapePairs.map(([a, b]) => {
    const shape = broadcastShapes("case", a, b);
    const attrs = elementwise.planBroadcast(a, b, shape);
    return call(kernel, [number(sizeOf(a)), number(sizeOf(b))], attrs, sizeOf(shape), dtype);
  });

const away = (n: number): Float32Array => floats(n).map((x) => (Math.abs(x) < 0.25 ? x + 1 : x));
const positive = (n: number): Float32Array => floats(n).map((x) => Math.abs(x) + 0.1);

const cellwise = (kernel: Kernel<object>, inputs: number, number = floats as (n: number) => Flat): Case[] =>
  [1, 7, 8, 300].map((n) =>
    call(
      kernel,
      Array.from({ length: inputs }, () => number(n)),
      {},
      n,
    ),
  );

const wide = (n: number): Float32Array => floats(n, 30);

/** [T, E, S, granted] with tokens that have no slot, one or several. */
const routings = [
  { T: 4, D: 3, S: 6, ends: [0, 2, 2, 5] },
  { T: 1, D: 1, S: 3, ends: [0, 3] },
  { T: 5, D: 8, S: 10, ends: [0, 0, 0, 0] },
  { T: 3, D: 5, S: 4, ends: [1, 1, 4] },
  { T: 6, D: 12, S: 9, ends: [0, 3, 3, 7] },
];

function maps({ T, S, ends }: (typeof routings)[number]): Int32Array[] {
  const tokenOfSlot = ints(S, T);
  const slotsOfToken: number[] = [];
  const tokenOffsets = [0];
  for (let t = 0; t < T; t++) {
    for (let s = 0; s < S; s++) if (tokenOfSlot[s] === t) slotsOfToken.push(s);
    tokenOffsets.push(slotsOfToken.length);
  }
  return [tokenOfSlot, Int32Array.from(slotsOfToken), Int32Array.from(tokenOffsets), Int32Array.from(ends)];
}

const routed = (kernel: Kernel<slots.Width>, from: string, to: "T" | "S" | "1"): Case[] =>
  routings.map((r) => {
    const size = { x: r.T * r.D, h: r.S * r.D, a: r.S };
    const inputs = [...from].map((name) => floats(size[name as "x"]));
    return call(kernel, [...inputs, ...maps(r)], { D: r.D }, to === "1" ? r.S : r[to] * r.D);
  });

const products = [
  { M: 5, N: 7, K: 3 },
  { M: 1, N: 9, K: 16 },
  { M: 17, N: 4, K: 33 },
  { M: 3, N: 8, K: 12 },
  { M: 6, N: 20, K: 4 },
].flatMap((size) =>
  [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) =>
      call(
        matmulKernel,
        [floats(2 * size.M * size.K), floats(2 * size.K * size.N)],
        { ...size, transposeA, transposeB, aOfBatch: [0, 1], bOfBatch: transposeA ? [0, 0] : [0, 1] },
        2 * size.M * size.N,
      ),
    ),
  ),
);

/** Batches of which one broadcasts against dims of the other. */
const batches: Case[] = [
  { aOfBatch: [0, 0, 0, 1, 1, 1], bOfBatch: [0, 1, 2, 0, 1, 2] },
  { aOfBatch: [0, 1, 0, 1], bOfBatch: [0, 1, 2, 3] },
].flatMap((maps) =>
  [3, 8].map((N) => {
    const size = (map: number[]) => 1 + Math.max(...map);
    const attrs = { M: 2, N, K: 4, transposeA: false, transposeB: false, ...maps };
    const inputs = [floats(8 * size(maps.aOfBatch)), floats(4 * N * size(maps.bOfBatch))];
    return call(matmulKernel, inputs, attrs, 2 * N * maps.aOfBatch.length);
  }),
);

const groups = [
  { S: 7, D: 4, N: 3, ends: [0, 2, 2, 6] },
  { S: 5, D: 1, N: 6, ends: [0, 5] },
  { S: 6, D: 9, N: 5, ends: [0, 0, 0] },
  { S: 9, D: 8, N: 12, ends: [0, 2, 2, 7] },
  { S: 5, D: 3, N: 4, ends: [0, 0, 4] },
];
const ends = (g: (typeof groups)[number]): Int32Array => Int32Array.from(g.ends);

const experts: Case[] = groups.flatMap((g) => {
  const { S, D, N } = g;
  const E = g.ends.length - 1;
  return [
    ...[false, true].map((transposed) =>
      call(grouped.groupedMatmulKernel, [floats(S * D), floats(E * D * N), ends(g)], { D, N, transposed }, S * N),
    ),
    call(grouped.groupedOuterKernel, [floats(S * D), floats(S * N), ends(g)], { D, N }, E * D * N),
    call(grouped.groupRowsKernel, [floats(E * N), ends(g)], { N }, S * N),
    call(grouped.groupSumsKernel, [floats(S * N), ends(g)], { N }, E * N),
  ];
});

const spansOf = () => [
  { outer: 1, n: 5, inner: 1 },
  { outer: 3, n: 4, inner: 2 },
  { outer: 2, n: 1, inner: 7 },
];

const spans = [
  { outer: 1, n: 5, inner: 1 },
  { outer: 3, n: 4, inner: 2 },
  { outer: 2, n: 1, inner: 7 },
  { outer: 2, n: 2000, inner: 3 },
  { outer: 3, n: 8, inner: 4 },
  { outer: 2, n: 600, inner: 8 },
  { outer: 3, n: 700, inner: 1 },
];

const moved: Case[] = [
  { shape: [3, 4], strides: [1, 3], offset: 0 },
  { shape: [2, 2, 4], strides: [4, 8, 1], offset: 4 },
  { shape: [3, 4], strides: [0, 1], offset: 8 },
  { shape: [4, 2, 3], strides: [1, 12, 4], offset: 0 },
  { shape: [2, 3, 2], strides: [0, 2, 1], offset: 1 },
  { shape: [3], strides: [-2], offset: 9 },
].flatMap((plan) => [
  call(movement.stridedKernel, [floats(24)], plan, sizeOf(plan.shape)),
  call(movement.stridedKernel, [ints(24, 100)], plan, sizeOf(plan.shape), "int32"),
]);

const indexed: Case[] = [
  { outer: 1, n: 5, inner: 3, M: 4 },
  { outer: 2, n: 3, inner: 1, M: 6 },
  { outer: 3, n: 1, inner: 4, M: 2 },
  { outer: 2, n: 3, inner: 8, M: 5 },
].flatMap(({ outer, n, inner, M }) => {
  const attrs = { op: "case", outer, n, inner, M };
  const [from, to] = [outer * n * inner, outer * M * inner];
  return [
    call(rows.indexSelectKernel, [floats(from), ints(M, n)], attrs, to),
    call(rows.indexSelectKernel, [ints(from, 50), ints(M, n)], attrs, to, "int32"),
    call(rows.indexAddKernel, [floats(to), ints(M, n)], attrs, from),
    call(rows.indexAddToKernel, [floats(from), floats(to), ints(M, n)], attrs, from),
    call(rows.indexAddToKernel, [ints(from, 9), ints(to, 9), ints(M, n)], attrs, from, "int32"),
    call(rows.gatherKernel, [floats(from), ints(to, n)], attrs, to),
    call(rows.scatterAddKernel, [floats(to), ints(to, n)], attrs, from),
  ];
});

const placed: Case[] = [
  { shape: [2, 3], strides: [8, 2], offset: 1 },
  { shape: [2, 2, 3], strides: [12, 6, 1], offset: 3 },
  { shape: [1], strides: [5], offset: 4 },
].map((plan) => call(movement.placeKernel, [floats(sizeOf(plan.shape))], plan, 24));

const joined: Case[] = [floats, (n: number) => ints(n, 99)].flatMap((number, integers) =>
  [
    [[3, 2, 2]],
    [
      [1, 4, 3],
      [1, 2, 3],
    ],
    [
      [2, 1, 1],
      [2, 3, 1],
      [2, 2, 1],
    ],
  ].map((list) => {
    const spans = list.map(([outer, n, inner]) => ({ outer, n, inner }));
    const sizes = spans.map(({ outer, n, inner }) => outer * n * inner);
    const length = sizes.reduce((a, b) => a + b, 0);
    return call(
      concatKernel,
      sizes.map((n) => number(n)),
      { spans },
      length,
      integers ? "int32" : "float32",
    );
  }),
);

const scanned: Case[] = spansOf().flatMap((span) =>
  [false, true].flatMap((exclusive) =>
    [false, true].flatMap((reverse) => {
      const length = span.outer * span.n * span.inner;
      const attrs = { ...span, exclusive, reverse };
      return [
        call(cumsumKernel, [floats(length)], attrs, length),
        call(cumsumKernel, [ints(length, 9)], attrs, length, "int32"),
      ];
    }),
  ),
);

const largest: Case[] = spansOf().flatMap((span) =>
  ([1, -1] as const).flatMap((sign) => {
    const length = span.outer * span.n * span.inner;
    const odd = floats(length);
    odd[length >> 1] = Number.NaN;
    odd[length >> 2] = Infinity;
    return [odd, ties(length), ints(length, 3)].map((x) =>
      call(reduce.argmaxKernel, [x], { ...span, sign }, span.outer * span.inner, "int32"),
    );
  }),
);

const rowWidths = [
  { r: 3, n: 5 },
  { r: 1, n: 1 },
  { r: 4, n: 130 },
  { r: 3, n: 8 },
  { r: 2, n: 132 },
];

const rowwise: Case[] = rowWidths.flatMap(({ r, n }) => {
  const size = r * n;
  const x = floats(size, 8);
  const y = floats(size).map(Math.abs);
  const classes = Int32Array.from({ length: r }, (_, i) => (i === 1 ? -100 : rng.integer(n)));
  const norms = [true, false].flatMap((centre) => [
    call(norm.normalizeKernel, [x], { D: n, eps: 1e-2, centre }, size),
    { ...call(norm.normalizeBackwardKernel, [floats(size), x], { D: n, eps: 1e-2, centre }, size), terms: 1 },
  ]);
  const losses = [0, 0.1].flatMap((smoothing) => [
    { ...call(loss.crossEntropyKernel, [x, classes], { C: n, ignoreIndex: -100, smoothing }, r), terms: 1 },
    {
      ...call(loss.crossEntropyBackwardKernel, [floats(r), x, classes], { C: n, ignoreIndex: -100, smoothing }, size),
      terms: 1,
    },
  ]);
  return [
    ...norms,
    ...losses,
    call(softmax.softmaxKernel, [x], { n }, size),
    call(
      softmax.softmaxKernel,
      [x.map((v, i) => (i === 0 ? Infinity : i === 1 ? -Infinity : v))],
      { n, limit: true },
      size,
    ),
    call(softmax.softmaxKernel, [x.map((v) => 1e4 * v)], { n }, size),
    call(softmax.logSoftmaxKernel, [x], { n }, size),
    call(softmax.logsumexpKernel, [x], { n }, r),
    call(softmax.softmaxBackwardKernel, [floats(size), y], { n }, size),
    call(softmax.logSoftmaxBackwardKernel, [floats(size), y.map((v) => -v)], { n }, size),
    ...[1, n].flatMap((k) => [
      call(topkKernel, [x], { op: "topk", n, k }, r * k, "int32"),
      call(topkKernel, [ties(size)], { op: "topk", n, k }, r * k, "int32"),
      call(topkKernel, [ints(size, 4)], { op: "topk", n, k }, r * k, "int32"),
    ]),
  ];
});

const sorted: Case[] = [
  { n: 9, numKeys: 4 },
  { n: 40, numKeys: 3 },
  { n: 5, numKeys: 1 },
].flatMap(({ n, numKeys }) => {
  const keys = ints(n, numKeys);
  const order = Int32Array.from({ length: n }, (_, i) => (i * 2 + 1) % (n % 2 === 1 ? n : n + 1)).slice(0, n);
  const permutation = Int32Array.from(new Set([...order, ...Array.from({ length: n }, (_, i) => i)])).filter(
    (i) => i < n,
  );
  return [
    call(sort.bincountKernel, [keys], { numKeys }, numKeys, "int32"),
    call(sort.offsetsKernel, [keys], {}, n + 1, "int32"),
    call(sort.countingSortKernel, [keys], { numKeys }, n, "int32"),
    call(sort.invertKernel, [permutation], {}, n, "int32"),
    call(sort.slotKeysKernel, [keys, ints(n, 2)], { numExperts: numKeys, capacity: 2 }, n, "int32"),
    call(oneHotKernel, [keys], { classes: numKeys }, n * numKeys),
  ];
});

const chosen: Case[] = [
  [1, 1, 1],
  [1, 0, 1],
  [1, 1, 0],
  [0, 1, 1],
].map((steps) => {
  const [c, a, b] = steps.map((step) => (step === 0 ? 1 : 6));
  return call(compare.whereKernel, [ints(c, 2), floats(a), floats(b)], { steps: steps as [number, number, number] }, 6);
});

export const cases: readonly Case[] = [
  ...binary(elementwise.addKernel, floats),
  ...binary(elementwise.addKernel, (n) => ints(n, 1000), "int32"),
  ...binary(elementwise.subKernel, floats),
  ...binary(elementwise.mulKernel, floats),
  ...binary(elementwise.mulKernel, (n) => ints(n, 1000), "int32"),
  ...binary(elementwise.divKernel, away),
  ...binary(elementwise.maximumKernel, ties),
  ...binary(elementwise.minimumKernel, ties),
  ...[compare.eqKernel, compare.neKernel, compare.ltKernel, compare.leKernel].flatMap((kernel) => [
    ...binary(kernel, ties, "int32"),
    ...binary(kernel, (n) => ints(n, 3), "int32"),
  ]),
  ...chosen,
  call(compare.clampKernel, [floats(20)], { min: -0.5, max: 1 }, 20),
  call(compare.clampBackwardKernel, [floats(20), ties(20)], { min: -1, max: 1 }, 20),
  ...[unary.negKernel, unary.expKernel, unary.squareKernel, unary.absKernel, unary.signKernel].flatMap((k) =>
    cellwise(k, 1),
  ),
  call(unary.negKernel, [ints(6, 90)], {}, 6, "int32"),
  call(unary.castKernel, [ints(6, 90)], { dtype: "float32" }, 6),
  ...[unary.logKernel, unary.sqrtKernel].flatMap((k) => cellwise(k, 1, positive)),
  ...[
    activations.sigmoidKernel,
    activations.tanhKernel,
    activations.reluKernel,
    activations.siluKernel,
    activations.softplusKernel,
    gelu.normalCdfKernel,
    gelu.geluKernel,
    gelu.geluTanhKernel,
  ].flatMap((k) => [...cellwise(k, 1), ...cellwise(k, 1, wide)]),
  ...[
    activations.sigmoidBackwardKernel,
    activations.tanhBackwardKernel,
    activations.reluBackwardKernel,
    activations.siluBackwardKernel,
    gelu.geluBackwardKernel,
    gelu.geluTanhBackwardKernel,
  ].flatMap((k) => cellwise(k, 2)),
  ...products,
  ...batches,
  ...experts,
  ...routed(slots.gatherSlotsKernel, "x", "S"),
  ...routed(slots.sumSlotsKernel, "h", "T"),
  ...routed(slots.combineSlotsKernel, "ha", "T"),
  ...routed(slots.spreadSlotsKernel, "xa", "S"),
  ...routed(slots.slotDotKernel, "xh", "1"),
  ...routings.map((r) => call(slots.zeroTailKernel, [floats(r.S), Int32Array.from(r.ends)], {}, r.S)),
  ...spans.map((span) =>
    call(reduce.sumKernel, [floats(span.outer * span.n * span.inner)], span, span.outer * span.inner),
  ),
  ...moved,
  ...placed,
  ...joined,
  ...scanned,
  ...largest,
  ...indexed,
  ...rowwise,
  ...sorted,
  call(update.blendKernel, [floats(9), floats(9)], { p: 0.9, q: -0.1 }, 9),
  call(update.secondMomentKernel, [positive(9), floats(9)], { beta: 0.999 }, 9),
  call(update.adamStepKernel, [floats(9), floats(9), positive(9)], { keep: 0.99, rate: 1e-2, root: 0.3, eps: 1e-8 }, 9),
];

const modules = [
  ...[
    activations,
    compare,
    loss,
    slots,
    elementwise,
    gelu,
    grouped,
    movement,
    norm,
    reduce,
    rows,
    softmax,
    sort,
    unary,
  ],
  ...[update, { concatKernel }, { cumsumKernel }, { matmulKernel }, { oneHotKernel }, { topkKernel }],
];

/** Names of kernels that have a form on the GPU, and of those that the loops run there. */
export function kernelNames(): { forms: string[]; loops: string[] } {
  const kernels = modules
    .flatMap((m) => Object.values(m))
    .filter((x): x is Kernel<never> => {
      return typeof x === "object" && x !== null && "loops" in x && "reference" in x;
    });
  const names = (with_: boolean): string[] => [
    ...new Set(kernels.filter((kernel) => (formOf(kernel as never) !== undefined) === with_).map(({ name }) => name)),
  ];
  return { forms: names(true), loops: names(false) };
}
