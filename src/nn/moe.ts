/**
 * The Mixture-of-Experts layer: a router that sends each token to a few experts, and the experts.
 *
 *   logits = x · W_r;   routing = router(logits)
 *   y[t] = Σ_{granted slots s of t} gate[s] · expert_e(s)(x[t]) + shared(x[t])
 *
 * Source   Shazeer et al. 2017, "Outrageously Large Neural Networks"
 */
import { rand } from "../create.ts";
import {
  checkBoolean,
  checkDtype,
  checkFunction,
  checkInteger,
  checkOptions,
  checkRank,
  checkShape,
  checkTensor,
  rangeError,
  show,
} from "../errors.ts";
import { checkRouting, combine, dispatch } from "../kernels/dispatch.ts";
import { groupedMatmulAt, groupRows } from "../kernels/groupedMatmul.ts";
import { checkGenerator, type Generator } from "../random.ts";
import { inside } from "../region.ts";
import { checkMask, checkOffsets } from "../routing/check.ts";
import { clearRows, keptTokensOf } from "../routing/input.ts";
import { type Mask, type Router, type Routing, withLogits } from "../routing/record.ts";
import { topKRouter } from "../routing/tokenChoice.ts";
import { type Shape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { type Activation, activate, checkActivation, isGated } from "./activation.ts";
import { checkShare } from "./dropout.ts";
import { checkFeatures, checkInit, FeedForward, type InitOptions, Linear, uniformParameter } from "./layers.ts";
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
 * Throws   RangeError when x has other features, or offsets do not go up from 0 to at most S; TypeError for other dtypes
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
    checkExperts("Experts", options);
    const { numExperts: E, dim: D, hidden: F, activation = "gelu", bias = false } = options;
    this.activation = activation;
    this.w1 = uniformParameter("Experts", [E, D, F], 1 / Math.sqrt(D), options);
    this.b1 = bias ? uniformParameter("Experts", [E, F], 1 / Math.sqrt(D), options) : null;
    const gated = isGated(activation);
    this.w3 = gated ? uniformParameter("Experts", [E, D, F], 1 / Math.sqrt(D), options) : null;
    this.b3 = gated && bias ? uniformParameter("Experts", [E, F], 1 / Math.sqrt(D), options) : null;
    this.w2 = uniformParameter("Experts", [E, F, D], 1 / Math.sqrt(F), options);
    this.b2 = bias ? uniformParameter("Experts", [E, D], 1 / Math.sqrt(F), options) : null;
  }

  forward(x: Tensor, offsets: Tensor): Tensor {
    const [E, D] = this.w1.shape;
    checkTensor("Experts", "x", x);
    checkRank("Experts", "x", x.shape, 2, "rows and features");
    checkFeatures("Experts", x, this.w1, D);
    checkOffsets("Experts", offsets, E, x.shape[0]);
    const run = (): Tensor => {
      const h = grouped(x, this.w1, this.b1, offsets);
      const up = this.w3 === null ? null : grouped(x, this.w3, this.b3, offsets);
      return grouped(activate(h, this.activation, up), this.w2, this.b2, offsets);
    };
    return inside(run);
  }
}

/** Throws unless experts can be made of the options. `op`: the layer that they are for. */
function checkExperts(op: string, options: ExpertsOptions): void {
  const { numExperts, dim, hidden, activation = "gelu", bias = false } = options;
  checkInteger(op, "numExperts", numExperts, 1, Infinity);
  checkInteger(op, "dim", dim, 1, Infinity);
  checkInteger(op, "hidden", hidden, 1, Infinity);
  checkBoolean(op, "bias", bias);
  checkActivation(op, activation);
  checkInit(op, options);
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
 * Throws   RangeError when x does not have D features, the mask not its leading dims (nested, or flat), or tokenIds not one
 *          entry per token; TypeError for other dtypes, or a router whose result is no Routing; and for what the router
 *          refuses
 */
export class MoE extends Module {
  readonly router: Linear;
  readonly experts: Experts;
  /** What every token passes through, numShared experts wide; null without them. */
  readonly shared: FeedForward | null;
  readonly route: Router;
  readonly jitter: number;
  /** Where noise of the router and jitter come from. */
  readonly rng: Generator | undefined;

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
    checkExperts("MoE", experts);
    checkInteger("MoE", "numShared", numShared, 0, Infinity);
    checkShare("MoE", "jitter", jitter);
    this.route = router === undefined ? topKRouter({ k: Math.min(2, numExperts) }) : router;
    checkFunction("MoE", "router", this.route, "a function from logits to a Routing", "such as topKRouter({ k: 2 })");
    this.router = new Linear(dim, numExperts, { bias: false, dtype, rng });
    this.experts = new Experts(experts);
    const width = numShared * hidden;
    this.shared = numShared === 0 ? null : new FeedForward({ dim, hidden: width, activation, bias, dtype, rng });
    this.jitter = jitter;
    this.rng = rng?.fork("noise");
  }

  forward(x: Tensor, options: MoEForwardOptions = {}): MoEOutput {
    checkOptions("MoE", options, ["mask", "rng", "tokenIds", "routing"]);
    const [D] = this.router.weight.shape;
    checkFeatures("MoE", x, this.router.weight);
    if (options.rng !== undefined) checkGenerator("MoE", options.rng);
    const leading = x.shape.slice(0, -1);
    const T = sizeOf(leading);
    const mask = checkPadding(options, leading, [T, this.router.weight.shape[1]]);
    const keptTokens = mask === undefined ? (options.routing?.keptTokens ?? null) : keptTokensOf(x, mask);
    // Padding may hold anything, NaN too, and the gradient of every weight that all tokens pass would have it.
    const tokens = clearRows(x.reshape([T, D]), keptTokens);
    const logits = this.#jittered(tokens, options.rng).matmul(this.router.weight);
    const routing =
      options.routing === undefined
        ? this.#choose({ ...options, mask }, tokens, logits)
        : this.#replay(options.routing, tokens, logits);
    const pass = (): Tensor =>
      combine(this.experts.forward(dispatch(tokens, routing), routing.offsets), routing.gate, routing);
    const routed = inside(pass);
    const output =
      this.shared === null ? routed : routed.add(clearRows(this.shared.forward(tokens), routing.keptTokens));
    return { output: output.reshape(x.shape), routing };
  }

  /** x, or x times noise of its own: the router's input alone, since the experts are to see x itself. */
  #jittered(x: Tensor, given: Generator | undefined): Tensor {
    if (!this.training || this.jitter === 0) return x;
    const noise = rand(x.shape, { dtype: x.dtype, rng: given ?? this.rng });
    return x.mul(noise.mul(2).sub(1).mul(this.jitter).add(1));
  }

  /** Asks the router. The mask is flat. */
  #choose({ mask, rng, tokenIds }: MoEForwardOptions, x: Tensor, logits: Tensor): Routing {
    const T = x.shape[0];
    const routing = this.route(logits, {
      training: this.training,
      rng: rng ?? this.rng,
      mask,
      tokenIds: tokenIds === undefined ? undefined : flatIds(tokenIds, T),
      x,
    });
    checkFits("the router's result", routing, logits.shape);
    checkTensor("MoE", "gate of the router's result", routing.gate);
    return routing;
  }

  /** The integers of a routing with new logits; a router whose losses need more than the record makes them anew. */
  #replay(routing: Routing, x: Tensor, logits: Tensor): Routing {
    return this.route.replay?.(routing, logits, { training: this.training, x }) ?? withLogits(routing, logits);
  }
}

/** Throws unless the routing is one, of the tokens and experts that there are. */
function checkFits(argument: string, routing: Routing, size: Shape): void {
  checkRouting("MoE", argument, routing);
  const why = "tokens and experts of the layer";
  checkShape("MoE", argument, [routing.numTokens, routing.numExperts], size, why);
}

/** The mask as one list, or none beside a routing, which has its own. `size`: tokens and experts. */
function checkPadding({ mask, routing }: MoEForwardOptions, leading: Shape, size: Shape): boolean[] | undefined {
  if (routing !== undefined) checkFits("routing", routing, size);
  if (mask === undefined) return undefined;
  if (routing !== undefined) {
    throw rangeError("MoE", "mask", "a value", "none beside a routing", "the routing has its own");
  }
  return checkMask("MoE", mask, leading.length > 1 ? [leading, [size[0]]] : [[size[0]]]);
}

/** tokenIds of any shape as one list. */
function flatIds(tokenIds: Tensor, T: number): Tensor {
  checkTensor("MoE", "tokenIds", tokenIds);
  checkDtype("MoE", "tokenIds", tokenIds.dtype, ["int32"]);
  if (tokenIds.size === T) return tokenIds.reshape([T]);
  throw rangeError("MoE", "tokenIds", `shape ${show(tokenIds.shape)}`, `${T} entries`, "one per token");
}
