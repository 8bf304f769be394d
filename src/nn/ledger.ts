/**
 * The ledger of a MoE layer: what it computes and stores, counted from shapes and one routing.
 *
 * A multiply-add is two flops. Forward pass only; backward is about twice that.
 */

import { show, typeError } from "../errors.ts";
import type { Routing } from "../routing/record.ts";
import { checkTensor } from "../tensor.ts";
import { MoE } from "./moe.ts";

export interface MoELedger {
  /** Numbers that are learned. */
  readonly parameters: {
    readonly router: number;
    readonly experts: number;
    readonly total: number;
    /** What one token passes through: the router and its mean number of granted experts. */
    readonly activePerToken: number;
  };
  /** Flops of one forward pass over the routed tokens. */
  readonly flops: {
    readonly router: number;
    /** Granted slots through their experts: what is computed here, since every form skips the tail. */
    readonly active: number;
    /** Every expert filled up to its capacity: what a layout of [E, C] rows computes. */
    readonly padded: number;
    /** Every token through every expert: what a mixture without routing computes. */
    readonly dense: number;
  };
  /** Bytes of the parameters, and of the rows that the slots hold (inputs, hidden, outputs). */
  readonly bytes: { readonly parameters: number; readonly slots: number };
}

/**
 * Counts a MoE layer's work for one routing.
 *
 *   active = granted · m,  padded = E · C · m,  dense = T · E · m       m = flops of one token through one expert
 *
 * Throws   TypeError unless given a MoE
 */
export function ledger(moe: MoE, routing: Routing): MoELedger {
  if (!(moe instanceof MoE)) throw typeError("ledger", "moe", show(moe), "a MoE");
  checkTensor("ledger", "routing.offsets", routing?.offsets);
  const E = routing.numExperts;
  const T = routing.keptTokens?.size ?? routing.numTokens;
  const granted = routing.offsets.data[E];
  const sizes = moe.experts.parameters().map((p) => p.size);
  const experts = sizes.reduce((sum, n) => sum + n, 0);
  const router = moe.router.weight.size;
  // Two flops for each weight of a matrix; one for each bias.
  const perSlot = moe.experts.parameters().reduce((sum, p) => sum + (p.size / E) * (p.shape.length === 3 ? 2 : 1), 0);
  const [D, F] = moe.experts.w1.shape.slice(1);
  const width = moe.experts.w1.dtype === "float64" ? 8 : 4;
  return {
    parameters: {
      router,
      experts,
      total: router + experts,
      activePerToken: router + (T === 0 ? 0 : (granted / T) * (experts / E)),
    },
    flops: {
      router: 2 * T * router,
      active: granted * perSlot,
      padded: E * routing.capacity * perSlot,
      dense: T * E * perSlot,
    },
    bytes: { parameters: (router + experts) * width, slots: routing.numSlots * (2 * D + F) * width },
  };
}
