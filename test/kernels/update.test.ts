import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { adamStepKernel, blendKernel, secondMomentKernel } from "../../src/kernels/update.ts";
import { dyadic, floats, general, positive } from "../arbitraries.ts";
import { equalsReference, ulps } from "../suite.ts";

/** Two lists of one length, and the numbers of the rule. */
const cases = <A>(attrs: fc.Arbitrary<A>, element: fc.Arbitrary<number>) =>
  fc
    .tuple(fc.nat(20), attrs)
    .chain(([n, a]) =>
      fc
        .tuple(floats(n, element), floats(n, element))
        .map((inputs) => ({ inputs, attrs: a, length: n, dtype: "float32" as const })),
    );

const betas = fc.constantFrom(0, 0.5, 0.9, 0.999);
const adam = fc.record({
  keep: fc.constantFrom(1, 0.99),
  rate: fc.constantFrom(1e-3, 0.1),
  root: fc.constantFrom(1, 0.0316),
  eps: fc.constantFrom(1e-8, 1e-3),
});

/** Second moments are never below 0. */
const moments = fc.tuple(fc.nat(20), adam).chain(([n, attrs]) =>
  fc.tuple(floats(n, general), floats(n, general), floats(n, positive)).map((inputs) => ({
    inputs,
    attrs,
    length: n,
    dtype: "float32" as const,
  })),
);

describe("the arithmetic of optimisers", () => {
  const factors = fc.record({ p: dyadic, q: dyadic });
  equalsReference(blendKernel, cases(factors, dyadic), "exact");
  equalsReference(blendKernel, cases(factors, general), { ulps: 0.5 });
  equalsReference(secondMomentKernel, cases(fc.record({ beta: fc.constantFrom(0, 0.5, 1) }), dyadic), "exact");
  // β · v is not below 0 for a second moment, so that nothing cancels.
  equalsReference(
    secondMomentKernel,
    cases(fc.record({ beta: betas }), general).map((c) => ({
      ...c,
      inputs: [c.inputs[0].map(Math.abs), c.inputs[1]],
    })),
    { ulps: 0.51 },
  );
  equalsReference(adamStepKernel, moments, { ulps: 0.5 });

  test("blend mixes two lists by their factors", () => {
    fc.assert(
      fc.property(floats(4), floats(4), dyadic, dyadic, (x, z, p, q) => {
        const out = new Float32Array(4);
        blendKernel.loops(out, [x, z], { p, q });
        expect(Array.from(out)).toEqual(Array.from(x, (v, i) => p * v + q * z[i]));
      }),
    );
  });

  test("the second moment of a constant gradient is its square, and of none fades by β", () => {
    fc.assert(
      fc.property(floats(5), fc.constantFrom(0, 0.25, 0.5, 0.75, 1), (g, beta) => {
        const out = new Float32Array(5);
        const squares = g.map((v) => v * v);
        secondMomentKernel.loops(out, [squares, g], { beta });
        expect(out).toEqual(squares);
        secondMomentKernel.loops(out, [squares, new Float32Array(5)], { beta });
        expect(out).toEqual(squares.map((v) => beta * v));
      }),
    );
  });

  test("the first step of Adam is lr, against the sign of the gradient, whatever its size", () => {
    fc.assert(
      fc.property(floats(5, positive), fc.constantFrom(1, -1), (size, sign) => {
        const [lr, beta1, beta2] = [0.1, 0.9, 0.999];
        const g = size.map((v) => sign * v);
        const m = Float64Array.from(g, (v) => (1 - beta1) * v);
        const v = Float64Array.from(g, (x) => (1 - beta2) * x * x);
        const out = new Float64Array(5);
        const attrs = { keep: 1, rate: lr / (1 - beta1), root: Math.sqrt(1 - beta2), eps: 0 };
        adamStepKernel.reference(out, [new Float64Array(5), m, v], attrs);
        for (const step of out) expect(ulps(step, -sign * lr)).toBeLessThanOrEqual(1e-6);
      }),
    );
  });

  test("eps is added after the bias correction of √v, and keep shrinks the parameter alone", () => {
    // keep · p − rate · m / (√v / root + eps) = 0.5 · 8 − 2 · 3 / (√4 / 0.5 + 2)
    const out = new Float32Array(1);
    const one = (x: number) => Float32Array.of(x);
    adamStepKernel.loops(out, [one(8), one(3), one(4)], { keep: 0.5, rate: 2, root: 0.5, eps: 2 });
    expect(out[0]).toBe(3);
  });

  test("no gradient and no decay: the parameter stays, to the last bit", () => {
    fc.assert(
      fc.property(floats(6, general), (p) => {
        const out = new Float32Array(6);
        const none = new Float32Array(6);
        adamStepKernel.loops(out, [p, none, none], { keep: 1, rate: 0.1, root: 1, eps: 1e-8 });
        expect(out).toEqual(p);
      }),
    );
  });
});
