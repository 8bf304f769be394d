/** The simd form of matrix products is the plain triple loop in float32, bit for bit. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asHostForm } from "../../src/device/simd.ts";
import { Generator } from "../../src/index.ts";
import { matmulKernel } from "../../src/kernels/matmul.ts";

const simd = asHostForm(matmulKernel) as NonNullable<ReturnType<typeof asHostForm>>;

/** c[m, n] = Σₖ a[m, k] · b[k, n], rounded to float32 after every operation, k in order. */
function tripleLoop(a: Float32Array, b: Float32Array, M: number, N: number, K: number, ta: boolean, tb: boolean) {
  const c = new Float32Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) {
        sum = Math.fround(sum + Math.fround(a[ta ? k * M + m : m * K + k] * b[tb ? n * K + k : k * N + n]));
      }
      c[m * N + n] = sum;
    }
  }
  return c;
}

function agrees(M: number, N: number, K: number, transposeA: boolean, transposeB: boolean, seed: number): void {
  const rng = new Generator(seed);
  const numbers = (n: number) => Float32Array.from({ length: n }, () => rng.normal());
  const [a, b] = [numbers(M * K), numbers(K * N)];
  const out = new Float32Array(M * N).fill(7);
  simd(out, [a, b], { M, N, K, transposeA, transposeB, aOfBatch: [0], bOfBatch: [0] });
  expect(out).toEqual(tripleLoop(a, b, M, N, K, transposeA, transposeB));
}

// Around the tile of 2 × 16, the panels of 16 columns and the vectors of 4.
const size = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 14, max: 34 }));

describe("gemm in WebAssembly", () => {
  test("is the triple loop in float32, for every ragged shape and transposed form", () => {
    fc.assert(fc.property(size, size, size, fc.boolean(), fc.boolean(), fc.nat(1000), agrees), { numRuns: 300 });
  });

  // More than 256 steps of k go back to memory in between; more than 256 rows are several calls.
  test.each([
    [3, 5, 256],
    [2, 17, 257],
    [33, 20, 700],
    [257, 16, 3],
    [300, 18, 260],
  ])("stays it for blocks of rows and steps: %i × %i, %i steps", (M, N, K) => {
    for (const [ta, tb] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ]) {
      agrees(M, N, K, ta, tb, 1);
    }
  });
});
