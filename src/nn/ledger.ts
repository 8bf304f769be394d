/**
 * The ledger of a MoE layer: what it computes and stores, counted from shapes and one routing.
 *
 * A multiply-add is two flops. Forward pass only; backward is about twice that.
 */
import { rangeError, show, typeError } from "../errors.ts";
import { checkRouting } from "../kernels/dispatch.ts";
import type { Routing } from "../routing/record.ts";
import type { Tensor } from "../tensor.ts";
import { Module } from "./module.ts";
import { MoE } from "./moe.ts";

export interface MoELedger {
  /** Numbers that are learned. */
  readonly parameters: {
    /** Of the router's matrix, and of a router that has weights of its own. */
    readonly router: number;
    readonly experts: number;
    /** Of the shared experts. */
    readonly shared: number;
    readonly total: number;
    /** What one token passes through: the router, the shared experts and its mean number of granted experts. */
    readonly activePerToken: number;
  };
  /** Flops of one forward pass over the routed tokens. */
  readonly flops: {
    readonly router: number;
    /** Every token through the shared experts. */
    readonly shared: number;
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

const sizeOfAll = (params: readonly Tensor[]): number => params.reduce((sum, p) => sum + p.size, 0);

/** Flops of one row through matrices and biases: two for each weight of a matrix, one for each bias. */
const flopsOfRow = (params: readonly Tensor[], matrixRank: number): number =>
  params.reduce((sum, p) => sum + p.size * (p.shape.length === matrixRank ? 2 : 1), 0);

/**
 * Counts a MoE layer's work for one routing.
 *
 *   active = granted · m,  padded = E · C · m,  dense = T · E · m       m = flops of one token through one expert
 *
 * The shared experts are counted apart: they are the same in all three.
 *
 * Throws   TypeError unless given a MoE and a Routing, RangeError for a routing of other experts
 */
export function ledger(moe: MoE, routing: Routing): MoELedger {
  if (!(moe instanceof MoE)) throw typeError("ledger", "moe", show(moe), "a MoE");
  checkRouting("ledger", "routing", routing);
  const [E, D, F] = moe.experts.w1.shape;
  if (routing.numExperts !== E) {
    throw rangeError("ledger", "routing", `${routing.numExperts} experts`, `${E}`, "those of the layer");
  }
  const T = routing.keptTokens?.size ?? routing.numTokens;
  const granted = routing.offsets.data[E];
  const routerParams = [...moe.router.parameters(), ...(moe.route instanceof Module ? moe.route.parameters() : [])];
  const sharedParams = moe.shared?.parameters() ?? [];
  const [router, experts, shared] = [routerParams, moe.experts.parameters(), sharedParams].map(sizeOfAll);
  const perSlot = flopsOfRow(moe.experts.parameters(), 3) / E;
  const total = router + experts + shared;
  const width = moe.experts.w1.dtype === "float64" ? 8 : 4;
  return {
    parameters: {
      ...{ router, experts, shared, total },
      activePerToken: router + shared + (T === 0 ? 0 : (granted / T) * (experts / E)),
    },
    flops: {
      router: T * flopsOfRow(routerParams, 2),
      shared: T * flopsOfRow(sharedParams, 2),
      active: granted * perSlot,
      padded: E * routing.capacity * perSlot,
      dense: T * E * perSlot,
    },
    bytes: { parameters: total * width, slots: routing.numSlots * (2 * D + F) * width },
  };
}
