/**
 * Token choice: each token asks for the k experts that score highest.
 *
 *   p = softmax(logits);  asked for: the k largest p of each token, ties to the lower expert
 *   gate = p, or p / Σ p over the asked experts (normalize), which equals the softmax of the k chosen logits
 *
 * With a capacity, all first choices are granted in order of token, then all second ones, and so on, until an expert is
 * full; what is left over is dropped, and its gate is lost, not given to the others.
 */
import { defaultGenerator } from "../create.ts";
import { hostValue } from "../device/storage.ts";
import { checkInteger, checkOptions, rangeError, typeError } from "../errors.ts";
import { concat } from "../kernels/movement.ts";
import type { Generator } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { checkCapacityFactor, tokenChoiceCapacity } from "./capacity.ts";
import { type RouterInput, routerInput } from "./input.ts";
import { type GateRule, integers, type Router, type Routing, slotMaps, withLogits } from "./record.ts";

export interface TopKRouterOptions {
  /** Experts per token. Default 2. */
  k?: number | undefined;
  /** Divide a token's gates by their sum. Default: k > 1. */
  normalize?: boolean | undefined;
  /** Room of an expert over its even share. Default Infinity: dropless. */
  capacityFactor?: number | undefined;
  /** The least capacity, for small batches. Default 1. */
  minCapacity?: number | undefined;
}

/** Room per expert, and the rule of the gates. */
interface TokenChoice {
  readonly router: string;
  readonly k: number;
  readonly capacityFactor: number;
  readonly minCapacity: number;
  readonly rule: GateRule;
}

/** int32 [K·T]: choice-major lists, all first choices in token order, then all second ones. */
function choices(input: RouterInput, indices: Tensor) {
  const [n, K] = indices.shape;
  const expertOf = indices.transpose().reshape([K * n]);
  const position = integers(
    input.logits,
    Int32Array.from({ length: K * n }, (_, a) => a % n),
  );
  const tokenOf = input.keptTokens === null ? position : input.keptTokens.indexSelect(0, position);
  return { tokenOf, expertOf };
}

/** `allowed`: int32 [K·n] of the assignments that may be granted; default all. */
function route(choice: TokenChoice, input: RouterInput, indices: Tensor, allowed?: Tensor): Routing {
  const { router, k, rule, capacityFactor, minCapacity } = choice;
  const [T, E] = input.logits.shape;
  const [n] = indices.shape;
  const capacity = tokenChoiceCapacity(capacityFactor, n, k, E, minCapacity);
  const all = allowed ?? integers(input.logits, new Int32Array(k * n).fill(1));
  const maps = slotMaps({ ...choices(input, indices), allowed: all }, T, E, capacity);
  return withLogits({ router, capacity, rule, keptTokens: input.keptTokens, ...maps }, input.logits);
}

/**
 * Token choice of any k: dropless, or with capacity by position.
 *
 *   asked(t) = the k largest of softmax(logits[t]);  S = T · K
 *   gate = p, or with `normalize` p / Σ_{asked} p = softmax of the k chosen logits
 *
 * A top-1 gate that is normalised is always 1: the router would get no gradient. It is refused.
 *
 * Shapes   logits [T, E] → Routing with T·K slots (kept tokens only, when masked)
 * Throws   RangeError for k outside 1 … E, a capacity factor or minCapacity that is not above 0, logits that are NaN or
 *          +∞; TypeError for unknown options
 * Source   Shazeer et al. 2017; Fedus et al. 2021 (k = 1); Lepikhin et al. 2020 (k = 2, normalised)
 */
export function topKRouter(options: TopKRouterOptions = {}): Router {
  const op = "topKRouter";
  checkOptions(op, options, ["k", "normalize", "capacityFactor", "minCapacity"]);
  const { k = 2, normalize = k > 1, capacityFactor = Infinity, minCapacity = 1 } = options;
  checkInteger(op, "k", k, 1, Infinity, "experts per token");
  if (typeof normalize !== "boolean") throw typeError(op, "normalize", String(normalize), "true or false");
  if (k === 1 && normalize) {
    const why = "a normalised top-1 gate is 1 whatever the logits are, so the router would get no gradient";
    throw rangeError(op, "normalize", "true at k = 1", "false", why);
  }
  checkCapacityFactor(op, capacityFactor, true);
  checkInteger(op, "minCapacity", minCapacity, 1, Infinity);
  const rule: GateRule = { normalize, balanceOver: "choices" };
  return (logits, ctx = {}) => {
    const input = routerInput(op, logits, ctx.mask);
    checkExperts(op, k, logits.shape[1]);
    const { indices } = input.keptLogits.topk(k);
    return route({ router: op, k, capacityFactor, minCapacity, rule }, input, indices);
  };
}

function checkExperts(op: string, k: number, E: number): void {
  if (k > E) throw rangeError(op, "k", String(k), `at most ${E}`, "the number of experts");
}

export interface GShardRouterOptions {
  /** Room of an expert over its even share of 2T slots. Default 1: C = 2T/E. */
  capacityFactor?: number | undefined;
  /** The least capacity, for small batches. Default 1. */
  minCapacity?: number | undefined;
}

/**
 * GShard's top-2: gates normalised over the two, capacity, and in training a second expert that is left to chance.
 *
 *   g₁, g₂ = p₁/(p₁+p₂), p₂/(p₁+p₂);   C = ⌈capacityFactor · 2T/E⌉
 *   first choices in token order while there is room; then second ones, each only if 2·g₂ > u, u ~ U[0, 1)
 *
 * A second choice that chance passes over takes no room and goes to the tail. In evaluation chance plays no part: every
 * second choice is tried. The balance loss counts first choices.
 *
 * Shapes   logits [T, E] → Routing with 2T slots
 * Throws   as topKRouter; RangeError for fewer than two experts
 * Source   Lepikhin et al. 2020, "GShard", Algorithm 1
 */
export function gshardRouter(options: GShardRouterOptions = {}): Router {
  const op = "gshardRouter";
  checkOptions(op, options, ["capacityFactor", "minCapacity"]);
  const { capacityFactor = 1, minCapacity = 1 } = options;
  checkCapacityFactor(op, capacityFactor, true);
  checkInteger(op, "minCapacity", minCapacity, 1, Infinity);
  const rule: GateRule = { normalize: true, balanceOver: "first choices" };
  return (logits, { training = false, rng, mask } = {}) => {
    const input = routerInput(op, logits, mask);
    checkExperts(op, 2, logits.shape[1]);
    const { indices } = input.keptLogits.topk(2);
    const allowed = training ? luckySeconds(input.keptLogits, indices, rng ?? defaultGenerator()) : undefined;
    return route({ router: op, k: 2, capacityFactor, minCapacity, rule }, input, indices, allowed);
  };
}

/** int32 [2n]: 1 for every first choice, and for second ones with chance min(1, 2·g₂). */
function luckySeconds(logits: Tensor, indices: Tensor, rng: Generator): Tensor {
  const [n] = indices.shape;
  const g2 = logits.detach().gather(1, indices).softmax().slice({ dim: 1, start: 1 }).reshape([n]);
  const drawn = g2.dtype === "float64" ? new Float64Array(n) : new Float32Array(n);
  for (let t = 0; t < n; t++) drawn[t] = rng.uniform();
  const lucky = g2.mul(2).gt(logits.make(hostValue(drawn, [n]), null));
  return concat([integers(logits, new Int32Array(n).fill(1)), lucky]);
}
