/** The MoE layer as its formula reads: every expert on every token, and a table of weights that is mostly 0. */
import { type Activation, type MoE, type Routing, type Tensor, tensor } from "../../src/index.ts";
import { slotsOf } from "../routing/table.ts";

/** The weights of a layer as arguments, so that they can be differentiated like any other. */
export interface Weights {
  readonly router: Tensor;
  readonly w1: Tensor;
  readonly b1: Tensor;
  readonly w2: Tensor;
  readonly b2: Tensor;
  /** Of gated activations. */
  readonly w3: Tensor | null;
  readonly b3: Tensor | null;
}

/** Activations written with other ops than the layer's; `up` is x · w3[e] + b3[e]. */
const activations: Record<Activation, (z: Tensor, up: Tensor | null) => Tensor> = {
  linear: (z) => z.mul(1),
  cubic: (z) => z.pow(3),
  relu: (z) => z.maximum(0),
  gelu: (z) => z.gelu(),
  geluTanh: (z) => {
    const v = z.add(z.pow(3).mul(0.044715)).mul(Math.sqrt(2 / Math.PI));
    return v.tanh().add(1).mul(z).mul(0.5);
  },
  silu: (z) => z.mul(z.sigmoid()),
  swiglu: (z, up) => (up as Tensor).mul(z).div(z.neg().exp().add(1)),
};

/** 0/1 tables [T, E] in float64: the pairs that were asked for, and those that were granted. */
function tables(routing: Routing): { asked: Tensor; granted: Tensor } {
  const [T, E] = [routing.numTokens, routing.numExperts];
  const [asked, granted] = [new Float64Array(T * E), new Float64Array(T * E)];
  for (const slot of slotsOf(routing)) {
    asked[slot.token * E + slot.expert] = 1;
    if (slot.granted) granted[slot.token * E + slot.expert] = 1;
  }
  return { asked: tensor(asked).reshape([T, E]), granted: tensor(granted).reshape([T, E]) };
}

/**
 * y[t] = Σ_e G[t, e] · (act(x[t] · w1[e] + b1[e]) · w2[e] + b2[e]),  G = granted · p, or p / Σ_asked p
 *
 * x [T, D] in float64. The slots are those of the given routing; all else follows from x and the weights.
 */
export function naiveMoE(
  x: Tensor,
  { router, w1, b1, w2, b2, w3, b3 }: Weights,
  routing: Routing,
  { normalize, activation = "gelu" }: { normalize: boolean; activation?: Activation },
): Tensor {
  const { asked, granted } = tables(routing);
  const p = x.matmul(router).softmax();
  // A masked token asks for nothing: 1 in place of its empty sum keeps 0/0 out, and its row of `granted` is 0.
  const nobody = asked.sum({ dim: 1, keepdim: true }).eq(0).to("float64");
  const whole = normalize ? p.mul(asked).sum({ dim: 1, keepdim: true }).add(nobody) : p.onesLike();
  const G = p.mul(granted).div(whole);
  const at = (w: Tensor, e: number): Tensor => w.slice({ start: e, end: e + 1 }).reshape(w.shape.slice(1));
  let y = x.mul(0);
  for (let e = 0; e < routing.numExperts; e++) {
    const up = w3 === null || b3 === null ? null : x.matmul(at(w3, e)).add(at(b3, e));
    const h = activations[activation](x.matmul(at(w1, e)).add(at(b1, e)), up);
    const out = h.matmul(at(w2, e)).add(at(b2, e));
    y = y.add(G.slice({ dim: 1, start: e, end: e + 1 }).mul(out));
  }
  return y;
}

/** The layer with the given weights in the place of its own, as a function that can be differentiated by them. */
export function withWeights(moe: MoE, { router, ...experts }: Weights): MoE {
  Object.assign(moe.router, { weight: router });
  Object.assign(moe.experts, experts);
  return moe;
}

/** The layer's own weights; it must have biases. */
export const weightsOf = (moe: MoE): Weights => ({
  router: moe.router.weight,
  w1: moe.experts.w1,
  b1: moe.experts.b1 as Tensor,
  w2: moe.experts.w2,
  b2: moe.experts.b2 as Tensor,
  w3: moe.experts.w3,
  b3: moe.experts.b3,
});

/** Weights as a list in the order router, w1, b1, w2, b2, and w3, b3 of gated activations. */
export const asWeights = ([router, w1, b1, w2, b2, w3 = null, b3 = null]: readonly (Tensor | null)[]): Weights => ({
  router: router as Tensor,
  w1: w1 as Tensor,
  b1: b1 as Tensor,
  w2: w2 as Tensor,
  b2: b2 as Tensor,
  w3,
  b3,
});
