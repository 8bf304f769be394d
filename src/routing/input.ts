/** What all routers do with their input before they choose: check the logits and leave out masked tokens. */
import { checkDtype, checkRank, checkTensor, rangeError, show } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { flattenMask } from "./check.ts";
import { integers, type Mask } from "./record.ts";

/** The logits of the tokens that take part, and who they are. */
export interface RouterInput {
  /** [T, E]: with the rows of masked tokens at 0, so that nothing of them, NaN included, comes through. */
  readonly logits: Tensor;
  /** [n, E]: the rows of the kept tokens. */
  readonly keptLogits: Tensor;
  /** int32 [n], or null when all are kept. */
  readonly keptTokens: Tensor | null;
}

/** Checks logits [T, E] and the mask. Throws RangeErrors and TypeErrors that name the router. */
export function routerInput(op: string, logits: Tensor, mask: Mask | undefined): RouterInput {
  checkTensor(op, "logits", logits);
  checkRank(op, "logits", logits.shape, 2, "tokens and experts");
  checkDtype(op, "logits", logits.dtype, ["float32", "float64"]);
  if (logits.shape[1] === 0) throw rangeError(op, "logits", `shape ${show(logits.shape)}`, "at least one expert");
  const kept = mask === undefined ? null : keptIndices(op, mask, logits.shape[0]);
  if (kept === null || kept.length === logits.shape[0]) {
    checkFinite(op, logits, null);
    return { logits, keptLogits: logits, keptTokens: null };
  }
  checkFinite(op, logits, kept);
  const keptTokens = integers(logits, kept);
  const keep = integers(logits, Int32Array.from({ length: logits.shape[0] }));
  const flags = keep.indexAdd(0, keptTokens, integers(logits, new Int32Array(kept.length).fill(1)));
  const clean = flags.reshape([flags.size, 1]).where(logits, 0);
  return { logits: clean, keptLogits: clean.indexSelect(0, keptTokens), keptTokens };
}

function keptIndices(op: string, mask: Mask, T: number): Int32Array {
  const { flat } = flattenMask(op, mask);
  if (flat.length !== T) throw rangeError(op, "mask", `${flat.length} entries`, `${T}`, "one per token, true = keep");
  return Int32Array.from(flat.flatMap((keep, t) => (keep ? [t] : [])));
}

/** A NaN or +∞ has no softmax; nor has a row of −∞ alone. One −∞ is a way to close an expert, and is fine. */
function checkFinite(op: string, logits: Tensor, kept: Int32Array | null): void {
  const { host } = logits.storage;
  if (host === null) return;
  const E = logits.shape[1];
  const T = kept === null ? logits.shape[0] : kept.length;
  for (let i = 0; i < T; i++) {
    const t = kept === null ? i : kept[i];
    let open = 0;
    for (let e = 0; e < E; e++) {
      const x = host[t * E + e];
      if (!(x < Infinity)) throw rangeError(op, "logits", `${show(x)} at [${t}, ${e}]`, "finite numbers");
      if (x > -Infinity) open++;
    }
    if (open === 0) throw rangeError(op, "logits", `-Infinity for every expert of token ${t}`, "one that is finite");
  }
}
