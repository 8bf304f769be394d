/** Laws of the record: who is in which slot. */
import { show } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { type Law, must } from "./law.ts";
import { isDropless, loads, type RouterSubject, slotsOf } from "./subject.ts";

const list = (x: Tensor): number[] => Array.from(x.data);

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
          granted + dropped === routing.numSlots && slots.length === routing.numSlots,
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
      "Granted slots come first, sorted by expert; the tail is sorted alike; offsets say where each expert's start.",
    formula: "expertOfSlot[s] = e ⇔ offsets[e] ≤ s < offsets[e+1], for granted s",
    source: "definition of the Routing record",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const [experts, offsets] = [list(routing.expertOfSlot), list(routing.offsets)];
        must(offsets[0] === 0 && offsets.length === routing.numExperts + 1, () => `offsets are ${show(offsets)}`);
        for (let e = 0; e < routing.numExperts; e++) {
          const own = experts.slice(offsets[e], offsets[e + 1]);
          must(
            own.every((x) => x === e),
            () => `slots ${offsets[e]} to ${offsets[e + 1]} are ${show(own)}, not of expert ${e}`,
          );
        }
        const tail = experts.slice(offsets[routing.numExperts]);
        must(
          tail.every((e, i) => i === 0 || tail[i - 1] <= e),
          () => `the tail's experts are ${show(tail)}, not sorted`,
        );
      }),
  },
  {
    name: "two readings",
    statement: "The routing reads the same from either side: slotsOfToken lists each token's slots, each slot once.",
    formula: "tokenOfSlot[slotsOfToken[i]] = t for tokenOffsets[t] ≤ i < tokenOffsets[t+1]",
    source: "every GPU kernel is a gather, so both directions are needed",
    property: (subject) =>
      subject.onLogits(subject.logits(), (_, routing) => {
        const [slots, starts, tokens] = [
          list(routing.slotsOfToken),
          list(routing.tokenOffsets),
          list(routing.tokenOfSlot),
        ];
        must(new Set(slots).size === routing.numSlots, () => `slotsOfToken is ${show(slots)}, not each slot once`);
        must(starts.length === routing.numTokens + 1, () => `tokenOffsets has ${starts.length} entries`);
        for (let t = 0; t < routing.numTokens; t++) {
          for (const s of slots.slice(starts[t], starts[t + 1])) {
            must(tokens[s] === t, () => `slot ${s} is listed for token ${t}, but belongs to ${tokens[s]}`);
          }
        }
      }),
  },
  {
    name: "first choice first",
    statement: "A token's slots are listed from its best expert to its worst, where tokens choose by their logits.",
    formula: "logits[t, expert(slotsOfToken[i])] does not rise with i",
    source: "Lepikhin et al. 2020: capacity is given out in rounds of choices",
    property: (subject) =>
      subject.onLogits(subject.distinct(), (logits, routing) => {
        if (routing.rule.choiceBy !== "token" || routing.rule.score === "one") return;
        const [slots, starts, experts] = [
          list(routing.slotsOfToken),
          list(routing.tokenOffsets),
          list(routing.expertOfSlot),
        ];
        for (let t = 0; t < routing.numTokens; t++) {
          const scores = slots
            .slice(starts[t], starts[t + 1])
            .map((s) => logits.data[t * routing.numExperts + experts[s]]);
          must(
            scores.every((x, i) => i === 0 || scores[i - 1] > x),
            () => `token ${t} asks for logits ${show(scores)}`,
          );
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
    formula: "logits = 0 ⇒ token choice asks for experts 0 … K−1, expert choice takes tokens 0 … C−1",
    source: "top-k is sorted with ties to the lower index on every device",
    property: (subject) =>
      subject.onLogits(subject.logits(1), (logits) => {
        const routing = subject.route(logits.zerosLike());
        if (routing.rule.score === "one") return;
        const byToken = routing.rule.choiceBy === "token";
        const slots = slotsOf(routing);
        const chosen = new Set(slots.map((slot) => (byToken ? slot.expert : slot.token)));
        const count = byToken ? routing.numSlots / routing.numTokens : routing.capacity;
        const settled = byToken ? isDropless(routing) : true;
        must(
          !settled || [...chosen].every((i) => i < count),
          () =>
            `${byToken ? "experts" : "tokens"} ${show([...chosen].sort((a, b) => a - b))} were chosen, not 0 to ${count - 1}`,
        );
      }),
  },
];
