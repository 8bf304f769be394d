/**
 * Noisy top-k: the router of the paper that began it, with noise whose size is learned.
 *
 *   H = x·W_g + ε ⊙ softplus(x·W_noise),  ε ~ N(0, 1)        in training; in evaluation H = x·W_g
 *   asked(t) = the k largest of H[t];  gate = softmax of the k chosen H
 *
 *   Importance[e] = Σ_t gate[t, e];   L_importance = CV²(Importance)
 *   Load[e] = Σ_t P[t, e],  P[t, e] = Φ((x·W_g − threshold)[t, e] / softplus(x·W_noise)[t, e]);   L_load = CV²(Load)
 *
 * P is the chance that e stays among the k when its noise alone is drawn anew; the threshold is what it has to beat: the
 * (k+1)-th largest H for a chosen expert, the k-th for another. Load is thus a smooth count, with a gradient.
 *
 * Source   Shazeer et al. 2017, "Outrageously Large Neural Networks", Section 2.1, Eq. 3 to 11, and Appendix A
 */
import { defaultGenerator, randn, zeros } from "../create.ts";
import { checkDtype, checkInteger, checkOptions, checkShape, checkTensor, typeError } from "../errors.ts";
import { normalCdf } from "../kernels/gelu.ts";
import { oneHot } from "../kernels/oneHot.ts";
import { softplus } from "../kernels/unary.ts";
import { checkContext } from "../routing/check.ts";
import { clearRows, keptRows, routerInput } from "../routing/input.ts";
import { addLosses, squaredVariation } from "../routing/losses.ts";
import { type GateRule, type RouterContext, type Routing, withLogits } from "../routing/record.ts";
import { choiceMajor, routeChoices } from "../routing/tokenChoice.ts";
import type { Tensor } from "../tensor.ts";
import { checkInit, type InitOptions } from "./layers.ts";
import { RouterModule } from "./router.ts";

const OP = "noisyTopKRouter";

export interface NoisyTopKRouterOptions extends InitOptions {
  /** D of the tokens. */
  dim: number;
  numExperts: number;
  /** Experts per token, at least 2. Default 2. */
  k?: number | undefined;
}

/** See noisyTopKRouter. `noiseWeight` is W_noise [D, E], from 0. */
export class NoisyTopKRouter extends RouterModule {
  readonly noiseWeight: Tensor;
  readonly k: number;

  constructor(options: NoisyTopKRouterOptions) {
    super();
    checkOptions(OP, options, ["dim", "numExperts", "k", "dtype", "rng"]);
    const { dim, numExperts, k = 2, dtype } = options;
    checkInit(OP, options);
    checkInteger(OP, "dim", dim, 1, Infinity);
    checkInteger(OP, "numExperts", numExperts, 2, Infinity);
    checkInteger(OP, "k", k, 2, numExperts, "a normalised top-1 gate is 1, and its router would get no gradient");
    this.k = k;
    this.noiseWeight = zeros([dim, numExperts], { dtype, requiresGrad: true });
  }

  route(logits: Tensor, ctx: RouterContext = {}): Routing {
    const { training = false, rng = defaultGenerator(), mask, x } = checkContext(OP, ctx);
    const input = routerInput(OP, logits, mask);
    this.#checkInput(logits, x);
    const spread = softplus(clearRows(x, input.keptTokens).matmul(this.noiseWeight));
    const noise = training ? spread.mul(randn(logits.shape, { dtype: logits.dtype, rng })) : null;
    const noisy = noise === null ? input.logits : input.logits.add(noise);
    const { indices } = keptRows(noisy.detach(), input.keptTokens).topk(this.k);
    const rule: GateRule = { score: "softmax", normalize: true, balanceOver: "choices", choiceBy: "token" };
    const n = indices.shape[0];
    const routing = routeChoices(input, { router: OP, rule, capacity: n, expertOf: choiceMajor(indices), n, noise });
    return { ...withEvenness(routing, noisy, spread, this.k), noise: noise?.detach() ?? null };
  }

  /**
   * A routing of this router with new logits: integers and noise stay, gates and all losses follow. The load is that of the
   * k largest H now; where these are the experts of the routing, as when nothing has changed, it is the same to the bit.
   */
  override replay(routing: Routing, logits: Tensor, ctx: RouterContext = {}): Routing {
    const again = withLogits(routing, logits);
    if (routing.router !== OP) return again;
    const { x } = checkContext(OP, ctx);
    this.#checkInput(logits, x);
    const spread = softplus(clearRows(x, routing.keptTokens).matmul(this.noiseWeight));
    return withEvenness(again, routing.noise === null ? logits : logits.add(routing.noise), spread, this.k);
  }

  #checkInput(logits: Tensor, x: Tensor | undefined): asserts x is Tensor {
    const [T, E] = logits.shape;
    const [dim, numExperts] = this.noiseWeight.shape;
    checkShape(OP, "logits", [T, E], [T, numExperts], "the experts that the router was made for");
    if (x === undefined) throw typeError(OP, "x", "no value", "the tokens [T, D]", "the noise depends on them");
    checkTensor(OP, "x", x);
    checkShape(OP, "x", x.shape, [T, dim], "one row per token");
    checkDtype(OP, "x", x.dtype, [this.noiseWeight.dtype], "the dtype of the weights");
    checkDtype(OP, "logits", logits.dtype, [this.noiseWeight.dtype], "the dtype of the weights");
  }
}

/** The routing with importance and load beside its other losses. */
function withEvenness(routing: Routing, noisy: Tensor, spread: Tensor, k: number): Routing {
  const { logits, keptTokens, expertOfSlot, gate, numExperts: E } = routing;
  const kept = (y: Tensor): Tensor => keptRows(y, keptTokens);
  const n = (keptTokens ?? logits).shape[0];
  const more = {
    get importance() {
      return evenness(zeros([E], { dtype: gate.dtype }).indexAdd(0, expertOfSlot, gate), n);
    },
    get load() {
      const chance = chanceOfStaying(kept(logits), kept(noisy), kept(spread), k);
      return evenness(chance.sum({ dim: 0 }), n);
    },
  };
  return { ...routing, losses: addLosses(routing.losses, more) };
}

/** CV², or 0 where there is no token to be uneven about. */
const evenness = (x: Tensor, tokens: number): Tensor => (tokens === 0 ? x.sum() : squaredVariation(x));

/** P [n, E]: Φ((clean − threshold) / spread). With k = E every expert stays for certain. */
function chanceOfStaying(clean: Tensor, noisy: Tensor, spread: Tensor, k: number): Tensor {
  const [n, E] = clean.shape;
  if (k === E) return clean.onesLike();
  const { values, indices } = noisy.topk(k + 1);
  const last = values.slice({ dim: 1, start: k - 1, end: k });
  const next = values.slice({ dim: 1, start: k });
  const chosen = oneHot(indices.slice({ dim: 1, end: k }), E, { dtype: "int32" }).sum({ dim: 1 });
  const threshold = chosen.where(next.expand([n, E]), last.expand([n, E]));
  return normalCdf(clean.sub(threshold).div(spread));
}

/**
 * Noisy top-k routing, a Module: `new MoE({ router: noisyTopKRouter({ dim, numExperts, k }) })`.
 *
 *   H = logits + ε ⊙ softplus(x·W_noise) in training;  gate = softmax of the k largest H
 *
 * Its losses have `importance` and `load` beside the others: `auxLoss(routings, { importance: 0.1, load: 0.1 })`. A routing
 * that the layer replays has them too, with the noise held fixed; one that was read from JSON has their values.
 *
 * Shapes   logits [T, E], x [T, D] in the context (nn.MoE passes it) → Routing with T·K slots, dropless
 * Throws   RangeError for k outside 2 … E, TypeError without x
 * Source   Shazeer et al. 2017
 */
export const noisyTopKRouter = (options: NoisyTopKRouterOptions): NoisyTopKRouter => new NoisyTopKRouter(options);
