/**
 * Normalised gradient descent: steps of one length, whatever the size of the gradient.
 *
 *   N = ‖g‖ over a group of parameters;   p ← p − lr · g / N        a group with N = 0 stays put
 *
 * With one group per expert, an expert that few tokens reach moves as fast as the others: this is what lets experts come
 * apart from a tiny start in Chen et al. 2022.
 */
import { noGrad } from "../autograd.ts";
import { checkNumber, checkOptions, show, typeError } from "../errors.ts";
import { stack } from "../kernels/movement.ts";
import type { Tensor } from "../tensor.ts";
import { Optimizer, type ParameterList } from "./optimizer.ts";

export interface NormalizedGDOptions {
  /** Length of a step. Default 1e-3. */
  lr?: number | undefined;
  /**
   * "joint": N = √(Σ over the group's tensors of ‖g‖²), the Frobenius norm of the paper; "sum": N = Σ ‖g‖, as the
   * authors' code has it. Default "joint".
   */
  norm?: "joint" | "sum" | undefined;
  /**
   * Tensors whose first dim counts experts (`w1 [E, D, F]`) are normalised for each expert apart. Default false: one
   * norm for the whole group.
   */
  perExpert?: boolean | undefined;
}

type Settings = { lr: number; norm: "joint" | "sum"; perExpert: boolean };

function check(op: string, { lr, norm }: Settings): void {
  checkNumber(op, "lr", lr, "a number of at least 0", (x) => x >= 0);
  if (norm !== "joint" && norm !== "sum") throw typeError(op, "norm", show(norm), '"joint" or "sum"');
}

/**
 * Normalised gradient descent, per group or per expert.
 *
 *   p ← p − lr · g / N,   N = √Σ‖g‖² (joint) or Σ‖g‖ (sum) over the tensors of the group
 *
 * Throws   RangeError or TypeError for bad settings
 * Source   Chen et al. 2022, Section 3, Algorithm 1
 */
export class NormalizedGD extends Optimizer<Settings> {
  constructor(params: ParameterList<Settings>, options: NormalizedGDOptions = {}) {
    checkOptions("NormalizedGD", options, ["lr", "norm", "perExpert"]);
    const { lr = 1e-3, norm = "joint", perExpert = false } = options;
    super("NormalizedGD", params, { lr, norm, perExpert }, check);
  }

  override step(): void {
    noGrad(() => {
      for (const group of this.groups) {
        const params = group.params.filter((p) => p.grad !== null);
        if (params.length > 0) stepGroup(params, group);
      }
    });
  }

  // step() works on groups, since a norm is over all of one.
  protected update(): void {}
}

/** [1] or [E]: ‖g‖² of a tensor, as a whole or per expert. */
function squares(g: Tensor, perExpert: boolean): Tensor {
  const rows = perExpert ? g.reshape([g.shape[0], g.size / g.shape[0]]) : g.reshape([1, g.size]);
  return rows.square().sum({ dim: 1 });
}

function stepGroup(params: readonly Tensor[], { lr, norm, perExpert }: Settings): void {
  const parts = stack(params.map((p) => squares(p.grad as Tensor, perExpert)));
  const N = norm === "joint" ? parts.sum({ dim: 0 }).sqrt() : parts.sqrt().sum({ dim: 0 });
  const factor = N.eq(0).where(0, N.pow(-1)).mul(lr);
  for (const p of params) {
    const g = p.grad as Tensor;
    const perRow = perExpert ? factor.reshape([g.shape[0], ...g.shape.slice(1).map(() => 1)]) : factor;
    const next = p.detach().sub(g.mul(perRow.reshape(perExpert ? perRow.shape : [])));
    p.assign({ storage: next.storage, shape: next.shape });
  }
}
