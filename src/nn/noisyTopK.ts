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
import { routerInput } from "../routing/input.ts";
import { squaredVariation } from "../routing/losses.ts";
import type { GateRule, RouterContext, Routing } from "../routing/record.ts";
import { choiceMajor, routeChoices } from "../routing/tokenChoice.ts";
import type { Tensor } from "../tensor.ts";
import { checkInit, type InitOptions } from "./layers.ts";
import { RouterModule } from "./router.ts";

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
    const op = "noisyTopKRouter";
    checkOptions(op, options, ["dim", "numExperts", "k", "dtype", "rng"]);
    const { dim, numExperts, k = 2, dtype } = options;
    checkInit(op, options);
    checkInteger(op, "dim", dim, 1, Infinity);
    checkInteger(op, "numExperts", numExperts, 2, Infinity);
    checkInteger(op, "k", k, 2, numExperts, "a normalised top-1 gate is 1, and its router would get no gradient");
    this.k = k;
    this.noiseWeight = zeros([dim, numExperts], { dtype, requiresGrad: true });
  }

  route(logits: Tensor, ctx: RouterContext = {}): Routing {
    const op = "noisyTopKRouter";
    const { training = false, rng = defaultGenerator(), mask, x } = checkContext(op, ctx);
    const input = routerInput(op, logits, mask);
    const [T, E] = input.logits.shape;
    checkShape(op, "logits", [T, E], [T, this.noiseWeight.shape[1]], "the experts that the router was made for");
    if (x === undefined) throw typeError(op, "x", "no value", "the tokens [T, D]", "the noise depends on them");
    checkTensor(op, "x", x);
    checkShape(op, "x", x.shape, [T, this.noiseWeight.shape[0]], "one row per token");
    checkDtype(op, "x", x.dtype, [this.noiseWeight.dtype], "the dtype of the weights");
    checkDtype(op, "logits", logits.dtype, [this.noiseWeight.dtype], "the dtype of the weights");
    const kept = (y: Tensor): Tensor => (input.keptTokens === null ? y : y.indexSelect(0, input.keptTokens));
    const spread = softplus(x.matmul(this.noiseWeight));
    const noise = training ? spread.mul(randn([T, E], { dtype: logits.dtype, rng })) : null;
    const noisy = noise === null ? input.keptLogits : kept(input.logits.add(noise));
    const { indices } = noisy.detach().topk(this.k);
    const rule: GateRule = { score: "softmax", normalize: true, balanceOver: "choices", choiceBy: "token" };
    const n = indices.shape[0];
    const routing = routeChoices(input, { router: op, rule, capacity: n, expertOf: choiceMajor(indices), n, noise });
    const { losses, gate } = routing;
    return {
      ...routing,
      noise: noise?.detach() ?? null,
      losses: {
        get balance() {
          return losses.balance;
        },
        get z() {
          return losses.z;
        },
        get importance() {
          return evenness(zeros([E], { dtype: logits.dtype }).indexAdd(0, routing.expertOfSlot, gate), n);
        },
        get load() {
          const chance = chanceOfStaying(input.keptLogits, noisy, kept(spread), indices);
          return evenness(chance.sum({ dim: 0 }), n);
        },
      },
    };
  }
}

/** CV², or 0 where there is no token to be uneven about. */
const evenness = (x: Tensor, tokens: number): Tensor => (tokens === 0 ? x.sum() : squaredVariation(x));

/** P [n, E]: Φ((clean − threshold) / spread). With k = E every expert stays for certain. */
function chanceOfStaying(clean: Tensor, noisy: Tensor, spread: Tensor, indices: Tensor): Tensor {
  const [n, E] = clean.shape;
  const k = indices.shape[1];
  if (k === E) return clean.onesLike();
  const { values } = noisy.topk(k + 1);
  const last = values.slice({ dim: 1, start: k - 1, end: k });
  const next = values.slice({ dim: 1, start: k });
  const chosen = oneHot(indices, E, { dtype: "int32" }).sum({ dim: 1 });
  const threshold = chosen.where(next.expand([n, E]), last.expand([n, E]));
  return normalCdf(clean.sub(threshold).div(spread));
}

/**
 * Noisy top-k routing, a Module: `new MoE({ router: noisyTopKRouter({ dim, numExperts, k }) })`.
 *
 *   H = logits + ε ⊙ softplus(x·W_noise) in training;  gate = softmax of the k largest H
 *
 * Its losses have `importance` and `load` beside the others: `auxLoss(routings, { importance: 0.1, load: 0.1 })`.
 *
 * Shapes   logits [T, E], x [T, D] in the context (nn.MoE passes it) → Routing with T·K slots, dropless
 * Throws   RangeError for k outside 2 … E, TypeError without x
 * Source   Shazeer et al. 2017
 */
export const noisyTopKRouter = (options: NoisyTopKRouterOptions): NoisyTopKRouter => new NoisyTopKRouter(options);
