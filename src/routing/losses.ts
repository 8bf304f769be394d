/**
 * The auxiliary losses of a routing.
 *
 *   balance = E · Σ_e f[e] · P[e]        f[e] = share of the slots that asked for e, P[e] = mean over tokens of p[t, e]
 *   z       = mean over tokens of (ln Σ_e e^logits[t, e])²
 *
 * balance is 1 when either f or P is even, whatever k is, and E when all tokens ask for one expert with certainty. 1 is
 * not a lower bound. f is a count and has no gradient; P carries it, and pushes down the experts that are asked for most.
 * f counts what was asked for, dropped slots included: counting what was granted would call a full expert balanced.
 *
 * Source   Fedus et al. 2021, "Switch Transformers", Eq. 4 to 6 (divided by k for k > 1); Zoph et al. 2022, "ST-MoE", Eq. 5
 */
import { bincount } from "../kernels/sort.ts";
import type { Tensor } from "../tensor.ts";
import type { Routing } from "./record.ts";

export interface RoutingLosses {
  /** 1 at perfect balance. */
  readonly balance: Tensor;
  /** (ln E)² for logits of 0. */
  readonly z: Tensor;
}

type Read = Pick<
  Routing,
  "numExperts" | "expertOfSlot" | "slotsOfToken" | "tokenOffsets" | "rule" | "keptTokens" | "logits" | "probs"
>;

/** The losses of a routing, computed at each access. With no tokens they are 0. */
export function lossesOf(routing: Read): RoutingLosses {
  const { logits, probs, keptTokens } = routing;
  const kept = (x: Tensor): Tensor => (keptTokens === null ? x : x.indexSelect(0, keptTokens));
  const empty = (keptTokens ?? logits).shape[0] === 0;
  return {
    get balance() {
      if (empty) return logits.sum();
      const asked = askedExperts(routing);
      const counts = bincount(asked, { numBins: routing.numExperts }).to(probs.dtype);
      const f = counts.div(asked.size);
      return f
        .mul(kept(probs).mean({ dim: 0 }))
        .sum()
        .mul(routing.numExperts);
    },
    get z() {
      return empty ? logits.sum() : kept(logits).logsumexp().square().mean();
    },
  };
}

/** int32: the expert of every slot, or of every token's first choice. */
function askedExperts({ expertOfSlot, slotsOfToken, tokenOffsets, rule, keptTokens }: Read): Tensor {
  if (rule.balanceOver === "choices") return expertOfSlot;
  const starts = tokenOffsets.slice({ end: -1 });
  const first = keptTokens === null ? starts : starts.indexSelect(0, keptTokens);
  return expertOfSlot.indexSelect(0, slotsOfToken.indexSelect(0, first));
}
