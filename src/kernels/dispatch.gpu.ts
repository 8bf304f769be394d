/**
 * Dispatch, combine and their adjoints as gathers over the maps of a routing, which says both which token a slot has and
 * which slots a token has.
 *
 * Error    sums are rounded to float32 at every step, in order of choice or of d
 */
import type { GpuForm, Source } from "../gpu/form.ts";
import type { Width } from "./dispatch.ts";
import { divide } from "./gather.gpu.ts";

/** How many slots are granted: the last entry of offsets. */
const granted = (offsets: Source): string => offsets.at("E");

/** y[s, :] = factor · x[token(s), :], 0 in the tail. */
const bySlot = (
  [x, gate, tokenOfSlot, offsets]: readonly (Source | null)[],
  D: number,
): ReturnType<GpuForm<Width>["gather"]> => {
  const [from, maps, ends] = [x as Source, tokenOfSlot as Source, offsets as Source];
  return {
    numbers: { D, E: ends.length - 1 },
    body: `${divide("s", "d", "i", "D")}
  let y = 0;
  if (s < ${granted(ends)}) {
    y = ${gate === null ? "" : `${gate.at("s")} * `}${from.at(`${maps.at("s")} * D + d`)};
  }
  return y;`,
  };
};

/** y[t, :] = Σ factor · h[s, :] over the granted slots of t. */
const byToken = (
  [h, gate, slotsOfToken, tokenOffsets, offsets]: readonly (Source | null)[],
  D: number,
): ReturnType<GpuForm<Width>["gather"]> => {
  const [from, slots, starts, ends] = [h as Source, slotsOfToken as Source, tokenOffsets as Source, offsets as Source];
  return {
    numbers: { D, E: ends.length - 1 },
    turns: slots.length,
    body: `${divide("t", "d", "i", "D")}
  let end = ${starts.at("t + 1")};
  let sum = 0;
  for (let j = ${starts.at("t")}; j < end; j += 1) {
    let s = ${slots.at("j")};
    if (s < ${granted(ends)}) {
      sum += ${gate === null ? "" : `${gate.at("s")} * `}${from.at("s * D + d")};
    }
  }
  return sum;`,
  };
};

export const gatherSlotsGather: GpuForm<Width> = {
  gather: ({ attrs: { D }, inputs: [x, tokenOfSlot, , , offsets] }) => bySlot([x, null, tokenOfSlot, offsets], D),
};

export const spreadSlotsGather: GpuForm<Width> = {
  gather: ({ attrs: { D }, inputs: [x, a, tokenOfSlot, , , offsets] }) => bySlot([x, a, tokenOfSlot, offsets], D),
};

export const sumSlotsGather: GpuForm<Width> = {
  gather: ({ attrs: { D }, inputs: [h, , slotsOfToken, tokenOffsets, offsets] }) =>
    byToken([h, null, slotsOfToken, tokenOffsets, offsets], D),
};

export const combineSlotsGather: GpuForm<Width> = {
  gather: ({ attrs: { D }, inputs: [h, a, , slotsOfToken, tokenOffsets, offsets] }) =>
    byToken([h, a, slotsOfToken, tokenOffsets, offsets], D),
};

export const slotDotGather: GpuForm<Width> = {
  gather: ({ attrs: { D }, inputs: [x, h, tokenOfSlot, , , offsets] }) => ({
    numbers: { D, E: offsets.length - 1 },
    turns: D,
    body: `
  let sum = 0;
  if (i < ${granted(offsets)}) {
    let p = ${tokenOfSlot.at("i")} * D;
    let q = i * D;
    for (let d = 0; d < D; d += 1) {
      sum += ${x.at("p")} * ${h.at("q")};
      p += 1;
      q += 1;
    }
  }
  return sum;`,
  }),
};

export const zeroTailGather: GpuForm<object> = {
  gather: ({ inputs: [x, offsets] }) => ({
    numbers: { E: offsets.length - 1 },
    body: `
  let y = 0;
  if (i < ${granted(offsets)}) {
    y = ${x.at("i")};
  }
  return y;`,
  }),
};
