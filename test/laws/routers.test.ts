/** The laws of routers see routers that are deliberately wrong, each its own fault. */
import { describe } from "vitest";
import { expertChoiceRouter, Generator, type Router, topKRouter, withLogits, zeros } from "../../src/index.ts";
import { type CheckRouterOptions, checkRouter, routerLaws } from "../../src/laws/index.ts";
import { catches, type Fault } from "./caught.ts";
import {
  balanceOfGranted,
  choicesOf,
  choosesBy,
  expertNumbers,
  ints,
  list,
  reassigned,
  scoresOfSlots,
  spoilt,
  swapped,
  tokenNumbers,
} from "./spoil.ts";

const dropless = topKRouter();
const tight = topKRouter({ capacityFactor: 1 });
const byExperts = expertChoiceRouter({ capacityFactor: 1 });

/** It runs on from call to call, which a router's own generator must not. */
const own = new Generator(9);

const faults: readonly (Omit<Fault, "check"> & { router: Router; options?: CheckRouterOptions })[] = [
  {
    name: "loses a slot",
    law: "conservation",
    says: /1 granted \+ 0 dropped ≠ 2 asked for/,
    router: spoilt(dropless, (routing) => {
      const rest = reassigned(routing, choicesOf(routing).slice(1));
      return { ...rest, numSlots: routing.numSlots };
    }),
  },
  {
    name: "gives a token the same expert twice",
    law: "conservation",
    says: /a token has two slots with the same expert/,
    router: spoilt(dropless, (routing) => {
      const choices = choicesOf(routing);
      const first = choices.slice(0, routing.numTokens);
      return reassigned(routing, [...first, ...first]);
    }),
  },
  {
    name: "sends a token to an expert that is not there",
    law: "conservation",
    says: /a slot has expert (\d) of \1/,
    router: spoilt(dropless, (routing) => ({
      ...routing,
      expertOfSlot: ints(
        list(routing.expertOfSlot).map((e, s) => (s === routing.numSlots - 1 ? routing.numExperts : e)),
      ),
    })),
  },
  {
    name: "asks for one expert where it is sure",
    law: "slots known from shapes",
    says: /1 slots, but 2 for zero logits/,
    router: spoilt(dropless, (routing) => {
      const sure = (t: number): boolean =>
        Math.max(...list(routing.probs).slice(t * routing.numExperts, (t + 1) * routing.numExperts)) > 0.9;
      return reassigned(
        routing,
        choicesOf(routing).filter(({ token }, i) => i < routing.numTokens || !sure(token)),
      );
    }),
  },
  {
    name: "sorts an expert's tokens the other way round",
    law: "order",
    says: /slots \d and \d are not in order of choice, then token/,
    router: spoilt(topKRouter({ k: 1 }), (routing) => reassigned(routing, choicesOf(routing).reverse())),
  },
  {
    name: "ends its offsets too early",
    law: "order",
    says: /offsets are \[.*\], not \d that rise from 0 to at most \d/,
    router: spoilt(dropless, (routing) => ({
      ...routing,
      offsets: ints(list(routing.offsets).map((x, e) => (e === routing.numExperts ? Math.max(0, x - 1) : x))),
    })),
  },
  {
    name: "lists a slot with another token",
    law: "two readings",
    says: /slot \d is listed for token 0, but belongs to 1/,
    router: spoilt(dropless, (routing) =>
      routing.numTokens < 2
        ? routing
        : { ...routing, slotsOfToken: swapped(routing.slotsOfToken, 0, routing.numSlots - 1) },
    ),
  },
  {
    name: "lists no slot with any token",
    law: "two readings",
    says: /tokenOffsets are \[0, 0\], not 2 that rise from 0 to 2/,
    router: spoilt(dropless, (routing) => ({ ...routing, tokenOffsets: routing.tokenOffsets.zerosLike() })),
  },
  {
    name: "lists second choices first",
    law: "first choice first",
    says: /token 0 asks for experts \[(\d), (\d)\], its best are \[\2, \1\]/,
    router: spoilt(dropless, (routing) => {
      const [first, second] = [0, 1].map((c) =>
        choicesOf(routing).slice(c * routing.numTokens, (c + 1) * routing.numTokens),
      );
      return reassigned(routing, [...second, ...first]);
    }),
  },
  {
    name: "asks for the worst experts",
    law: "first choice first",
    says: /token 0 asks for experts .*, its best are/,
    router: spoilt(
      choosesBy((logits) => logits.neg()),
      (routing) => routing,
    ),
  },
  {
    name: "lets experts take the worst tokens",
    law: "experts take the best",
    says: /expert \d takes a token of score 0\.\d+ and leaves one of 0\.\d+/,
    router: Object.assign(
      choosesBy((logits) => logits.neg(), byExperts),
      { looksAhead: true },
    ),
  },
  {
    name: "is over capacity",
    law: "capacity",
    says: /loads are \[4, 4, 0\], capacity 3/,
    router: spoilt(dropless, (routing) => ({
      ...routing,
      capacity: Math.ceil((2 * routing.numTokens) / routing.numExperts),
    })),
  },
  {
    name: "drops one token too many",
    law: "no needless drop",
    says: /token \d was dropped by expert \d, which has 0 of 1/,
    router: spoilt(tight, (routing) => {
      const choices = choicesOf(routing);
      const last = choices.findLastIndex((c) => c.granted);
      return reassigned(
        routing,
        choices.map((c, i) => (i === last ? { ...c, granted: false } : c)),
      );
    }),
  },
  {
    name: "leaves experts with less than they may choose",
    law: "balanced expert choice",
    says: /loads are \[0, 0, 0\], capacity 1/,
    router: Object.assign(
      spoilt(byExperts, (routing) => ({ ...routing, capacity: routing.capacity + 1 })),
      { looksAhead: true },
    ),
  },
  {
    name: "gives ties to the higher expert",
    law: "ties",
    says: /token 0 asks for experts \[2, 1\], its best are \[0, 1\]/,
    router: choosesBy((logits) => logits.to("float64").add(expertNumbers(logits).mul(1e-9))),
  },
  {
    name: "lets experts take the later of equal tokens",
    law: "ties",
    says: /when all tokens are like token 0, .* were taken, not 0 to 0/,
    router: Object.assign(
      choosesBy((logits) => logits.to("float64").mul(tokenNumbers(logits).mul(1e-9).add(1)), byExperts),
      { looksAhead: true },
    ),
  },
  {
    name: "keeps the gate of dropped slots",
    law: "finite gates",
    says: /was dropped by expert \d, but its gate is 0\.\d/,
    router: spoilt(tight, (routing) => ({ ...routing, gate: scoresOfSlots(routing, routing.probs) })),
  },
  {
    name: "takes no maximum off before the exponential",
    law: "finite gates",
    says: /the gate of token \d, expert \d is NaN/,
    router: spoilt(topKRouter({ normalize: false }), (routing) => {
      const exps = routing.logits.exp();
      return { ...routing, gate: scoresOfSlots(routing, exps.div(exps.sum({ dim: 1, keepdim: true }))) };
    }),
  },
  {
    name: "renormalises after dropping",
    law: "gates follow the rule",
    says: /token \d, expert \d: gate 1, expected 0\.5/,
    router: spoilt(tight, (routing) => {
      const { gate, tokenOfSlot } = routing;
      const total = zeros([routing.numTokens], { dtype: gate.dtype }).indexAdd(0, tokenOfSlot, gate);
      const share = total.indexSelect(0, tokenOfSlot);
      return { ...routing, gate: gate.div(share.eq(0).where(1, share)) };
    }),
  },
  {
    name: "cuts its gates off the graph",
    law: "gates have a gradient",
    says: /0 by backward/,
    router: spoilt(dropless, (routing) => ({ ...routing, gate: routing.gate.detach() })),
  },
  {
    name: "lets only half of a gate learn",
    law: "gates have a gradient",
    says: /by backward/,
    router: spoilt(dropless, ({ gate, ...routing }) => ({
      ...routing,
      gate: gate.mul(0.5).add(gate.mul(0.5).detach()),
    })),
  },
  {
    name: "has a temperature and does not say so",
    law: "replay",
    says: /(probs|gate) is .*, replayed/,
    router(logits, ctx) {
      const routing = dropless(logits.mul(2), ctx);
      return { ...routing, logits, losses: withLogits(routing, logits).losses };
    },
  },
  {
    name: "counts granted slots only in its balance loss",
    law: "replay",
    says: /losses\.balance is/,
    router: spoilt(tight, (routing) => ({
      ...routing,
      losses: { z: routing.losses.z, balance: balanceOfGranted(routing) },
    })),
  },
  {
    name: "lists a slot with another token, and so combines it there",
    law: "dispatch and combine are adjoint",
    says: /⟨dispatch\(x\), h⟩ = .*, but ⟨x, combine\(h\)⟩ = /,
    router: spoilt(dropless, (routing) =>
      routing.numTokens < 2
        ? routing
        : { ...routing, slotsOfToken: swapped(routing.slotsOfToken, 0, routing.numSlots - 1) },
    ),
  },
  {
    name: "weighs all experts alike when it asks for all",
    law: "all experts are the dense mixture",
    says: /token \d: combine gives .*, the mixture is /,
    router: spoilt(topKRouter({ k: 3 }), (routing) => ({
      ...routing,
      gate: routing.gate.onesLike().div(routing.numExperts),
    })),
    options: { numExperts: 3 },
  },
  {
    name: "keeps its noise in evaluation",
    law: "determinism in evaluation",
    says: /before, .* after/,
    router: (logits, ctx) => topKRouter({ noise: "gumbel" })(logits, { ...ctx, training: true }),
  },
  {
    name: "takes its noise from a generator of its own",
    law: "determinism in training",
    says: /before, .* after/,
    router: (logits, ctx) => topKRouter({ noise: "gumbel" })(logits, { ...ctx, rng: own }),
  },
  {
    name: "ignores the mask",
    law: "mask",
    says: /granted before, no slot after/,
    router: (logits, { mask: _, ...ctx } = {}) => dropless(logits, ctx),
  },
  {
    name: "counts masked tokens in its losses",
    law: "mask",
    says: /losses\.\w+ is .* with the mask, .* without/,
    router: spoilt(dropless, (routing) => ({
      ...routing,
      losses: withLogits({ ...routing, keptTokens: null }, routing.logits).losses,
    })),
  },
  {
    name: "gives later tokens other experts",
    law: "tokens in another order",
    says: /before, .* after/,
    router: choosesBy((logits) => logits.mul(tokenNumbers(logits).to(logits.dtype).mul(-2).add(1))),
  },
  {
    name: "prefers expert 0",
    law: "experts by another name",
    says: /before, .* after/,
    router: choosesBy((logits) => logits.add(expertNumbers(logits).eq(0).to(logits.dtype))),
  },
  {
    name: "gates with the logits as they are",
    law: "shift",
    says: /gate .* before, .* after/,
    router: spoilt(dropless, (routing) => ({ ...routing, gate: scoresOfSlots(routing, routing.logits.relu()) })),
  },
  {
    name: "leaks the future and does not say so",
    law: "no look ahead",
    says: /tokens after \d were changed/,
    router: (logits, ctx) => byExperts(logits, ctx),
  },
  {
    name: "says that it looks ahead, and does not",
    law: "the leak is there",
    says: /no earlier token was displaced/,
    // By position, and one choice a token: who comes later takes no place from who came before.
    router: Object.assign(
      spoilt(topKRouter({ k: 1, capacityFactor: 1 }), (routing) => routing),
      { looksAhead: true },
    ),
  },
];

describe("a router that", () => {
  catches(
    faults.map(({ router, options, ...fault }) => ({
      ...fault,
      check: (o) => checkRouter(router, { ...options, ...o }),
    })),
    routerLaws,
    /expert 0(.|\n)*● granted {2}○ dropped {2}capacity \d/,
  );
});
