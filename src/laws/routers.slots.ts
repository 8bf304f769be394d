/** Laws of the record: who is in which slot. */
import * as fc from "fast-check";
import { show } from "../errors.ts";
import type { Routing } from "../routing/record.ts";
import type { Tensor } from "../tensor.ts";
import { type Law, must } from "./law.ts";
import { asked, loads, type RouterSubject, reorder, slotsOf } from "./subject.ts";

const list = (x: Tensor): number[] => Array.from(x.data);

/** Whether numbers cut 0 … end into `parts` neighbours, as offsets do. */
const cuts = (starts: readonly number[], parts: number, end: number): boolean =>
  starts.length === parts + 1 && starts[0] === 0 && starts[parts] <= end && isSorted(starts);

const isSorted = (list: readonly number[]): boolean => list.every((x, i) => i === 0 || list[i - 1] <= x);

/** Places from the largest number to the smallest, equal ones in order of place. */
const ranking = (list: readonly number[]): number[] => list.map((_, i) => i).sort((i, j) => list[j] - list[i] || i - j);

/** Which of its token's choices each slot is, 0 for the first; as one number that sorts by choice, then by token. */
function choiceThenToken(routing: Routing): number[] {
  const keys = new Array<number>(routing.numSlots).fill(-1);
  for (let t = 0; t < routing.numTokens; t++) {
    for (const [choice, { slot }] of asked(routing, t).entries()) keys[slot] = choice * routing.numTokens + t;
  }
  return keys;
}

export const slotLaws: readonly Law<RouterSubject>[] = [
  {
    name: "conservation",
    statement: "Every slot that was asked for is granted or dropped; none is lost or made up.",
    formula: "Σ_e load[e] + dropped = S, and each (token, expert) has at most one slot",
    source: "definition of the Routing record",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const slots = slotsOf(routing);
        const granted = loads(routing).reduce((a, b) => a + b, 0);
        const dropped = slots.filter((slot) => !slot.granted).length;
        must(
          granted + dropped === routing.numSlots,
          () => `${granted} granted + ${dropped} dropped ≠ ${routing.numSlots} asked for`,
        );
        const pairs = new Set(slots.map((slot) => `${slot.token}, ${slot.expert}`));
        must(pairs.size === slots.length, () => "a token has two slots with the same expert");
        for (const { token, expert } of slots) {
          must(token >= 0 && token < routing.numTokens, () => `a slot has token ${token} of ${routing.numTokens}`);
          must(
            expert >= 0 && expert < routing.numExperts,
            () => `a slot has expert ${expert} of ${routing.numExperts}`,
          );
        }
      }),
  },
  {
    name: "slots known from shapes",
    statement: "How many slots there are follows from the shapes, not from the values of the logits.",
    formula: "S(logits) = S(0)",
    source: "a queued device must size its buffers before it has computed anything",
    property: (subject) =>
      subject.onLogits(subject.logits(), (logits, routing) => {
        const flat = subject.route(logits.zerosLike());
        must(
          flat.numSlots === routing.numSlots,
          () => `${routing.numSlots} slots, but ${flat.numSlots} for zero logits`,
        );
      }),
  },
  {
    name: "order",
    statement:
      "Granted slots come first, by expert, then choice, then token; the tail alike; offsets say where each expert's start.",
    formula: "expertOfSlot[s] = e ⇔ offsets[e] ≤ s < offsets[e+1], for granted s",
    source: "definition of the Routing record",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const { numExperts: E, numSlots: S } = routing;
        const [experts, offsets] = [list(routing.expertOfSlot), list(routing.offsets)];
        must(cuts(offsets, E, S), () => `offsets are ${show(offsets)}, not ${E + 1} that rise from 0 to at most ${S}`);
        for (let e = 0; e < E; e++) {
          const own = experts.slice(offsets[e], offsets[e + 1]);
          must(
            own.every((x) => x === e),
            () => `slots ${offsets[e]} to ${offsets[e + 1]} are ${show(own)}, not of expert ${e}`,
          );
        }
        const tail = experts.slice(offsets[E]);
        must(isSorted(tail), () => `the tail's experts are ${show(tail)}, not sorted`);
        if (routing.rule.choiceBy !== "token") return;
        const keys = choiceThenToken(routing);
        for (let s = 1; s < S; s++) {
          if (s === offsets[E] || experts[s] !== experts[s - 1]) continue;
          must(keys[s - 1] < keys[s], () => `slots ${s - 1} and ${s} are not in order of choice, then token`);
        }
      }),
  },
  {
    name: "two readings",
    statement: "The routing reads the same from either side: slotsOfToken lists each token's slots, each slot once.",
    formula: "tokenOfSlot[slotsOfToken[i]] = t for tokenOffsets[t] ≤ i < tokenOffsets[t+1]",
    source: "every GPU kernel is a gather, so both directions are needed",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const { numTokens: T, numSlots: S } = routing;
        const [slots, starts, tokens] = [
          list(routing.slotsOfToken),
          list(routing.tokenOffsets),
          list(routing.tokenOfSlot),
        ];
        must(new Set(slots).size === S, () => `slotsOfToken is ${show(slots)}, not each slot once`);
        must(
          cuts(starts, T, S) && starts[T] === S,
          () => `tokenOffsets are ${show(starts)}, not ${T + 1} that rise from 0 to ${S}`,
        );
        for (let t = 0; t < T; t++) {
          for (const s of slots.slice(starts[t], starts[t + 1])) {
            must(tokens[s] === t, () => `slot ${s} is listed for token ${t}, but belongs to ${tokens[s]}`);
          }
        }
      }),
  },
  {
    name: "first choice first",
    statement:
      "A token asks for its best experts, listed from the best to the worst, where tokens choose by their logits.",
    formula: "expert(slotsOfToken[i]) = the place of the i-th largest of logits[t, :]",
    source: "Shazeer et al. 2017, Eq. 5 (top-k); Lepikhin et al. 2020: capacity is given out in rounds of choices",
    property: (subject) =>
      subject.onLogits(subject.distinct(), (logits, routing) => {
        if (routing.rule.choiceBy !== "token" || routing.rule.score === "one") return;
        asksInOrder(logits, routing);
      }),
  },
  {
    name: "experts take the best",
    statement: "Where experts choose, none takes a token and leaves one that scores higher for it.",
    formula: "p[t, e] ≥ p[u, e] for all t that expert e takes, u that it leaves",
    source: "Zhou et al. 2022, Section 3.2: G, I = TopK(Sᵀ, k)",
    property: (subject) =>
      subject.onLogits(subject.distinct(1), (logits, routing) => {
        const { numTokens: T, numExperts: E, rule } = routing;
        if (rule.choiceBy !== "expert" || rule.score === "one") return;
        const scores = rule.score === "softmax" ? routing.probs.data : logits.data;
        for (let e = 0; e < E; e++) {
          const taken = new Set(slotsOf(routing).flatMap((slot) => (slot.expert === e ? [slot.token] : [])));
          const best = (keep: boolean, pick: (...list: number[]) => number): number =>
            pick(
              ...Array.from({ length: T }, (_, t) => t).flatMap((t) =>
                taken.has(t) === keep ? [scores[t * E + e]] : [],
              ),
            );
          const [least, most] = [best(true, Math.min), best(false, Math.max)];
          must(least >= most, () => `expert ${e} takes a token of score ${least} and leaves one of ${most}`);
        }
      }),
  },
  {
    name: "capacity",
    statement: "No expert is granted more slots than its capacity.",
    formula: "load[e] ≤ C",
    source: "Lepikhin et al. 2020, Section 2.2",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const load = loads(routing);
        must(
          load.every((n) => n <= routing.capacity),
          () => `loads are ${show(load)}, capacity ${routing.capacity}`,
        );
      }),
  },
  {
    name: "no needless drop",
    statement: "A slot is dropped only when its expert is full (in evaluation, where chance refuses nobody).",
    formula: "s in the tail ⇒ load[expert(s)] = C",
    source: "Fedus et al. 2021, Section 2.2: tokens are dropped when an expert overflows",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const load = loads(routing);
        for (const { token, expert, granted } of slotsOf(routing)) {
          must(
            granted || load[expert] === routing.capacity,
            () => `token ${token} was dropped by expert ${expert}, which has ${load[expert]} of ${routing.capacity}`,
          );
        }
      }),
  },
  {
    name: "balanced expert choice",
    statement: "Where experts choose, every expert has exactly its capacity.",
    formula: "load[e] = C for all e",
    source: "Zhou et al. 2022, Section 3.2",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        if (routing.rule.choiceBy !== "expert") return;
        const load = loads(routing);
        must(
          load.every((n) => n === routing.capacity),
          () => `loads are ${show(load)}, capacity ${routing.capacity}`,
        );
      }),
  },
  {
    name: "ties",
    statement: "Among equal logits the lower expert is asked first; among equal tokens an expert takes the lower one.",
    formula: "logits[t, e] = logits[t, e′], e < e′ ⇒ e before e′; all tokens equal ⇒ an expert takes tokens 0 … C−1",
    source: "top-k is sorted with ties to the lower index on every device",
    property: (subject) =>
      subject.onLogits(subject.logits(1, fc.integer({ min: 0, max: 1 })), (logits, routing) => {
        if (routing.rule.score === "one") return;
        if (routing.rule.choiceBy === "token") return asksInOrder(logits, routing);
        const alike = subject.route(reorder(logits, 0, new Array<number>(routing.numTokens).fill(0)));
        const taken = slotsOf(alike).map((slot) => slot.token);
        must(
          taken.every((t) => t < alike.capacity),
          () => `when all tokens are like token 0, ${show(taken)} were taken, not 0 to ${alike.capacity - 1}`,
        );
      }),
  },
];

/** Throws unless every token's slots go to its experts of the largest logits, best first, ties to the lower one. */
function asksInOrder(logits: Tensor, routing: Routing): void {
  const { numTokens: T, numExperts: E } = routing;
  for (let t = 0; t < T; t++) {
    const row = Array.from(logits.data.subarray(t * E, (t + 1) * E));
    const experts = asked(routing, t).map((slot) => slot.expert);
    const best = ranking(row).slice(0, experts.length);
    must(
      show(experts) === show(best),
      () => `token ${t} asks for experts ${show(experts)}, its best are ${show(best)}`,
    );
  }
}
