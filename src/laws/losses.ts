/** The laws of balance losses, and checkLoss, which tries them on yours. */
import * as fc from "fast-check";
import { tensor } from "../create.ts";
import { checkFunction } from "../errors.ts";
import type { Routing } from "../routing/record.ts";
import { topKRouter } from "../routing/tokenChoice.ts";
import type { Tensor } from "../tensor.ts";
import { grad } from "../transforms.ts";
import { distinctTensor } from "./arbitraries.ts";
import { gradcheck } from "./gradcheck.ts";
import { type CheckOptions, checkLawOptions, checkLaws, holds, type Law, type LawResult, must } from "./law.ts";

/** A loss of one routing: a scalar that is smallest when experts are used evenly. */
export type RoutingLoss = (routing: Routing) => Tensor;

export interface CheckLossOptions extends CheckOptions {
  /** The documented value at perfect balance, for every k. Default 1. */
  atBalance?: number | undefined;
  /** The documented value when every token asks for one expert with certainty, of E. Default E. */
  atCollapse?: ((E: number) => number) | undefined;
}

interface LossSubject {
  readonly loss: RoutingLoss;
  readonly atBalance: number;
  readonly atCollapse: (E: number) => number;
}

const sizes = fc.record({
  E: fc.integer({ min: 2, max: 5 }),
  rounds: fc.integer({ min: 1, max: 3 }),
  k: fc.integer({ min: 1, max: 3 }),
});

const route = (logits: Tensor, k: number, mask?: boolean[]): Routing =>
  topKRouter({ k: Math.min(k, logits.shape[1]), normalize: k > 1 && logits.shape[1] > 1 })(logits, { mask });

/** Logits whose tokens ask for experts in turn: token t prefers t, t + 1, … mod E, alike in all. */
function inTurn(E: number, rounds: number): Tensor {
  const data = Array.from({ length: rounds * E * E }, (_, i) => {
    const [t, e] = [Math.floor(i / E), i % E];
    return -((((e - t) % E) + E) % E);
  });
  return tensor(data, { dtype: "float64" }).reshape([rounds * E, E]);
}

/** Logits whose tokens all ask for expert 0, by this much. */
const allToOne = (T: number, E: number, by: number): Tensor =>
  tensor(
    Array.from({ length: T * E }, (_, i) => (i % E === 0 ? by : 0)),
    { dtype: "float64" },
  ).reshape([T, E]);

const close = (x: number, y: number): boolean => Math.abs(x - y) <= 1e-6 * Math.max(1, Math.abs(y));

export const lossLaws: readonly Law<LossSubject>[] = [
  {
    name: "value at balance",
    statement: "When every expert is asked for equally often the loss has its documented value, for every k.",
    formula: "f[e] = P[e] = 1/E ⇒ loss = 1",
    source: "Fedus et al. 2021, Eq. 4; published systems give 1 or k here",
    property: ({ loss, atBalance }) =>
      holds(sizes, ({ E, rounds, k }) => {
        const value = loss(route(inTurn(E, rounds), k)).item();
        must(close(value, atBalance), () => `${E} experts, k = ${Math.min(k, E)}: ${value}, expected ${atBalance}`);
      }),
  },
  {
    name: "value at collapse",
    statement: "When every token asks for one expert with certainty the loss has its documented value.",
    formula: "f = P = one-hot ⇒ loss = E",
    source: "Fedus et al. 2021, Eq. 4",
    property: ({ loss, atCollapse }) =>
      holds(sizes, ({ E, rounds }) => {
        const value = loss(route(allToOne(rounds * E, E, 100), 1)).item();
        must(close(value, atCollapse(E)), () => `${E} experts: ${value}, expected ${atCollapse(E)}`);
      }),
  },
  {
    name: "pushes down the busiest",
    statement: "A step against the gradient lowers the logits of an expert that everybody asks for.",
    formula: "Σ_t ∂loss / ∂logits[t, busiest] > 0",
    source: "what a balance loss is for",
    property: ({ loss }) =>
      holds(sizes, ({ E, rounds }) => {
        const g = grad((x: Tensor) => loss(route(x, 1)))(allToOne(rounds * E, E, 1));
        const busiest = g.sum({ dim: 0 }).data[0];
        must(busiest > 0, () => `the gradient of the busiest expert's logits is ${busiest}`);
      }),
  },
  {
    name: "finite gradient at balance",
    statement: "At perfect balance the gradient is finite, and where all logits are alike.",
    formula: "|∂loss / ∂logits| < ∞ where f = P = 1/E, or P = 1/E to the last bit",
    source: "a standard deviation has none there; V-MoE's loss was NaN",
    property: ({ loss }) =>
      holds(sizes, ({ E, rounds, k }) => {
        const balanced = inTurn(E, rounds);
        for (const logits of [balanced, balanced.zerosLike()]) {
          const g = grad((x: Tensor) => loss(route(x, k)))(logits);
          must(
            g.data.every((x: number) => Number.isFinite(x)),
            () => `the gradient is ${g}`,
          );
        }
      }),
  },
  {
    name: "gradient",
    statement: "The gradient is what differences give, with the choices held fixed.",
    formula: "∂loss / ∂logits by backward = by differences",
    source: "gradcheck; counts have no gradient, probabilities carry it",
    property: ({ loss }) =>
      holds(distinctTensor([4, 3]), (logits) => {
        const report = gradcheck((x: Tensor) => loss(route(x, 2)), [logits], { raiseException: false });
        must(report.ok, () => report.message);
      }),
  },
  {
    name: "dropped slots count",
    statement: "What was asked for counts, granted or not: an expert that is full is no less wanted.",
    formula: "loss(x, C) = loss(x, C = T)",
    source: "Fedus et al. 2021, Eq. 5: f counts where the router sends tokens",
    property: ({ loss }) =>
      holds(distinctTensor([6, 3]), (logits) => {
        const [a, b] = [loss(topKRouter({ k: 1, capacityFactor: 0.5 })(logits)).item(), loss(route(logits, 1)).item()];
        must(close(a, b), () => `${a} with room for 1 token per expert, ${b} with room for all`);
      }),
  },
  {
    name: "mask",
    statement: "Masked tokens do not count.",
    formula: "loss(x, mask) = loss(x[mask])",
    source: "padding in the loss is a bug that published systems had",
    property: ({ loss }) =>
      holds(
        fc.record({ logits: distinctTensor([5, 3]), mask: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }) }),
        ({ logits, mask }) => {
          const kept = mask.flatMap((keep, t) => (keep ? [t] : []));
          if (kept.length === 0) return;
          const alone = logits.indexSelect(0, tensor(Int32Array.from(kept)));
          const [a, b] = [loss(route(logits, 2, mask)).item(), loss(route(alone, 2)).item()];
          must(close(a, b), () => `${a} with the mask, ${b} without the masked tokens`);
        },
      ),
  },
];

/**
 * Tries the laws of balance losses on a loss.
 *
 *   checkLoss((routing) => routing.losses.balance)
 *
 * Throws   Error when a law is broken (unless raiseException is false), TypeError for what is no function
 */
export function checkLoss(loss: RoutingLoss, options: CheckLossOptions = {}): LawResult[] {
  checkLawOptions("checkLoss", options, ["atBalance", "atCollapse"]);
  checkFunction("checkLoss", "loss", loss, "a function of a Routing");
  const { atBalance = 1, atCollapse = (E: number) => E } = options;
  return checkLaws("checkLoss", { loss, atBalance, atCollapse }, lossLaws, options);
}
