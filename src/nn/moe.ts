/**
 * The Mixture-of-Experts layer: a router that sends each token to a few experts, and the experts.
 *
 *   logits = x · W_r;   routing = router(logits)
 *   y[t] = Σ_{granted slots s of t} gate[s] · expert_e(s)(x[t]) + shared(x[t])
 *
 * Source   Shazeer et al. 2017, "Outrageously Large Neural Networks"
 */
import { rand, zeros } from "../create.ts";
import { checkInteger, checkNumber, checkOptions, checkShape, rangeError, show, typeError } from "../errors.ts";
import { combine, dispatch } from "../kernels/dispatch.ts";
import { groupedMatmulAt, groupRows } from "../kernels/groupedMatmul.ts";
import type { Generator } from "../random.ts";
import { flattenMask } from "../routing/input.ts";
import { type Mask, type Router, type Routing, withLogits } from "../routing/record.ts";
import { topKRouter } from "../routing/tokenChoice.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { type Activation, activate, checkActivation, isGated } from "./activation.ts";
import { checkFeatures, FeedForward, type InitOptions, Linear, uniformParameter } from "./layers.ts";
import { Module } from "./module.ts";

export interface ExpertsOptions extends InitOptions {
  numExperts: number;
  /** D: width of a token. */
  dim: number;
  /** F: width inside an expert. */
  hidden: number;
  /** Default "gelu". */
  activation?: Activation | undefined;
  /** Default false. */
  bias?: boolean | undefined;
}

/**
 * Experts: E feed-forward networks of one shape, applied to groups of neighbouring rows.
 *
 *   y[s] = act(x[s] · w1[e] + b1[e]) · w2[e] + b2[e]        e = the group of row s; rows beyond the groups are 0
 *   swiglu: act(…) is silu(x[s] · w1[e] + b1[e]) ⊙ (x[s] · w3[e] + b3[e])
 *
 * All experts start from the same distribution, each with draws of its own: uniform in ±1/√(inputs), as Linear.
 *
 * Shapes   x [S, D], offsets int32 [E+1] → [S, D]; w1, w3 [E, D, F], w2 [E, F, D], b1, b3 [E, F], b2 [E, D]
 * Cost     4 · S · D · F flops, 6 · S · D · F with swiglu
 */
export class Experts extends Module {
  readonly w1: Tensor;
  readonly b1: Tensor | null;
  readonly w3: Tensor | null;
  readonly b3: Tensor | null;
  readonly w2: Tensor;
  readonly b2: Tensor | null;
  readonly activation: Activation;

  constructor(options: ExpertsOptions) {
    super();
    checkOptions("Experts", options, ["numExperts", "dim", "hidden", "activation", "bias", "dtype", "rng"]);
    const { numExperts: E, dim: D, hidden: F, activation = "gelu", bias = false } = options;
    checkInteger("Experts", "numExperts", E, 1, Infinity);
    checkInteger("Experts", "dim", D, 1, Infinity);
    checkInteger("Experts", "hidden", F, 1, Infinity);
    this.activation = checkActivation("Experts", activation);
    this.w1 = uniformParameter([E, D, F], 1 / Math.sqrt(D), options);
    this.b1 = bias ? uniformParameter([E, F], 1 / Math.sqrt(D), options) : null;
    const gated = isGated(activation);
    this.w3 = gated ? uniformParameter([E, D, F], 1 / Math.sqrt(D), options) : null;
    this.b3 = gated && bias ? uniformParameter([E, F], 1 / Math.sqrt(D), options) : null;
    this.w2 = uniformParameter([E, F, D], 1 / Math.sqrt(F), options);
    this.b2 = bias ? uniformParameter([E, D], 1 / Math.sqrt(F), options) : null;
  }

  forward(x: Tensor, offsets: Tensor): Tensor {
    const h = grouped(x, this.w1, this.b1, offsets);
    const up = this.w3 === null ? null : grouped(x, this.w3, this.b3, offsets);
    return grouped(activate(h, this.activation, up), this.w2, this.b2, offsets);
  }
}

function grouped(x: Tensor, w: Tensor, b: Tensor | null, offsets: Tensor): Tensor {
  const y = groupedMatmulAt(x, w, offsets, false);
  return b === null ? y : y.add(groupRows(b, offsets, x.shape[0]));
}

export interface MoEOptions extends ExpertsOptions {
  /** Default topKRouter({ k: 2 }), or k: 1 for one expert: dropless token choice. */
  router?: Router | undefined;
  /** Shared experts, which every token passes through beside those it is routed to (DeepSeekMoE). Default 0. */
  numShared?: number | undefined;
  /**
   * ε: in training the router sees x · u, u ~ U[1 − ε, 1 + ε] for each number (Switch Transformer). The experts see x
   * itself. Default 0.
   */
  jitter?: number | undefined;
}

export interface MoEForwardOptions {
  /** Padding mask over the tokens, nested as they are or flat; `true` = keep. */
  mask?: Mask | undefined;
  /** Where random choices of the router come from. Default: the stream that the layer was made with. */
  rng?: Generator | undefined;
  /** int32, one per token, for routers that look at the token itself. */
  tokenIds?: Tensor | undefined;
  /** A routing to replay: its slots are kept, gates follow from the new input. */
  routing?: Routing | undefined;
}

/** The output of a MoE layer and how its tokens were routed. */
export interface MoEOutput {
  readonly output: Tensor;
  readonly routing: Routing;
}

/**
 * The MoE layer. A token that no expert took comes out as exact zeros: add a residual connection around the layer.
 *
 * The router sees all tokens of the batch at once: x […, D] is flattened to [T, D] for it, and the output restored.
 *
 * Shapes   x […, D] → output […, D]; router.weight [D, E], experts.w1 [E, D, F], experts.w2 [E, F, D]
 * Cost     2·T·D·E + 4·(granted slots)·D·F flops
 * Throws   RangeError when x does not have D features, or for what the router refuses
 */
export class MoE extends Module {
  readonly router: Linear;
  readonly experts: Experts;
  /** What every token passes through, numShared experts wide; null without them. */
  readonly shared: FeedForward | null;
  readonly route: Router;
  readonly jitter: number;
  readonly #rng: Generator | undefined;

  constructor(options: MoEOptions) {
    super();
    const names = [
      "numExperts",
      "dim",
      "hidden",
      "activation",
      "bias",
      "dtype",
      "rng",
      "router",
      "numShared",
      "jitter",
    ];
    checkOptions("MoE", options, names);
    const { router, numShared = 0, jitter = 0, ...experts } = options;
    const { dim, hidden, numExperts, activation, bias = false, dtype, rng } = experts;
    checkInteger("MoE", "numExperts", numExperts, 1, Infinity);
    checkInteger("MoE", "numShared", numShared, 0, Infinity);
    checkNumber("MoE", "jitter", jitter, "a number from 0 to below 1", (x) => x >= 0 && x < 1);
    this.route = router ?? topKRouter({ k: Math.min(2, numExperts) });
    if (typeof this.route !== "function") {
      throw typeError(
        "MoE",
        "router",
        show(router),
        "a function from logits to a Routing",
        "such as topKRouter({ k: 2 })",
      );
    }
    this.router = new Linear(dim, numExperts, { bias: false, dtype, rng });
    this.experts = new Experts(experts);
    const width = numShared * hidden;
    this.shared = numShared === 0 ? null : new FeedForward({ dim, hidden: width, activation, bias, dtype, rng });
    this.jitter = jitter;
    this.#rng = rng?.split("noise");
  }

  forward(x: Tensor, options: MoEForwardOptions = {}): MoEOutput {
    checkOptions("MoE", options, ["mask", "rng", "tokenIds", "routing"]);
    const [D] = this.router.weight.shape;
    checkFeatures("MoE", x, D);
    const T = sizeOf(x.shape.slice(0, -1));
    const tokens = x.reshape([T, D]);
    const logits = this.#jittered(tokens, options.rng).matmul(this.router.weight);
    const routing = options.routing ? this.#replay(options, logits) : this.#choose(options, tokens, logits);
    const h = this.experts.forward(dispatch(tokens, routing), routing.offsets);
    const routed = combine(h, routing.gate, routing);
    const output = this.shared === null ? routed : routed.add(keepRows(this.shared.forward(tokens), routing));
    return { output: output.reshape(x.shape), routing };
  }

  /** x, or x times noise of its own: the router's input alone, since the experts are to see x itself. */
  #jittered(x: Tensor, given: Generator | undefined): Tensor {
    if (!this.training || this.jitter === 0) return x;
    const noise = rand(x.shape, { dtype: x.dtype, rng: given ?? this.#rng });
    return x.mul(noise.mul(2).sub(1).mul(this.jitter).add(1));
  }

  #choose({ mask, rng, tokenIds }: MoEForwardOptions, x: Tensor, logits: Tensor): Routing {
    return this.route(logits, {
      training: this.training,
      rng: rng ?? this.#rng,
      mask: mask === undefined ? undefined : flattenMask("MoE", mask),
      tokenIds: tokenIds?.reshape([tokenIds.size]),
      x,
    });
  }

  #replay({ routing, mask }: MoEForwardOptions, logits: Tensor): Routing {
    const given = routing as Routing;
    checkShape("MoE", "routing", [given.numTokens, given.numExperts], logits.shape, "tokens and experts of the layer");
    if (mask !== undefined)
      throw rangeError("MoE", "mask", "a value", "none beside a routing", "the routing has its own");
    return withLogits(given, logits);
  }
}

/** Rows of masked tokens set to 0. */
function keepRows(x: Tensor, { keptTokens, numTokens: T }: Routing): Tensor {
  if (keptTokens === null) return x;
  const kept = x.indexSelect(0, keptTokens);
  return zeros([T, x.shape[1]], { dtype: x.dtype }).indexAdd(0, keptTokens, kept);
}
