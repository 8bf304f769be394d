/** Input: what a report reads of a Routing, and the labels that it is told about the tokens. */
import { checkInteger, rangeError, show, typeError } from "../errors.ts";

/** A tensor on the host, as far as a report reads it. */
export interface NumbersLike {
  readonly data: ArrayLike<number>;
}

/** The part of a Routing that a report reads; a whole one fits, and so does the routing of another library. */
export interface RoutingLike {
  readonly numTokens: number;
  readonly numExperts: number;
  readonly numSlots: number;
  /** slot → token; granted slots first */
  readonly tokenOfSlot: NumbersLike;
  /** slot → expert */
  readonly expertOfSlot: NumbersLike;
  /** expert → its granted slots; slot s is granted exactly when s < offsets[E] */
  readonly offsets: NumbersLike;
  /** token → the slots that it asked for, granted or not */
  readonly slotsOfToken: NumbersLike;
  readonly tokenOffsets: NumbersLike;
  /** [T, E]; without it a report has neither importance nor router entropy */
  readonly probs?: NumbersLike | null | undefined;
}

/** One label a token, as ids 0 … L−1 into `names`. */
export interface LabelSet {
  /** the label id of every token, over all routings one after the other; not read where the token is masked */
  readonly of: ArrayLike<number>;
  /** the name of each id; without names the ids stand for themselves */
  readonly names?: readonly string[] | undefined;
}

export type LabelSets = Readonly<Record<string, LabelSet>>;
/** One entry a token, over all routings one after the other: true or 1 = keep, false or 0 = padding. */
export type TokenMask = ArrayLike<boolean | number>;

export const parts = ["tokenOfSlot", "expertOfSlot", "offsets", "slotsOfToken", "tokenOffsets"] as const;

/** One or several routings as a list, each with the parts that are read, all with the same experts. */
export function checkRoutings(op: string, routings: RoutingLike | readonly RoutingLike[]): readonly RoutingLike[] {
  const list = Array.isArray(routings) ? (routings as readonly RoutingLike[]) : [routings as RoutingLike];
  if (list.length === 0) throw rangeError(op, "routings", "no entry", "at least one routing");
  list.forEach((routing, i) => {
    const argument = list.length > 1 ? `routings[${i}]` : "routing";
    checkRouting(op, argument, routing);
    if (routing.numExperts !== list[0].numExperts) {
      const why = "a report is about one layer: the experts of two layers have nothing to do with each other";
      throw rangeError(op, argument, `${routing.numExperts} experts`, `${list[0].numExperts}`, why);
    }
  });
  return list;
}

/** Throws unless the routing has the parts that are read, in sizes that belong together. */
export function checkRouting(op: string, argument: string, routing: RoutingLike): void {
  if (routing === null || typeof routing !== "object") throw typeError(op, argument, show(routing), "a routing");
  const { numTokens: T, numExperts: E, numSlots: S } = routing;
  checkInteger(op, `${argument}.numTokens`, T, 0, Number.POSITIVE_INFINITY);
  checkInteger(op, `${argument}.numExperts`, E, 1, Number.POSITIVE_INFINITY);
  checkInteger(op, `${argument}.numSlots`, S, 0, Number.POSITIVE_INFINITY);
  const sizes = { tokenOfSlot: S, expertOfSlot: S, offsets: E + 1, slotsOfToken: S, tokenOffsets: T + 1 };
  for (const part of parts) {
    checkEntries(op, `${argument}.${part}`, routing[part], sizes[part]);
  }
  if (routing.probs) checkEntries(op, `${argument}.probs`, routing.probs, T * E);
}

function checkEntries(op: string, argument: string, numbers: NumbersLike, expected: number): void {
  const length = numbers?.data?.length;
  if (typeof length !== "number") throw typeError(op, argument, show(numbers), "a tensor on the host");
  if (length !== expected) throw rangeError(op, argument, `${length} entries`, `${expected}`);
}

/** Throws unless the set has one label id for every token that is kept; returns the name of each id. */
export function checkLabels(op: string, name: string, set: LabelSet, numTokens: number, kept: Uint8Array): string[] {
  const argument = `labels[${show(name)}]`;
  if (typeof set?.of?.length !== "number" || typeof set.of === "string") {
    throw typeError(op, argument, show(set), "{ of, names? } with a label id for every token");
  }
  if (set.of.length !== numTokens) {
    throw rangeError(op, argument, `${set.of.length} labels`, `${numTokens}`, "one for every token of all routings");
  }
  let top = -1;
  const known = set.names === undefined ? Number.POSITIVE_INFINITY : set.names.length;
  for (let t = 0; t < numTokens; t++) {
    if (kept[t] === 0) continue;
    checkLabelId(op, `${argument}.of[${t}]`, set.of[t], known);
    if (set.of[t] > top) top = set.of[t];
  }
  return set.names === undefined ? Array.from({ length: top + 1 }, (_, i) => String(i)) : set.names.map(String);
}

function checkLabelId(op: string, argument: string, id: number, known: number): void {
  if (typeof id !== "number") throw typeError(op, argument, show(id), "a label id", "an integer that counts from 0");
  if (Number.isInteger(id) && id >= 0 && id < known) return;
  if (known === Number.POSITIVE_INFINITY) throw rangeError(op, argument, show(id), "an integer of at least 0");
  throw rangeError(op, argument, show(id), `an integer from 0 to ${known - 1}`, `there are ${known} names`);
}

/** Which tokens count, 1 or 0 each. Throws when the mask has another length, or leaves out a token that was routed. */
export function checkMask(op: string, mask: TokenMask | undefined, routings: readonly RoutingLike[]): Uint8Array {
  const numTokens = routings.reduce((n, routing) => n + routing.numTokens, 0);
  if (mask === undefined) return new Uint8Array(numTokens).fill(1);
  if (typeof mask?.length !== "number") throw typeError(op, "mask", show(mask), "one boolean for every token");
  if (mask.length !== numTokens) {
    throw rangeError(op, "mask", `${mask.length} entries`, `${numTokens}`, "one for every token of all routings");
  }
  const kept = Uint8Array.from({ length: numTokens }, (_, t) => {
    // Anything else would count as kept, an entry of a nested mask such as [false] too.
    if (![true, false, 1, 0].includes(mask[t])) throw typeError(op, `mask[${t}]`, show(mask[t]), "true or false");
    return mask[t] ? 1 : 0;
  });
  let first = 0;
  for (const { numTokens: T, tokenOffsets } of routings) {
    for (let t = 0; t < T; t++) {
      const asked = tokenOffsets.data[t + 1] - tokenOffsets.data[t];
      if (kept[first + t] === 0 && asked > 0) {
        throw rangeError(op, `mask[${first + t}]`, "false", "true", `this token asked for ${asked} slots`);
      }
    }
    first += T;
  }
  return kept;
}
