/** What wrong routers are made of: right ones whose integers, gates or losses are spoilt. */
import {
  arange,
  type Router,
  type RouterContext,
  type Routing,
  slotMaps,
  type Tensor,
  tensor,
  topKRouter,
  withLogits,
} from "../../src/index.ts";

/** One assignment, as a wrong router makes it up. */
export interface Choice {
  readonly token: number;
  readonly expert: number;
  readonly granted: boolean;
}

/** A right router whose routings are spoilt. */
export const spoilt =
  (router: Router, spoil: (routing: Routing, ctx: RouterContext) => Routing): Router =>
  (logits, ctx = {}) =>
    spoil(router(logits, ctx), ctx);

/** A router that chooses by changed logits and says nothing of it: gates and losses follow the true ones. */
export const choosesBy =
  (change: (logits: Tensor) => Tensor, router = topKRouter()): Router =>
  (logits, ctx) =>
    withLogits(router(change(logits), ctx), logits);

export const ints = (list: readonly number[]): Tensor => tensor(Int32Array.from(list));
export const list = (x: Tensor): number[] => Array.from(x.data);

/** The assignments of a token-choice routing, by choice and then by token. */
export function choicesOf(routing: Routing): Choice[] {
  const [slots, starts] = [list(routing.slotsOfToken), list(routing.tokenOffsets)];
  const [experts, end] = [list(routing.expertOfSlot), routing.offsets.data[routing.numExperts]];
  const choices = Array.from({ length: routing.numTokens }, (_, token) =>
    slots.slice(starts[token], starts[token + 1]).map((s) => ({ token, expert: experts[s], granted: s < end })),
  );
  const k = Math.max(0, ...choices.map((own) => own.length));
  return Array.from({ length: k }, (_, c) => choices.flatMap((own) => own.slice(c, c + 1))).flat();
}

/** The routing with other assignments. Capacity is what the routing says, so a list must keep to it by itself. */
export function reassigned(routing: Routing, choices: readonly Choice[]): Routing {
  const maps = slotMaps(
    {
      tokenOf: ints(choices.map((c) => c.token)),
      expertOf: ints(choices.map((c) => c.expert)),
      allowed: ints(choices.map((c) => Number(c.granted))),
    },
    routing.numTokens,
    routing.numExperts,
    choices.length,
  );
  return withLogits({ ...routing, ...maps }, routing.logits);
}

/** A list with the entries at i and j exchanged. */
export function swapped(x: Tensor, i: number, j: number): Tensor {
  const data = list(x);
  [data[i], data[j]] = [data[j], data[i]];
  return ints(data);
}

/** A gate made of a table [T, E], in the tail, too. */
export const scoresOfSlots = ({ tokenOfSlot, expertOfSlot, numExperts }: Routing, table: Tensor): Tensor =>
  table.reshape([table.size]).indexSelect(0, tokenOfSlot.mul(numExperts).add(expertOfSlot));

/** E · Σ f · P with f of granted slots. */
export function balanceOfGranted({ offsets, probs, numSlots, numExperts }: Routing): Tensor {
  const load = offsets
    .slice({ start: 1 })
    .sub(offsets.slice({ end: -1 }))
    .to(probs.dtype);
  return numSlots === 0
    ? probs.sum()
    : load
        .mul(numExperts / numSlots)
        .mul(probs.mean({ dim: 0 }))
        .sum();
}

/** A table [T, E] with each expert's number in its column. */
export const expertNumbers = ({ shape: [T, E] }: Tensor): Tensor => arange(E, { dtype: "float64" }).expand([T, E]);
/** The same with each token's number in its row. */
export const tokenNumbers = ({ shape: [T, E] }: Tensor): Tensor =>
  arange(T, { dtype: "float64" }).reshape([T, 1]).expand([T, E]);
