/** The balance loss of each sequence by itself, which keeps one sequence from asking for a few experts only. */
import { tensor, zeros } from "../create.ts";
import { checkInteger, checkOptions, rangeError } from "../errors.ts";
import { checkRouting } from "../kernels/dispatch.ts";
import { bincount } from "../kernels/sort.ts";
import type { Routing } from "../routing/record.ts";
import type { Tensor } from "../tensor.ts";

/**
 * The sequence-wise balance loss: the balance loss of every sequence, and their mean.
 *
 *   L = mean over sequences b of  E · Σ_e f[b, e] · P[b, e]
 *   f[b, e] = share of b's slots that asked for e;   P[b, e] = mean over b's tokens of p[t, e]
 *
 * 1 where f or P is even in every sequence; E when each asks for one expert with certainty, whichever that is. A batch can be
 * in balance whose sequences are not, so it asks for more than `losses.balance`, which it is for one sequence. f is a count
 * and has no gradient; P carries it. DeepSeek-V3 adds 1e-4 of it.
 *
 * The tokens are those of `numSequences` sequences of one length, one after the other, as MoE flattens [B, L, D]. A sequence
 * without a token that the mask keeps counts for nothing; without any, the loss is 0.
 *
 *   loss.add(sequenceBalance(routing, { numSequences: B }).mul(1e-4))
 *
 * Shapes   a routing of B·L tokens → a scalar on its graph
 * Throws   RangeError unless the number of sequences divides the number of tokens; TypeError for what is no routing
 * Source   DeepSeek-AI 2024, "DeepSeek-V3", Eq. 17 to 20, whose p is σ / Σ σ: routing.probs, for a router of sigmoid scores
 */
export function sequenceBalance(routing: Routing, options: { numSequences: number }): Tensor {
  const op = "sequenceBalance";
  checkRouting(op, "routing", routing);
  checkOptions(op, options, ["numSequences"]);
  const { numSequences: B } = options;
  const { numTokens: T, numExperts: E, probs, keptTokens } = routing;
  checkInteger(op, "numSequences", B, 1, Infinity);
  if (T % B !== 0) throw rangeError(op, "numSequences", String(B), `a divisor of ${T}`, "the number of tokens");
  const L = T / B;
  const sequenceOfToken = tensor(Int32Array.from({ length: T }, (_, t) => Math.floor(t / L)));
  const kept = keptTokens === null ? sequenceOfToken : sequenceOfToken.indexSelect(0, keptTokens);
  const lengths = bincount(kept, { numBins: B }).to(probs.dtype);
  const present = lengths.gt(0);
  // What a sequence without tokens divides by: 0 / 1 is 0.
  const some = (x: Tensor): Tensor => x.eq(0).where(1, x);

  const cell = sequenceOfToken.indexSelect(0, routing.tokenOfSlot).mul(E).add(routing.expertOfSlot);
  const counts = bincount(cell, { numBins: B * E })
    .to(probs.dtype)
    .reshape([B, E]);
  const f = counts.div(some(counts.sum({ dim: 1, keepdim: true })));
  const rows = keptTokens === null ? probs : probs.indexSelect(0, keptTokens);
  const sums = zeros([B, E], { dtype: probs.dtype }).indexAdd(0, kept, rows);
  const P = sums.div(some(lengths).reshape([B, 1]));
  return f
    .mul(P)
    .sum()
    .mul(E)
    .div(some(present.sum().to(probs.dtype)));
}
