/**
 * Normalised gradient descent: steps of one length, whatever the size of the gradient.
 *
 *   N = ‖g‖ over a group of parameters;   p ← p − lr · g / N        a group with N = 0 stays put
 *
 * With one group per expert, an expert that few tokens reach moves as fast as the others: this is what lets experts come
 * apart from a tiny start in Chen et al. 2022.
 */
import { checkBoolean, checkNumber, checkOptions, rangeError, show, typeError } from "../errors.ts";
import { stack } from "../kernels/concat.ts";
import type { Tensor } from "../tensor.ts";
import { type Group, Optimizer, type ParameterList } from "./optimizer.ts";

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

function check(op: string, { lr, norm, perExpert, params }: Group<Settings>): void {
  checkNumber(op, "lr", lr, "a number of at least 0", (x) => x >= 0);
  if (norm !== "joint" && norm !== "sum") throw typeError(op, "norm", show(norm), '"joint" or "sum"');
  checkBoolean(op, "perExpert", perExpert);
  if (!perExpert) return;
  const why = "perExpert: all tensors of a group have one entry per expert";
  const experts = params[0]?.shape[0];
  for (const { shape } of params) {
    if (shape.length === 0) throw rangeError(op, "a parameter", "shape []", "a first dim that counts experts", why);
    if (shape[0] === experts) continue;
    throw rangeError(op, "a parameter", `shape ${show(shape)}`, `a first dim of ${experts}`, why);
  }
}

/**
 * Normalised gradient descent, per group or per expert.
 *
 *   p ← p − lr · g / N,   N = √Σ‖g‖² (joint) or Σ‖g‖ (sum) over the tensors of the group
 *
 * Gradients of any finite size give a step of that length: they are divided by their largest entry before they are squared.
 *
 * Throws   RangeError or TypeError for bad settings, or for perExpert tensors whose first dims differ
 * Source   Chen et al. 2022, Section 3, Algorithm 1
 */
export class NormalizedGD extends Optimizer<Settings> {
  constructor(params: ParameterList<Settings>, options: NormalizedGDOptions = {}) {
    checkOptions("NormalizedGD", options, ["lr", "norm", "perExpert"]);
    const { lr = 1e-3, norm = "joint", perExpert = false } = options;
    super("NormalizedGD", params, { lr, norm, perExpert }, check);
  }

  protected override stepGroup(group: Group<Settings>): void {
    const params = group.params.filter((p) => p.peekGrad() !== null && p.size > 0);
    if (params.length > 0) moveGroup(params, group);
  }

  // A norm is over all of a group, so there is nothing to do for one parameter.
  protected update(): void {}
}

/** [1, size] or [E, size / E]: what one norm is over stands in one row. */
const rowsOf = (g: Tensor, perExpert: boolean): Tensor =>
  perExpert ? g.reshape([g.shape[0], g.size / g.shape[0]]) : g.reshape([1, g.size]);

/** x, or 1 where it is 0, by which one can divide. */
const orOne = (x: Tensor): Tensor => x.eq(0).where(1, x);

function moveGroup(params: readonly Tensor[], { lr, norm, perExpert }: Settings): void {
  const rows = params.map((p) => rowsOf(p.peekGrad() as Tensor, perExpert));
  const largest = stack(rows.map((g) => g.abs().max({ dim: 1 }).values)).max({ dim: 0, keepdim: true }).values;
  const scale = orOne(largest.transpose());
  // Entries from −1 to 1, one of them ±1: no square of them overflows, and not all underflow.
  const scaled = rows.map((g) => g.div(scale));
  const squares = stack(scaled.map((g) => g.square().sum({ dim: 1, keepdim: true })));
  const N = orOne(norm === "joint" ? squares.sum({ dim: 0 }).sqrt() : squares.sqrt().sum({ dim: 0 }));
  for (const [i, p] of params.entries()) {
    const next = p.detach().sub(scaled[i].div(N).mul(lr).reshape(p.shape));
    p.assign({ storage: next.storage, shape: next.shape });
  }
}
