/**
 * The matrix multiplication that matmul and groupedMatmul share: C = A · B for matrices anywhere in flat arrays.
 *
 *   c[m, n] = Σₖ a[m, k] · b[k, n]
 *
 * A matrix is an offset and two strides, so a transpose is a swap of strides, and all transposed forms run one loop.
 * Blocks of four columns of B and four rows of A are copied side by side in float64 (packed); the innermost loop then
 * reads two streams in order and keeps sixteen sums in registers. Each sum runs over k in order in float64 and is
 * rounded once, so a result does not depend on tiles, on its place, or on the other rows.
 *
 * Error    K · 2⁻⁵³ relative to Σ|a·b|, then one rounding
 */
import type { Flat } from "../device/kernel.ts";

/** A matrix inside a flat array: element (i, j) at offset + i · rows + j · cols. */
export interface Matrix {
  readonly data: Flat;
  readonly offset: number;
  /** Distance from one row to the next. */
  readonly rows: number;
  /** Distance from one column to the next. */
  readonly cols: number;
}

/** The row-major matrix [M, N] at an offset, or the transpose of one that is stored [N, M]. */
export function matrix(data: Flat, offset: number, M: number, N: number, transposed: boolean): Matrix {
  return transposed ? { data, offset, rows: 1, cols: M } : { data, offset, rows: N, cols: 1 };
}

/** The formula. C is row-major at cOffset. */
export function gemmReference(c: Flat, cOffset: number, a: Matrix, b: Matrix, M: number, N: number, K: number): void {
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) {
        const p = a.data[a.offset + m * a.rows + k * a.cols];
        const q = b.data[b.offset + k * b.rows + n * b.cols];
        sum += p * q;
      }
      c[cOffset + m * N + n] = sum;
    }
  }
}

const TILE = 4;

// Room for the packed blocks, kept from call to call: it grows to the largest matrices seen.
let packedA: Float64Array = new Float64Array(0);
let packedB: Float64Array = new Float64Array(0);

const room = (buffer: Float64Array, length: number): Float64Array =>
  buffer.length >= length ? buffer : new Float64Array(length);

/** Packs four rows from row i of an I × K matrix: to[4k + r] = x[i + r, k], 0 beyond the last row. */
function pack(
  to: Float64Array,
  at: number,
  x: Flat,
  offset: number,
  step: number,
  along: number,
  left: number,
  K: number,
) {
  if (left >= TILE) {
    for (let k = 0, p = offset, t = at; k < K; k++, p += along, t += TILE) {
      to[t] = x[p];
      to[t + 1] = x[p + step];
      to[t + 2] = x[p + 2 * step];
      to[t + 3] = x[p + 3 * step];
    }
    return;
  }
  for (let r = 0; r < TILE; r++) {
    for (let k = 0; k < K; k++) to[at + TILE * k + r] = r < left ? x[offset + r * step + k * along] : 0;
  }
}

/** C = A · B, C row-major [M, N] at cOffset. */
export function gemm(c: Flat, cOffset: number, a: Matrix, b: Matrix, M: number, N: number, K: number): void {
  const blocks = Math.ceil(N / TILE);
  packedA = room(packedA, TILE * K);
  packedB = room(packedB, blocks * TILE * K);
  for (let j = 0; j < blocks; j++) {
    const n = j * TILE;
    pack(packedB, n * K, b.data, b.offset + n * b.cols, b.cols, b.rows, N - n, K);
  }
  for (let m = 0; m < M; m += TILE) {
    pack(packedA, 0, a.data, a.offset + m * a.rows, a.rows, a.cols, M - m, K);
    for (let j = 0; j < blocks; j++) {
      const n = j * TILE;
      tile(c, cOffset + m * N + n, N, packedA, packedB, n * K, K, Math.min(TILE, M - m), Math.min(TILE, N - n));
    }
  }
}

/** Sixteen sums at once: rows × cols (at most 4 × 4) of C from one packed block of A and one of B. */
function tile(
  c: Flat,
  at: number,
  width: number,
  a: Float64Array,
  b: Float64Array,
  bAt: number,
  K: number,
  rows: number,
  cols: number,
): void {
  let c00 = 0,
    c01 = 0,
    c02 = 0,
    c03 = 0;
  let c10 = 0,
    c11 = 0,
    c12 = 0,
    c13 = 0;
  let c20 = 0,
    c21 = 0,
    c22 = 0,
    c23 = 0;
  let c30 = 0,
    c31 = 0,
    c32 = 0,
    c33 = 0;
  for (let k = 0, p = 0, q = bAt; k < K; k++, p += TILE, q += TILE) {
    const b0 = b[q],
      b1 = b[q + 1],
      b2 = b[q + 2],
      b3 = b[q + 3];
    const a0 = a[p];
    c00 += a0 * b0;
    c01 += a0 * b1;
    c02 += a0 * b2;
    c03 += a0 * b3;
    const a1 = a[p + 1];
    c10 += a1 * b0;
    c11 += a1 * b1;
    c12 += a1 * b2;
    c13 += a1 * b3;
    const a2 = a[p + 2];
    c20 += a2 * b0;
    c21 += a2 * b1;
    c22 += a2 * b2;
    c23 += a2 * b3;
    const a3 = a[p + 3];
    c30 += a3 * b0;
    c31 += a3 * b1;
    c32 += a3 * b2;
    c33 += a3 * b3;
  }
  storeRow(c, at, cols, c00, c01, c02, c03);
  if (rows > 1) storeRow(c, at + width, cols, c10, c11, c12, c13);
  if (rows > 2) storeRow(c, at + 2 * width, cols, c20, c21, c22, c23);
  if (rows > 3) storeRow(c, at + 3 * width, cols, c30, c31, c32, c33);
}

function storeRow(c: Flat, at: number, cols: number, x0: number, x1: number, x2: number, x3: number): void {
  c[at] = x0;
  if (cols > 1) c[at + 1] = x1;
  if (cols > 2) c[at + 2] = x2;
  if (cols > 3) c[at + 3] = x3;
}
