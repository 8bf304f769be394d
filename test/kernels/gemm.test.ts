import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Flat, Kernel } from "../../src/device/kernel.ts";
import { Generator } from "../../src/index.ts";
import { gemm, gemmReference, type Matrix, matrix } from "../../src/kernels/gemm.ts";
import { dyadic, floats, general, raggedSize, wide } from "../arbitraries.ts";
import { equalsReference, type KernelCase } from "../suite.ts";

/** Two matrices somewhere in flat arrays, either of them stored transposed, and room around them and around C. */
interface Product {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** What lies before A, before B and before C. */
  readonly margin: number;
}

const form =
  (product: typeof gemm) =>
  (out: Flat, [a, b]: readonly Flat[], { M, N, K, transposeA, transposeB, margin }: Product): void => {
    const A = matrix(a, margin, M, K, transposeA);
    const B = matrix(b, margin, K, N, transposeB);
    // Something to recognise, so that a cell written outside C shows.
    out.fill(5);
    product(out, margin, A, B, M, N, K);
  };

/** gemm as the suite takes it. */
const gemmKernel: Kernel<Product> = { name: "gemm", reference: form(gemmReference), loops: form(gemm) };

const products: fc.Arbitrary<Product> = fc.record({
  M: fc.oneof(fc.constant(0), raggedSize),
  N: fc.oneof(fc.constant(0), raggedSize),
  K: fc.oneof(fc.constant(0), raggedSize),
  transposeA: fc.boolean(),
  transposeB: fc.boolean(),
  margin: fc.nat(3),
});

const cases = (element: fc.Arbitrary<number>): fc.Arbitrary<KernelCase<Product>> =>
  products.chain((attrs) => {
    const { M, N, K, margin } = attrs;
    return fc
      .tuple(floats(margin + M * K, element), floats(margin + K * N, element))
      .map((inputs) => ({ inputs, attrs, length: M * N + 2 * margin, dtype: "float32" as const }));
  });

const row = (data: Flat, K: number): Matrix => matrix(data, 0, data.length / K, K, false);

describe("gemm", () => {
  equalsReference(gemmKernel, cases(dyadic), "exact");
  // Sums of these are exact in float64, so that the one rounding at the end is all that is left.
  equalsReference(gemmKernel, cases(general), { ulps: 0.5 });

  test("stays within K · 2⁻⁵³ of Σ|a·b| and one rounding when the numbers are of very different sizes", () => {
    fc.assert(
      fc.property(cases(wide), ({ inputs, attrs, length }) => {
        const { M, N, K, margin } = attrs;
        const [c, exact, sizes] = [new Float32Array(length), new Float64Array(length), new Float64Array(length)];
        const [a, b] = inputs.map((x) => Float64Array.from(x));
        gemmKernel.loops(c, inputs, attrs);
        gemmKernel.reference(exact, [a, b], attrs);
        gemmKernel.reference(sizes, [a.map(Math.abs), b.map(Math.abs)], attrs);
        for (let i = margin; i < margin + M * N; i++) {
          const bound = K * 2 ** -53 * sizes[i];
          const rounding = 2 ** -24 * (Math.abs(exact[i]) + bound) + 2 ** -150;
          expect(Math.abs(c[i] - exact[i])).toBeLessThanOrEqual(bound + rounding);
        }
      }),
    );
  });

  test.each([
    [64, 64, 64],
    [65, 63, 66],
    [1, 130, 67],
    [127, 1, 64],
    [70, 5, 0],
  ])("equals its reference on %i × %i × %i", (M, N, K) => {
    const rng = new Generator(`${M}/${N}/${K}`);
    const filled = (n: number) => Float32Array.from({ length: n }, () => (rng.integer(33) - 16) / 8);
    for (const [transposeA, transposeB] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ]) {
      const attrs = { M, N, K, transposeA, transposeB, margin: 0 };
      const inputs = [filled(M * K), filled(K * N)];
      const [c, exact] = [new Float32Array(M * N).fill(7), new Float32Array(M * N).fill(7)];
      gemmKernel.loops(c, inputs, attrs);
      gemmKernel.reference(exact, inputs, attrs);
      expect(c.findIndex((v, i) => v !== exact[i])).toBe(-1);
    }
  });

  test("reads a block out of a larger matrix by its strides", () => {
    // A is rows 1 and 2, columns 1 to 3 of a 4 × 5 matrix; B its transpose.
    const data = Float32Array.from({ length: 20 }, (_, i) => i);
    const A = { data, offset: 6, rows: 5, cols: 1 };
    const B = { data, offset: 6, rows: 1, cols: 5 };
    const c = new Float32Array(4);
    gemm(c, 0, A, B, 2, 2, 3);
    // [6 7 8] and [11 12 13]
    expect(Array.from(c)).toEqual([149, 254, 254, 434]);
  });

  test("a row of the product does not depend on the other rows, to the last bit", () => {
    fc.assert(
      fc.property(
        fc.tuple(raggedSize, raggedSize, raggedSize).chain(([M, N, K]) =>
          fc.record({
            N: fc.constant(N),
            K: fc.constant(K),
            a: floats(M * K, wide),
            b: floats(K * N, wide),
            m: fc.nat(M - 1),
          }),
        ),
        ({ N, K, a, b, m }) => {
          const M = a.length / K;
          const [c, alone] = [new Float32Array(M * N), new Float32Array(N)];
          const B = matrix(b, 0, K, N, false);
          gemm(c, 0, row(a, K), B, M, N, K);
          gemm(alone, 0, row(a.slice(m * K, (m + 1) * K), K), B, 1, N, K);
          expect(alone).toEqual(c.slice(m * N, (m + 1) * N));
        },
      ),
    );
  });

  test("nothing is left over from an earlier, larger product", () => {
    fc.assert(
      fc.property(cases(general), ({ inputs, attrs, length }) => {
        const [before, after] = [new Float32Array(length), new Float32Array(length)];
        gemmKernel.loops(before, inputs, attrs);
        const nan = new Float32Array(400).fill(Number.NaN);
        gemm(new Float32Array(400), 0, row(nan, 20), row(nan, 20), 20, 20, 20);
        gemmKernel.loops(after, inputs, attrs);
        expect(after).toEqual(before);
      }),
    );
  });

  test("a NaN or ∞ in a row of A stays in that row", () => {
    fc.assert(
      fc.property(cases(dyadic), fc.constantFrom(Number.NaN, Infinity), fc.nat(), (c, bad, pick) => {
        const { M, N, K } = c.attrs;
        const attrs = { ...c.attrs, margin: 0, transposeA: false, transposeB: false };
        fc.pre(M * K > 0);
        const place = pick % (M * K);
        const a = c.inputs[0].slice(c.attrs.margin);
        const b = c.inputs[1].slice(c.attrs.margin);
        const clean = new Float32Array(M * N);
        const spoilt = new Float32Array(M * N);
        gemmKernel.loops(clean, [a, b], attrs);
        a[place] = bad;
        gemmKernel.loops(spoilt, [a, b], attrs);
        const m = Math.floor(place / K);
        clean.fill(0, m * N, (m + 1) * N);
        for (let n = 0; n < N; n++) expect(Number.isFinite(spoilt[m * N + n])).toBe(false);
        spoilt.fill(0, m * N, (m + 1) * N);
        expect(spoilt).toEqual(clean);
      }),
    );
  });
});
