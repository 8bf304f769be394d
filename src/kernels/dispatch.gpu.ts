/**
 * Dispatch, combine and their adjoints as gathers over the maps of a routing, which says both which token a slot has and
 * which slots a token has.
 *
 * Error    sums are rounded to float32 at every step, in order of choice or of d
 */
import type { Four, Gather, GpuCall, GpuForm, Source } from "../gpu/form.ts";
import type { Width } from "./dispatch.ts";
import { divide, FOUR_RESULT, fourCells, toFour } from "./gather.gpu.ts";

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

/** Four columns a thread, where D is a multiple of four: the rows go to matrix products, which want them so. */
const slotFours = ([x, gate, tokenOfSlot, offsets]: readonly (Source | null)[], D: number): Gather | null => {
  if (D % 4 !== 0) return null;
  const [from, maps, ends] = [x as Source, tokenOfSlot as Source, offsets as Source];
  const v = from.four("v", `${maps.at("s")} * groups + d`);
  const factor = gate === null ? "" : `${gate.at("s")} * `;
  return {
    numbers: { groups: D / 4, E: ends.length - 1 },
    body: `${divide("s", "d", "i", "groups")}${fourCells()}
  if (s < ${granted(ends)}) {
    ${v.text}
    ${toFour(v.parts, "=", factor)}
  }
${FOUR_RESULT}`,
  };
};

const tokenFours = (
  [h, gate, slotsOfToken, tokenOffsets, offsets]: readonly (Source | null)[],
  D: number,
): Gather | null => {
  if (D % 4 !== 0) return null;
  const [from, slots, starts, ends] = [h as Source, slotsOfToken as Source, tokenOffsets as Source, offsets as Source];
  const v = from.four("v", "s * groups + d");
  const factor = gate === null ? "" : `${gate.at("s")} * `;
  return {
    numbers: { groups: D / 4, E: ends.length - 1 },
    turns: slots.length,
    body: `${divide("t", "d", "i", "groups")}
  let end = ${starts.at("t + 1")};${fourCells()}
  for (let j = ${starts.at("t")}; j < end; j += 1) {
    let s = ${slots.at("j")};
    if (s < ${granted(ends)}) {
      ${v.text}
      ${toFour(v.parts, "+=", factor)}
    }
  }
${FOUR_RESULT}`,
  };
};

type Call = GpuCall<Width>;
const slotsOf = ({ inputs: [x, tokenOfSlot, , , offsets] }: Call) => [x, null, tokenOfSlot, offsets];
const spreadOf = ({ inputs: [x, a, tokenOfSlot, , , offsets] }: Call) => [x, a, tokenOfSlot, offsets];
const sumsOf = ({ inputs: [h, , slots, starts, offsets] }: Call) => [h, null, slots, starts, offsets];
const combinedOf = ({ inputs: [h, a, , slots, starts, offsets] }: Call) => [h, a, slots, starts, offsets];

export const gatherSlotsGather: GpuForm<Width> = {
  gather: (call) => bySlot(slotsOf(call), call.attrs.D),
  fours: (call) => slotFours(slotsOf(call), call.attrs.D),
};

export const spreadSlotsGather: GpuForm<Width> = {
  gather: (call) => bySlot(spreadOf(call), call.attrs.D),
  fours: (call) => slotFours(spreadOf(call), call.attrs.D),
};

export const sumSlotsGather: GpuForm<Width> = {
  gather: (call) => byToken(sumsOf(call), call.attrs.D),
  fours: (call) => tokenFours(sumsOf(call), call.attrs.D),
};

export const combineSlotsGather: GpuForm<Width> = {
  gather: (call) => byToken(combinedOf(call), call.attrs.D),
  fours: (call) => tokenFours(combinedOf(call), call.attrs.D),
};

/** y[s] = Σ x[token(s), d] · h[s, d], in groups of four where that is how they lie. */
export const slotDotGather: GpuForm<Width> = {
  gather({ attrs: { D }, inputs: [x, h, tokenOfSlot, , , offsets] }) {
    const inFours = D % 4 === 0 && (x.fours === true || h.fours === true);
    const [u, v] = inFours ? [x.four("u", "p"), h.four("v", "q")] : [one(x, "p"), one(h, "q")];
    const steps = inFours ? D / 4 : D;
    return {
      numbers: { steps, E: offsets.length - 1 },
      turns: steps,
      body: `
  let sum = 0;
  if (i < ${granted(offsets)}) {
    let p = ${tokenOfSlot.at("i")} * steps;
    let q = i * steps;
    for (let d = 0; d < steps; d += 1) {
      ${u.text} ${v.text}
      ${u.parts.map((part, j) => `sum += ${part} * ${v.parts[j]};`).join(" ")}
      p += 1;
      q += 1;
    }
  }
  return sum;`,
    };
  },
};

const one = (x: Source, at: string): Four => ({ text: "", parts: [x.at(at)] });

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
