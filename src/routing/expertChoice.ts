/**
 * Expert choice: each expert chooses the tokens that score highest for it.
 *
 *   S = softmax(X·W_g) over experts;   G, I = TopK(Sᵀ, C);   C = capacityFactor · T / E
 *
 * Every expert gets exactly C tokens, so the load is balanced by construction and no balance loss is needed. A token gets
 * as many experts as chose it, from none to all.
 */
import { checkOptions } from "../errors.ts";
import { checkCapacityFactor, expertChoiceCapacity } from "./capacity.ts";
import { checkContext } from "./check.ts";
import { routerInput } from "./input.ts";
import { type GateRule, integers, type Router, slotMaps, withLogits } from "./record.ts";

export interface ExpertChoiceRouterOptions {
  /** Mean number of experts per token. Default 2. */
  capacityFactor?: number | undefined;
}

/**
 * Expert choice: G, I = TopK(softmax(logits)ᵀ, C), gates G as they are.
 *
 *   C = clamp(⌊capacityFactor · T / E⌋, 1, T);   S = E · C, all granted
 *   gate = softmax(logits)[t, e], not normalised over a token's experts nor over an expert's tokens
 *
 * An expert compares the tokens of the whole batch, so what a token gets depends on the others, **later ones included**.
 * In a causal language model that is a leak: the routing of a token tells of the future. Use it where all of the input is
 * known (encoders, masked models), or where the tokens of a batch are drawn independently.
 *
 * Ties go to the lower token. A token may be chosen by no expert: then it passes through the residual alone.
 *
 * Shapes   logits [T, E] → Routing with E·C slots (T: kept tokens, when masked)
 * Throws   RangeError for a capacity factor that is not a finite number above 0, logits that are NaN or +∞; TypeError for
 *          unknown options
 * Source   Zhou et al. 2022, "Mixture-of-Experts with Expert Choice Routing", Eq. 1 to 4
 */
export function expertChoiceRouter(options: ExpertChoiceRouterOptions = {}): Router {
  const op = "expertChoiceRouter";
  checkOptions(op, options, ["capacityFactor"]);
  const { capacityFactor = 2 } = options;
  checkCapacityFactor(op, capacityFactor, false);
  const rule: GateRule = { score: "softmax", normalize: false, balanceOver: "choices", choiceBy: "expert" };
  const route: Router = (logits, ctx = {}) => {
    const { mask } = checkContext(op, ctx);
    const input = routerInput(op, logits, mask);
    const [T, E] = logits.shape;
    const [n] = input.keptLogits.shape;
    const C = expertChoiceCapacity(capacityFactor, n, E);
    const { indices } = input.keptLogits.softmax().transpose().topk(C);
    const position = indices.reshape([E * C]);
    const tokenOf = input.keptTokens === null ? position : input.keptTokens.indexSelect(0, position);
    const expertOf = integers(
      logits,
      Int32Array.from({ length: E * C }, (_, s) => Math.floor(s / C)),
    );
    const allowed = integers(logits, new Int32Array(E * C).fill(1));
    const maps = slotMaps({ tokenOf, expertOf, allowed }, T, E, C);
    return withLogits({ router: op, capacity: C, rule, keptTokens: input.keptTokens, ...maps }, input.logits);
  };
  return Object.assign(route, { looksAhead: true });
}
