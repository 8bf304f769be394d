/**
 * Routings as values: compare two, and ask what would be if. How one is written down stands in json.ts.
 *
 * An edit changes the integers of a routing and keeps its logits; gates and losses follow. Give the result to
 * `moe.forward(x, { routing })` and the difference of two losses is the exact price of the edit.
 *
 *   const without = moe.forward(x, { routing: withoutExpert(routing, 3) });
 */
import { checkInteger, checkOptions, checkShape, rangeError } from "../errors.ts";
import { checkRouting } from "../kernels/dispatch.ts";
import type { Tensor } from "../tensor.ts";
import { checkCapacityFactor, expertChoiceCapacity, tokenChoiceCapacity } from "./capacity.ts";
import { integers, type Routing, slotMaps, withLogits } from "./record.ts";

/** One slot, as an edit sees it. */
interface Assignment {
  readonly token: number;
  readonly expert: number;
  /** The how-manieth choice of its token, from 0. */
  readonly choice: number;
  /** Whether it may be granted; false for those that were dropped, unless an edit gives them another chance. */
  readonly granted: boolean;
}

/** The slots of a routing in canonical order: by choice, then by token (of expert choice: as they are). */
function assignmentsOf(routing: Routing): Assignment[] {
  const [tokenOf, expertOf] = [routing.tokenOfSlot.data, routing.expertOfSlot.data];
  const [slotsOf, starts] = [routing.slotsOfToken.data, routing.tokenOffsets.data];
  const end = routing.offsets.data[routing.numExperts];
  const choice = new Int32Array(routing.numSlots);
  for (let t = 0; t < routing.numTokens; t++) {
    for (let i = starts[t]; i < starts[t + 1]; i++) choice[slotsOf[i]] = i - starts[t];
  }
  const list = Array.from(tokenOf, (token, s) => {
    return { token, expert: expertOf[s], choice: choice[s], granted: s < end };
  });
  if (routing.rule.choiceBy === "token") list.sort((a, b) => a.choice - b.choice || a.token - b.token);
  return list;
}

/** The routing of an edited list, with the logits of the old one. */
function rebuild(routing: Routing, list: readonly Assignment[], capacity: number): Routing {
  const column = (f: (a: Assignment) => number): Tensor => integers(routing.logits, Int32Array.from(list, f));
  const assignments = {
    tokenOf: column((a) => a.token),
    expertOf: column((a) => a.expert),
    allowed: column((a) => Number(a.granted)),
  };
  const maps = slotMaps(assignments, routing.numTokens, routing.numExperts, capacity);
  const { router, rule, keptTokens, noise } = routing;
  return withLogits({ router, rule, keptTokens, noise, capacity, ...maps }, routing.logits);
}

/** How many tokens take part. */
const tokensIn = (routing: Routing): number => routing.keptTokens?.size ?? routing.numTokens;

/** An expert's most slots when nothing is said: all that there are. */
const everything = (routing: Routing, list: readonly Assignment[]): number => Math.max(routing.capacity, list.length);

/**
 * What if token t went to expert e, with its first choice or another one? The slot is granted, whatever the capacity.
 *
 * Throws   RangeError for a token, expert or choice that is not there, or an expert that the token has already
 */
export function sendToken(routing: Routing, token: number, expert: number, options: { choice?: number } = {}): Routing {
  const op = "sendToken";
  checkRouting(op, "routing", routing);
  checkOptions(op, options, ["choice"]);
  const { choice = 0 } = options;
  checkInteger(op, "token", token, 0, routing.numTokens - 1);
  checkInteger(op, "expert", expert, 0, routing.numExperts - 1);
  const list = assignmentsOf(routing);
  const own = list.filter((a) => a.token === token);
  checkInteger(op, "choice", choice, 0, Math.max(0, own.length - 1), `token ${token} has ${own.length} slots`);
  const old = own.find((a) => a.choice === choice);
  if (old === undefined) throw rangeError(op, "token", `${token}, which has no slot`, "a token that was routed");
  if (old.expert !== expert && own.some((a) => a.expert === expert)) {
    throw rangeError(
      op,
      "expert",
      String(expert),
      "one that the token does not have yet",
      `token ${token} asks for it already`,
    );
  }
  const edited = list.map((a) => (a === old ? { ...a, expert, granted: true } : a));
  return rebuild(routing, edited, everything(routing, edited));
}

/**
 * What if there were no expert e? In token choice, tokens that asked for it ask for their best other expert instead, at the
 * same rank; a token that asked for all experts has one slot less. In expert choice its slots are gone.
 *
 * Throws   RangeError for an expert that is not there, or the only one
 */
export function withoutExpert(routing: Routing, expert: number): Routing {
  checkRouting("withoutExpert", "routing", routing);
  checkInteger("withoutExpert", "expert", expert, 0, routing.numExperts - 1);
  if (routing.numExperts === 1) throw rangeError("withoutExpert", "expert", "0, the only one", "one of several");
  const list = assignmentsOf(routing);
  if (routing.rule.choiceBy === "expert") {
    return rebuild(
      routing,
      list.filter((a) => a.expert !== expert),
      routing.capacity,
    );
  }
  const asked = Array.from({ length: routing.numTokens }, () => new Set([expert]));
  for (const a of list) asked[a.token].add(a.expert);
  const edited = list.flatMap((a): Assignment[] => {
    if (a.expert !== expert) return [a];
    const next = bestExpert(routing, a.token, asked[a.token]);
    return next === null ? [] : [{ ...a, expert: next }];
  });
  return rebuild(routing, edited, everything(routing, edited));
}

function bestExpert({ probs, numExperts: E }: Routing, token: number, except: ReadonlySet<number>): number | null {
  const row = probs.data.subarray(token * E, (token + 1) * E);
  let best: number | null = null;
  for (let e = 0; e < E; e++) if (!except.has(e) && (best === null || row[e] > row[best])) best = e;
  return best;
}

/**
 * What if every token had at most k experts: its first k choices or, where experts chose it, the k of the largest gates?
 * Equal gates: the lower experts.
 *
 * Throws   RangeError unless k is an integer of at least 1
 */
export function withTopK(routing: Routing, k: number): Routing {
  checkRouting("withTopK", "routing", routing);
  checkInteger("withTopK", "k", k, 1, Infinity);
  const rank = routing.rule.choiceBy === "token" ? (a: Assignment) => a.choice : gateRanks(routing);
  return rebuild(
    routing,
    assignmentsOf(routing).filter((a) => rank(a) < k),
    routing.capacity,
  );
}

/** The how-manieth gate of its token each slot has, from 0 for the largest. An expert has a token once. */
function gateRanks(routing: Routing): (a: Assignment) => number {
  const E = routing.numExperts;
  const [tokens, experts, gate] = [routing.tokenOfSlot.data, routing.expertOfSlot.data, routing.gate.data];
  const order = Array.from(gate, (_, s) => s).sort((s, r) => gate[r] - gate[s] || experts[s] - experts[r]);
  const count = new Int32Array(routing.numTokens);
  const ranks = new Map(order.map((s) => [tokens[s] * E + experts[s], count[tokens[s]]++]));
  return (a) => ranks.get(a.token * E + a.expert) as number;
}

/**
 * What if the capacity factor were another one? Slots are granted anew: in token choice by position, in expert choice each
 * expert keeps its first ones (it cannot choose more than it did).
 *
 * Throws   RangeError unless the factor is above 0
 */
export function withCapacity(routing: Routing, capacityFactor: number): Routing {
  checkRouting("withCapacity", "routing", routing);
  const [T, E] = [tokensIn(routing), routing.numExperts];
  const byToken = routing.rule.choiceBy === "token";
  checkCapacityFactor("withCapacity", capacityFactor, byToken);
  const k = T === 0 ? 0 : routing.numSlots / T;
  const capacity = byToken ? tokenChoiceCapacity(capacityFactor, T, k, E) : expertChoiceCapacity(capacityFactor, T, E);
  return rebuild(
    routing,
    assignmentsOf(routing).map((a) => ({ ...a, granted: true })),
    capacity,
  );
}

/** Where two routings of the same tokens differ. */
export interface RoutingComparison {
  /** Whether every token has the same granted experts. */
  readonly same: boolean;
  /** Tokens whose set of granted experts differs, with both sets, in order of expert. */
  readonly moved: readonly { readonly token: number; readonly before: number[]; readonly after: number[] }[];
  /** Granted slots that both have, over those that either has (1 when neither has any). */
  readonly overlap: number;
  /** Largest difference of a gate, over slots that both grant. */
  readonly maxGateDifference: number;
}

/** expert → gate of the granted slots, for each token. */
function grantsOf(routing: Routing): Map<number, number>[] {
  const grants = Array.from({ length: routing.numTokens }, () => new Map<number, number>());
  const [tokenOf, expertOf, gate] = [routing.tokenOfSlot.data, routing.expertOfSlot.data, routing.gate.data];
  const end = routing.offsets.data[routing.numExperts];
  for (let s = 0; s < end; s++) grants[tokenOf[s]].set(expertOf[s], gate[s]);
  return grants;
}

/**
 * Compares what two routings grant, token by token.
 *
 * Throws   RangeError when they are of different numbers of tokens or experts
 */
export function compareRoutings(before: Routing, after: Routing): RoutingComparison {
  checkRouting("compareRoutings", "before", before);
  checkRouting("compareRoutings", "after", after);
  const sizes = (r: Routing): number[] => [r.numTokens, r.numExperts];
  checkShape("compareRoutings", "after", sizes(after), sizes(before), "the tokens and experts of the other");
  const [a, b] = [grantsOf(before), grantsOf(after)];
  const moved: { token: number; before: number[]; after: number[] }[] = [];
  let [common, either, maxGateDifference] = [0, 0, 0];
  for (let t = 0; t < before.numTokens; t++) {
    const shared = [...a[t].keys()].filter((e) => b[t].has(e));
    common += shared.length;
    either += a[t].size + b[t].size - shared.length;
    for (const e of shared) {
      maxGateDifference = Math.max(maxGateDifference, Math.abs((a[t].get(e) as number) - (b[t].get(e) as number)));
    }
    if (shared.length < a[t].size || shared.length < b[t].size) {
      const sorted = (map: Map<number, number>): number[] => [...map.keys()].sort((x, y) => x - y);
      moved.push({ token: t, before: sorted(a[t]), after: sorted(b[t]) });
    }
  }
  return { same: moved.length === 0, moved, overlap: either === 0 ? 1 : common / either, maxGateDifference };
}
