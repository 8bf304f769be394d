/**
 * The arithmetic of optimisers as WebAssembly: computed in float64 as in the loops, in their order, so to the same bits.
 * A decay of 1 − 10⁻⁵ is no float32.
 */
import { f64x2 } from "../device/assembler.ts";
import { inDoubles, laneForm } from "./lanes.simd.ts";
import type { AdamAttrs } from "./update.ts";

const { add, sub, mul, div, sqrt } = f64x2;

export const blendForm = laneForm<{ p: number; q: number }>(
  "blend",
  2,
  0.6,
  (_, x, z, p, q) => inDoubles([x, z], (a, b) => add(mul(p.get, a), mul(q.get, b))),
  { count: 2, of: ({ p, q }) => [p, q] },
);

export const secondMomentForm = laneForm<{ beta: number }>(
  "secondMoment",
  2,
  0.7,
  (_, v, g, beta, rest) => inDoubles([v, g], (a, b) => add(mul(beta.get, a), mul(mul(rest.get, b), b))),
  { count: 2, of: ({ beta }) => [beta, 1 - beta] },
);

export const adamStepForm = laneForm<AdamAttrs>(
  "adamStep",
  3,
  2,
  (_, p, m, v, keep, rate, root, eps) =>
    inDoubles([p, m, v], (a, b, c) =>
      sub(mul(keep.get, a), div(mul(rate.get, b), add(div(sqrt(c), root.get), eps.get))),
    ),
  { count: 4, of: ({ keep, rate, root, eps }) => [keep, rate, root, eps] },
);
