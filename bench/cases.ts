/** What is timed: matmul and groupedMatmul in all transposed forms, each with the naive loop that it is held against. */
import { groupedMatmulKernel, groupedOuterKernel } from "../src/kernels/groupedMatmul.ts";
import { matmulKernel } from "../src/kernels/matmul.ts";
import { Generator } from "../src/random.ts";

export interface BenchCase {
  readonly name: string;
  readonly flops: number;
  readonly kernel: () => void;
  readonly naive: () => void;
  /** Throws unless both give the reference's result. */
  readonly check: () => void;
}

const rng = new Generator(1);
const draw = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());

/** Throws unless two arrays agree to float32's rounding of sums of this size. */
function same(name: string, actual: Float32Array, expected: ArrayLike<number>): void {
  let worst = 0;
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  if (!(worst <= 1e-6 * largest)) throw new Error(`${name}: differs from the reference by ${worst} of ${largest}`);
}

type Loop = (c: Float32Array, a: Float32Array, b: Float32Array, M: number, N: number, K: number) => void;

/** The textbook loops, one for each way of storing the inputs, so that none pays for a choice that another needs. */
const naiveLoops: Record<string, Loop> = {
  A·B: (c, a, b, M, N, K) => {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += a[m * K + k] * b[k * N + n];
        c[m * N + n] = sum;
      }
    }
  },
  A·Bᵀ: (c, a, b, M, N, K) => {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += a[m * K + k] * b[n * K + k];
        c[m * N + n] = sum;
      }
    }
  },
  Aᵀ·B: (c, a, b, M, N, K) => {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += a[k * M + m] * b[k * N + n];
        c[m * N + n] = sum;
      }
    }
  },
  Aᵀ·Bᵀ: (c, a, b, M, N, K) => {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += a[k * M + m] * b[n * K + k];
        c[m * N + n] = sum;
      }
    }
  },
};

function matmulCase(form: string, M: number, K: number, N: number): BenchCase {
  const [a, b] = [draw(M * K), draw(K * N)];
  const [c, d] = [new Float32Array(M * N), new Float32Array(M * N)];
  const attrs = {
    ...{ M, N, K, aOfBatch: [0], bOfBatch: [0] },
    transposeA: form.startsWith("Aᵀ"),
    transposeB: form.endsWith("Bᵀ"),
  };
  const name = `matmul ${form} ${M}×${K}×${N}`;
  const kernel = () => matmulKernel.loops(c, [a, b], attrs);
  const naive = () => naiveLoops[form](d, a, b, M, N, K);
  const check = () => {
    const exact = new Float64Array(M * N);
    matmulKernel.reference(exact, [a, b], attrs);
    kernel();
    naive();
    same(name, c, exact);
    same(`${name}, naive`, d, exact);
  };
  return { name, flops: 2 * M * N * K, kernel, naive, check };
}

/** Uneven groups, as routers make them: sizes 1 : 2 : … : E, adding up to S. */
function unevenOffsets(E: number, S: number): Int32Array {
  const total = (E * (E + 1)) / 2;
  return Int32Array.from({ length: E + 1 }, (_, e) => Math.floor((S * e * (e + 1)) / 2 / total));
}

/** E experts of [D, N] over S rows: the forward product, the input gradient (w transposed) and the weight gradient. */
function groupedCases(E: number, S: number, D: number, N: number): BenchCase[] {
  const offsets = unevenOffsets(E, S);
  const [x, g, w] = [draw(S * D), draw(S * N), draw(E * D * N)];
  const size = `E=${E} S=${S} ${D}→${N}`;
  const flops = 2 * S * D * N;
  const forEachGroup = (visit: (e: number, from: number, rows: number) => void) => {
    for (let e = 0; e < E; e++) visit(e, offsets[e], offsets[e + 1] - offsets[e]);
  };
  const build = (
    name: string,
    length: number,
    kernel: (out: Float32Array | Float64Array, form: "loops" | "reference") => void,
    naive: (out: Float32Array) => void,
  ): BenchCase => {
    const [c, d] = [new Float32Array(length), new Float32Array(length)];
    const check = () => {
      const exact = new Float64Array(length);
      kernel(exact, "reference");
      kernel(c, "loops");
      naive(d);
      same(name, c, exact);
      same(`${name}, naive`, d, exact);
    };
    return { name, flops, kernel: () => kernel(c, "loops"), naive: () => naive(d), check };
  };
  const rows = (from: number, n: number, array: Float32Array, width: number) =>
    array.subarray(from * width, (from + n) * width);
  return [
    build(
      `groupedMatmul ${size}`,
      S * N,
      (out, form) => groupedMatmulKernel[form](out, [x, w, offsets], { D, N, transposed: false }),
      (out) =>
        forEachGroup((e, from, n) =>
          naiveLoops["A·B"](rows(from, n, out, N), rows(from, n, x, D), rows(e * D, D, w, N), n, N, D),
        ),
    ),
    build(
      `groupedMatmul dx ${size}`,
      S * D,
      (out, form) => groupedMatmulKernel[form](out, [g, w, offsets], { D: N, N: D, transposed: true }),
      (out) =>
        forEachGroup((e, from, n) =>
          naiveLoops["A·Bᵀ"](rows(from, n, out, D), rows(from, n, g, N), rows(e * D, D, w, N), n, D, N),
        ),
    ),
    build(
      `groupedMatmul dw ${size}`,
      E * D * N,
      (out, form) => groupedOuterKernel[form](out, [x, g, offsets], { D, N }),
      (out) =>
        forEachGroup((e, from, n) =>
          naiveLoops["Aᵀ·B"](rows(e * D, D, out, N), rows(from, n, x, D), rows(from, n, g, N), D, N, n),
        ),
    ),
  ];
}

export const cases = (): BenchCase[] => [
  ...Object.keys(naiveLoops).map((form) => matmulCase(form, 512, 512, 512)),
  ...Object.keys(naiveLoops).map((form) => matmulCase(form, 128, 96, 128)),
  ...groupedCases(8, 1024, 96, 128),
  ...groupedCases(8, 2048, 128, 512),
];
