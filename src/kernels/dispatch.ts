/**
 * Dispatch and combine: tokens out to the slots of their experts, expert outputs back onto their tokens.
 *
 *   dispatch(x)[s] = x[token(s)]                          0 for slots in the tail
 *   combine(h)[t]  = Σ_{granted slots s of t} gate[s] · h[s]
 *
 * Without the gate they are adjoint: ⟨dispatch(x), h⟩ = ⟨x, sumSlots(h)⟩. Both are gathers, since a routing can be read
 * either way (slot → token, token → slots): nothing is scattered, so sums are the same bits in every run.
 *
 * Source   Lepikhin et al. 2020, "GShard", Algorithm 1, with lists of slots in place of one-hot masks
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { Flat, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import {
  checkDtype,
  checkInteger,
  checkRank,
  checkShape,
  checkTensor,
  rangeError,
  show,
  typeError,
} from "../errors.ts";
import type { Routing, SlotMaps } from "../routing/record.ts";
import { MAX_SIZE } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

interface Width {
  readonly D: number;
}

/** How many slots are granted: where the last expert's end. */
const granted = (offsets: Flat): number => offsets[offsets.length - 1];

/** Error    exact */
export const gatherSlotsKernel: Kernel<Width> = {
  name: "dispatch",
  reference(out, [x, tokenOfSlot, , , offsets], { D }) {
    for (let s = 0; s < tokenOfSlot.length; s++) {
      for (let d = 0; d < D; d++) out[s * D + d] = s < granted(offsets) ? x[tokenOfSlot[s] * D + d] : 0;
    }
  },
  loops(out, [x, tokenOfSlot, , , offsets], { D }) {
    const end = granted(offsets);
    for (let s = 0, p = 0; s < end; s++) {
      for (let d = 0, q = tokenOfSlot[s] * D; d < D; d++) out[p++] = x[q++];
    }
    out.fill(0, end * D);
  },
};

/** Error    float32: accumulated in float64 in order of choice, rounded once */
export const sumSlotsKernel: Kernel<Width> = {
  name: "sumSlots",
  reference(out, [h, tokenOfSlot, , , offsets], { D }) {
    const sums = new Float64Array(out.length);
    for (let s = 0; s < granted(offsets); s++) {
      for (let d = 0; d < D; d++) sums[tokenOfSlot[s] * D + d] += h[s * D + d];
    }
    out.set(sums);
  },
  loops(out, [h, , slotsOfToken, tokenOffsets, offsets], { D }) {
    const end = granted(offsets);
    const sums = new Float64Array(D);
    for (let t = 0; t + 1 < tokenOffsets.length; t++) {
      sums.fill(0);
      for (let i = tokenOffsets[t]; i < tokenOffsets[t + 1]; i++) {
        const s = slotsOfToken[i];
        if (s < end) for (let d = 0, p = s * D; d < D; d++) sums[d] += h[p++];
      }
      out.set(sums, t * D);
    }
  },
};

/** The four maps of a routing that say which slots are whose. */
type Maps = [tokenOfSlot: Tensor, slotsOfToken: Tensor, tokenOffsets: Tensor, offsets: Tensor];

const mapsOf = (routing: Routing): Maps => [
  routing.tokenOfSlot,
  routing.slotsOfToken,
  routing.tokenOffsets,
  routing.offsets,
];

/** Throws unless the maps are int32 tensors of the sizes that belong to T tokens, E experts and S slots. */
export function checkSlotMaps(op: string, prefix: string, maps: SlotMaps, T: number, E: number, S: number): void {
  const sizes = { tokenOfSlot: S, expertOfSlot: S, offsets: E + 1, slotsOfToken: S, tokenOffsets: T + 1 };
  for (const [name, size] of Object.entries(sizes)) {
    const map = maps[name as keyof SlotMaps];
    checkTensor(op, prefix + name, map);
    checkDtype(op, prefix + name, map.dtype, ["int32"]);
    checkShape(op, prefix + name, map.shape, [size], `${T} tokens, ${E} experts, ${S} slots`);
  }
}

/** Throws a TypeError unless the routing is one, a RangeError unless its maps have the sizes that it names. */
export function checkRouting(op: string, argument: string, routing: Routing): void {
  if (routing === null || typeof routing !== "object") {
    throw typeError(op, argument, show(routing), "a Routing", "what a router returns");
  }
  const { numTokens: T, numExperts: E, numSlots: S } = routing;
  checkInteger(op, `${argument}.numTokens`, T, 0, MAX_SIZE);
  checkInteger(op, `${argument}.numExperts`, E, 1, MAX_SIZE);
  checkInteger(op, `${argument}.numSlots`, S, 0, MAX_SIZE);
  checkSlotMaps(op, `${argument}.`, routing, T, E, S);
}

/** y[s, :] = x[token(s), :] for granted slots, else 0. */
const gatherSlots: OpFn<[x: Tensor, ...Maps]> = defineOp({
  name: "dispatch",
  inputs: ["x", "tokenOfSlot", "slotsOfToken", "tokenOffsets", "offsets"],
  forward([x, ...maps]) {
    const D = x.shape[1];
    return run(gatherSlotsKernel, [x, ...maps], { D }, [maps[0].size, D], x.dtype);
  },
  vjp: (g, { inputs: [, ...maps] }) => [() => sumSlots(g, ...maps), null, null, null, null],
});

/** y[t, :] = Σ h[s, :] over the granted slots s of t. */
const sumSlots: OpFn<[h: Tensor, ...Maps]> = defineOp({
  name: "sumSlots",
  inputs: ["h", "tokenOfSlot", "slotsOfToken", "tokenOffsets", "offsets"],
  forward([h, ...maps]) {
    const D = h.shape[1];
    return run(sumSlotsKernel, [h, ...maps], { D }, [maps[2].size - 1, D], h.dtype);
  },
  vjp: (g, { inputs: [, ...maps] }) => [() => gatherSlots(g, ...maps), null, null, null, null],
});

/** Error    exact to one rounding */
export const scaleRowsKernel: Kernel<Width> = {
  name: "scaleRows",
  reference(out, [h, a], { D }) {
    for (let i = 0; i < out.length; i++) out[i] = a[Math.floor(i / D)] * h[i];
  },
  loops(out, [h, a], { D }) {
    for (let s = 0, p = 0; s < a.length; s++) {
      const factor = a[s];
      for (let d = 0; d < D; d++, p++) out[p] = factor * h[p];
    }
  },
};

/** Error    float32: accumulated in float64, rounded once */
export const rowDotKernel: Kernel<Width> = {
  name: "rowDot",
  reference(out, [a, b], { D }) {
    for (let s = 0; s < out.length; s++) {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += a[s * D + d] * b[s * D + d];
      out[s] = sum;
    }
  },
  loops(out, [a, b], { D }) {
    for (let s = 0, p = 0; s < out.length; s++) {
      let sum = 0;
      for (let d = 0; d < D; d++, p++) sum += a[p] * b[p];
      out[s] = sum;
    }
  },
};

/**
 * Scale rows: multiply each row of h by its own factor.
 *
 *   y[s, :] = a[s] · h[s, :]
 *
 * Shapes   h [S, D], a [S] → y [S, D]
 * Error    exact to one rounding
 * Throws   RangeError when a does not have one entry per row
 */
export const scaleRows: OpFn<[h: Tensor, a: Tensor]> = defineOp({
  name: "scaleRows",
  inputs: ["h", "a"],
  forward([h, a]) {
    const [S, D] = h.shape;
    checkShape("scaleRows", "a", a.shape, [S], "one factor per row");
    return run(scaleRowsKernel, [h, a], { D }, [S, D], h.dtype);
  },
  // y is linear in h and in a, so each cotangent is the other factor times g.
  vjp: (g, { inputs: [h, a] }) => [() => scaleRows(g, a), () => rowDot(g, h)],
});

/**
 * Row dot: the inner product of each row of a with the same row of b.
 *
 *   y[s] = Σ_d a[s, d] · b[s, d]
 *
 * Shapes   a, b [S, D] → y [S]
 * Error    float32: accumulated in float64, rounded once
 * Throws   RangeError when the shapes differ
 */
export const rowDot: OpFn<[a: Tensor, b: Tensor]> = defineOp({
  name: "rowDot",
  inputs: ["a", "b"],
  forward([a, b]) {
    const [S, D] = a.shape;
    checkShape("rowDot", "b", b.shape, [S, D], "the shape of a");
    return run(rowDotKernel, [a, b], { D }, [S], a.dtype);
  },
  vjp: (g, { inputs: [a, b] }) => [() => scaleRows(b, g), () => scaleRows(a, g)],
});

export const zeroTailKernel: Kernel = {
  name: "zeroTail",
  reference(out, [x, offsets]) {
    for (let s = 0; s < out.length; s++) out[s] = s < granted(offsets) ? x[s] : 0;
  },
  loops(out, [x, offsets]) {
    out.set(x);
    out.fill(0, granted(offsets));
  },
};

/** y[s] = x[s] for granted slots, else exactly 0, whatever x has there. x [S], offsets int32 [E+1] → [S]. */
export const zeroTail: OpFn<[x: Tensor, offsets: Tensor]> = defineOp({
  name: "zeroTail",
  inputs: ["x", "offsets"],
  forward: ([x, offsets]) => run(zeroTailKernel, [x, offsets], {}, x.shape, x.dtype),
  vjp: (g, { inputs: [, offsets] }) => [() => zeroTail(g, offsets), null],
});

/**
 * Dispatch: copy each token to its slots.
 *
 *   y[s, :] = x[token(s), :]        exactly 0 for dropped slots (the tail)
 *
 * Shapes   x [T, D] → y [S, D], in slot order, so that each expert's rows are neighbours
 * Error    exact; the gradient of a token is accumulated in float64 over its slots
 * Throws   RangeError when x does not have the routing's number of tokens, TypeError for what is no routing
 * Source   P·X of Zhou et al. 2022, Section 3.2, with P = one-hot of token(s)
 */
export function dispatch(x: Tensor, routing: Routing): Tensor {
  checkTensor("dispatch", "x", x);
  checkRouting("dispatch", "routing", routing);
  checkRank("dispatch", "x", x.shape, 2, "tokens and features");
  if (x.shape[0] !== routing.numTokens) {
    throw rangeError("dispatch", "x", `shape ${show(x.shape)}`, `${routing.numTokens} rows`, "one per routed token");
  }
  return gatherSlots(x, ...mapsOf(routing));
}

/**
 * Combine: add every granted expert output back onto its token, weighted by its gate.
 *
 *   y[t, :] = Σ_{granted slots s of t} gate[s] · h[s, :]        exactly 0 for a token without one
 *
 * Shapes   h [S, D] in slot order, gate [S] → y [T, D]
 * Error    float32: each product is rounded once, their sum accumulated in float64 in order of choice
 * Throws   RangeError when h or gate do not have one row per slot, TypeError for mixed dtypes or what is no routing
 * Source   Eq. 4 of Zhou et al. 2022
 */
export function combine(h: Tensor, gate: Tensor, routing: Routing): Tensor {
  checkTensor("combine", "h", h);
  checkTensor("combine", "gate", gate);
  checkRouting("combine", "routing", routing);
  checkRank("combine", "h", h.shape, 2, "slots and features");
  if (h.shape[0] !== routing.numSlots) {
    throw rangeError("combine", "h", `shape ${show(h.shape)}`, `${routing.numSlots} rows`, "one per slot");
  }
  checkShape("combine", "gate", gate.shape, [routing.numSlots], "one gate per slot");
  if (h.dtype !== gate.dtype) {
    throw typeError("combine", "the pair h, gate", `dtypes ${h.dtype} and ${gate.dtype}`, "one dtype");
  }
  return sumSlots(scaleRows(h, gate), ...mapsOf(routing));
}
