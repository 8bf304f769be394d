/** The auxiliary losses of a model: scaled and summed in one place, so that none is lost or counted twice. */
import { zeros } from "../create.ts";
import { checkNumber, checkOptions, rangeError, show, typeError } from "../errors.ts";
import type { Routing } from "../routing/record.ts";
import type { Tensor } from "../tensor.ts";

/** How much of each auxiliary loss to add; a loss left out is not added. */
export interface AuxLossOptions {
  /** Coefficient of the balance loss. Customary: 0.01. */
  balance?: number | undefined;
  /** Coefficient of the router's z-loss. Customary: 1e-3. */
  z?: number | undefined;
  /** Coefficient of the importance loss, of routers that have one (noisy top-k). Customary: 0.1. */
  importance?: number | undefined;
  /** Coefficient of the load loss, of routers that have one (noisy top-k). Customary: 0.1. */
  load?: number | undefined;
}

const LOSSES = ["balance", "z", "importance", "load"] as const;

/**
 * The auxiliary losses of a model, scaled and summed over its routings: the one place where that is done.
 *
 *   Σ_r  balance · losses.balance(r) + z · losses.z(r) + …
 *
 * With gradient accumulation over n parts of a batch, divide each part's whole loss, this one included, by n. For the task
 * loss that is exact when the parts are of one size. For the balance loss it is not: Σ f·P of a batch is not the mean of
 * Σ f·P over its parts, so smaller parts are held to an evenness of their own. The z-loss is a mean over tokens and exact;
 * importance and load, as squares of sums over a batch, are not.
 *
 * Throws   RangeError for a coefficient below 0 or not finite, or of a loss that a routing does not have; TypeError for
 *          unknown names or what is no routing
 */
export function auxLoss(routings: readonly Routing[] | Routing, coefficients: AuxLossOptions): Tensor {
  checkOptions("auxLoss", coefficients, LOSSES);
  const list = Array.isArray(routings) ? (routings as readonly Routing[]) : [routings as Routing];
  const terms: Tensor[] = [];
  for (const name of LOSSES) {
    const { [name]: c = 0 } = coefficients;
    checkNumber("auxLoss", name, c, "a coefficient of at least 0", (x) => x >= 0);
    for (const [i, routing] of list.entries()) {
      if (routing?.losses === undefined) throw typeError("auxLoss", `routing ${i}`, show(routing), "a Routing");
      if (c > 0) terms.push(lossOf(routing, name, i).mul(c));
    }
  }
  if (terms.length === 0) return zeros([], { dtype: list[0]?.logits.dtype });
  return terms.reduce((sum, term) => sum.add(term));
}

function lossOf(routing: Routing, name: (typeof LOSSES)[number], i: number): Tensor {
  const loss = routing.losses[name];
  if (loss !== undefined) return loss;
  throw rangeError("auxLoss", `routing ${i}`, `no ${name} loss`, "one that has it", `it was made by ${routing.router}`);
}
