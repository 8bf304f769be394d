/** Cases of what works along rows or moves numbers: sums of one and of thousands, ties, repeated and reversed steps. */
import { concatKernel } from "../kernels/concat.ts";
import * as loss from "../kernels/crossEntropy.ts";
import * as movement from "../kernels/movement.ts";
import * as norm from "../kernels/norm.ts";
import * as reduce from "../kernels/reduce.ts";
import * as rows from "../kernels/rows.ts";
import { cumsumKernel } from "../kernels/scan.ts";
import * as softmax from "../kernels/softmax.ts";
import { sizeOf } from "../shape.ts";
import { type Case, call, Draw, MOST, sumOf, ULP } from "./case.ts";

const SPANS = [
  { outer: 1, n: 5, inner: 1 },
  { outer: 3, n: 4, inner: 2 },
  { outer: 2, n: 1, inner: 7 },
  { outer: 2, n: 2000, inner: 3 },
  { outer: 3, n: 8, inner: 4 },
  { outer: 2, n: 600, inner: 8 },
  { outer: 3, n: 700, inner: 1 },
];
const SHORT = SPANS.slice(0, 3);

function sums({ floats, ints }: Draw): Case[] {
  return SPANS.flatMap((span) => {
    const [from, to] = [span.outer * span.n * span.inner, span.outer * span.inner];
    return [
      call(reduce.sumKernel, [floats(from)], span, to, "float32", sumOf(span.n / 2)),
      call(reduce.sumKernel, [ints(from, 9)], span, to, "int32"),
    ];
  });
}

function scans({ floats, ints }: Draw): Case[] {
  const ways = [false, true].flatMap((exclusive) => [false, true].map((reverse) => ({ exclusive, reverse })));
  return SHORT.flatMap((span) =>
    ways.flatMap((way) => {
      const length = span.outer * span.n * span.inner;
      return [
        call(cumsumKernel, [floats(length)], { ...span, ...way }, length, "float32", sumOf(span.n)),
        call(cumsumKernel, [ints(length, 9)], { ...span, ...way }, length, "int32"),
      ];
    }),
  );
}

function largest({ floats, ties, ints }: Draw): Case[] {
  return SHORT.flatMap((span) =>
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
}

function moved({ floats, ints }: Draw): Case[] {
  const read = [
    { shape: [3, 4], strides: [1, 3], offset: 0 },
    { shape: [2, 2, 4], strides: [4, 8, 1], offset: 4 },
    { shape: [3, 4], strides: [0, 1], offset: 8 },
    { shape: [4, 2, 3], strides: [1, 12, 4], offset: 0 },
    { shape: [2, 3, 2], strides: [0, 2, 1], offset: 1 },
    { shape: [3], strides: [-2], offset: 9 },
  ];
  const written = [
    { shape: [2, 3], strides: [8, 2], offset: 1 },
    { shape: [2, 2, 3], strides: [12, 6, 1], offset: 3 },
    { shape: [1], strides: [5], offset: 4 },
    { shape: [2, 3], strides: [12, -4], offset: 9 },
    { shape: [2, 2, 3], strides: [12, -6, 1], offset: 8 },
  ];
  return [
    ...read.flatMap((plan) => [
      call(movement.stridedKernel, [floats(24)], plan, sizeOf(plan.shape)),
      call(movement.stridedKernel, [ints(24, 100)], plan, sizeOf(plan.shape), "int32"),
    ]),
    ...written.map((plan) => call(movement.placeKernel, [floats(sizeOf(plan.shape))], plan, 24)),
  ];
}

function joined({ floats, ints }: Draw): Case[] {
  const lists = [
    [{ outer: 3, n: 2, inner: 2 }],
    [1, 1].map((outer, i) => ({ outer, n: [4, 2][i], inner: 3 })),
    [1, 3, 2].map((n) => ({ outer: 2, n, inner: 1 })),
  ];
  return lists.flatMap((spans) => {
    const sizes = spans.map(({ outer, n, inner }) => outer * n * inner);
    const length = sizes.reduce((a, b) => a + b, 0);
    return [
      call(
        concatKernel,
        sizes.map((n) => floats(n)),
        { spans },
        length,
      ),
      call(
        concatKernel,
        sizes.map((n) => ints(n, 99)),
        { spans },
        length,
        "int32",
      ),
    ];
  });
}

function indexed({ floats, ints }: Draw): Case[] {
  const spans = [
    { outer: 1, n: 5, inner: 3, M: 4 },
    { outer: 2, n: 3, inner: 1, M: 6 },
    { outer: 3, n: 1, inner: 4, M: 2 },
    { outer: 2, n: 3, inner: 8, M: 5 },
    { outer: 1, n: 3, inner: 8, M: 4 },
  ];
  return spans.flatMap(({ outer, n, inner, M }) => {
    const attrs = { op: "case", outer, n, inner, M };
    const [from, to] = [outer * n * inner, outer * M * inner];
    const sum = sumOf(M);
    return [
      call(rows.indexSelectKernel, [floats(from), ints(M, n)], attrs, to),
      call(rows.indexSelectKernel, [ints(from, 50), ints(M, n)], attrs, to, "int32"),
      call(rows.indexAddKernel, [floats(to), ints(M, n)], attrs, from, "float32", sum),
      call(rows.indexAddToKernel, [floats(from), floats(to), ints(M, n)], attrs, from, "float32", sum),
      call(rows.indexAddToKernel, [ints(from, 9), ints(to, 9), ints(M, n)], attrs, from, "int32"),
      call(rows.gatherKernel, [floats(from), ints(to, n)], attrs, to),
      call(rows.scatterAddKernel, [floats(to), ints(to, n)], attrs, from, "float32", sum),
      call(rows.scatterAddKernel, [ints(to, 9), ints(to, n)], attrs, from, "int32"),
    ];
  });
}

const WIDTHS = [
  { r: 3, n: 5 },
  { r: 1, n: 1 },
  { r: 4, n: 130 },
  { r: 3, n: 8 },
  { r: 2, n: 132 },
];

/** A sum of n terms of a row, and the functions around it. */
const row = (n: number, terms = 0) => ({ bound: n * 2 ** -24 + 8 * ULP, terms });

function shares({ floats }: Draw): Case[] {
  return WIDTHS.flatMap(({ r, n }) => {
    const size = r * n;
    const x = floats(size, 8);
    const y = floats(size).map(Math.abs);
    const limit = x.map((v, i) => (i === 0 ? Infinity : i === 1 ? -Infinity : v));
    return [
      call(softmax.softmaxKernel, [x], { n }, size, "float32", row(n)),
      call(softmax.softmaxKernel, [limit], { n, limit: true }, size, "float32", row(n)),
      call(
        softmax.softmaxKernel,
        [x.map((v) => 1e4 * v)],
        { n },
        size,
        "float32",
        // e^d of differences d of ten thousands, each of which has the rounding of its own size.
        { bound: MOST },
      ),
      call(softmax.logSoftmaxKernel, [x], { n }, size, "float32", row(n, 1)),
      call(softmax.logsumexpKernel, [x], { n }, r, "float32", row(n, 1)),
      call(softmax.softmaxBackwardKernel, [floats(size), y], { n }, size, "float32", row(n, 1)),
      call(softmax.logSoftmaxBackwardKernel, [floats(size), y.map((v) => -v)], { n }, size, "float32", row(n, 1)),
    ];
  });
}

function normsAndLosses({ floats, ints }: Draw): Case[] {
  return WIDTHS.flatMap(({ r, n }) => {
    const size = r * n;
    const x = floats(size, 8);
    const classes = Int32Array.from(ints(r, n), (c, i) => (i === 1 ? -100 : c));
    const norms = [true, false].flatMap((centre) => {
      const attrs = { D: n, eps: 1e-2, centre };
      return [
        call(norm.normalizeKernel, [x], attrs, size, "float32", row(n)),
        call(norm.normalizeBackwardKernel, [floats(size), x], attrs, size, "float32", row(n, 1)),
      ];
    });
    const losses = [0, 0.1].flatMap((smoothing) => {
      const attrs = { C: n, ignoreIndex: -100, smoothing };
      return [
        call(loss.crossEntropyKernel, [x, classes], attrs, r, "float32", row(n, 1)),
        call(loss.crossEntropyBackwardKernel, [floats(r), x, classes], attrs, size, "float32", row(n, 1)),
        call(loss.targetsKernel, [classes], attrs, size, "float32", { bound: ULP }),
      ];
    });
    return [...norms, ...losses];
  });
}

export function rowCases(): Case[] {
  const draw = new Draw(6);
  return [sums, scans, largest, moved, joined, indexed, shares, normsAndLosses].flatMap((cases) => cases(draw));
}
