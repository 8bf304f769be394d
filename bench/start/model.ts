/** The model: the next character from the eight before it, through one feed-forward layer that is dense or a MoE. */
import {
  Embedding,
  expertChoiceRouter,
  FeedForward,
  type Generator,
  gshardRouter,
  LayerNorm,
  Linear,
  Module,
  MoE,
  type Router,
  type Routing,
  type Tensor,
  topKRouter,
} from "../../src/index.ts";
import { CONTEXT } from "./data.ts";

/** Width of a character, of a token (D), and inside an expert (F). */
export const EMBED = 16;
export const DIM = 96;
export const HIDDEN = 128;

/** Coefficient of the balance loss, for routers that need one. */
export const BALANCE = 0.01;

export type Variant = "dense" | "top2" | "gshard" | "expert-choice";

interface VariantParts {
  readonly title: string;
  readonly says: string;
  /** null: a dense layer, and nobody to choose */
  readonly router: Router | null;
  readonly balance: number;
}

/** What can stand in the middle of the model: who chooses experts, and how. Each character gets two of them on average. */
export const variants: Readonly<Record<Variant, VariantParts>> = {
  dense: {
    title: "dense",
    says: "one feed-forward layer for everything, as large as two experts and the router",
    router: null,
    balance: 0,
  },
  top2: {
    title: "top-2",
    says: "each window takes the two experts that score highest, however full they are",
    router: topKRouter({ k: 2 }),
    balance: BALANCE,
  },
  gshard: {
    title: "GShard",
    says: "each window asks for two experts; an expert that has its share of the batch drops the rest",
    router: gshardRouter({ capacityFactor: 1 }),
    balance: BALANCE,
  },
  "expert-choice": {
    title: "expert choice",
    says: "each expert takes its share of the batch, the windows that score highest for it",
    router: expertChoiceRouter({ capacityFactor: 2 }),
    balance: 0,
  },
};

export interface ModelOptions {
  variant: Variant;
  numCharacters: number;
  numExperts: number;
  rng: Generator;
}

/**
 * Eight characters to the logits of the next one.
 *
 *   x = embed(c₁ … c₈), joined to one vector;   h = x · W + b
 *   y = h + mix(norm(h))                          mix: a feed-forward layer, or E of them and a router
 *   logits = norm(y) · V + b
 *
 * Each part draws from a stream of its own, so that what two variants have in common starts with the same numbers.
 *
 * Shapes   contexts int32 [B, 8] → output [B, V], the logits; and the routing when there is one
 */
export class CharModel extends Module {
  readonly embed: Embedding;
  readonly join: Linear;
  readonly normIn: LayerNorm;
  readonly mix: FeedForward | MoE;
  readonly normOut: LayerNorm;
  readonly head: Linear;

  constructor({ variant, numCharacters: V, numExperts: E, rng }: ModelOptions) {
    super();
    const { router } = variants[variant];
    this.embed = new Embedding(V, EMBED, { rng: rng.split("embed") });
    this.join = new Linear(CONTEXT * EMBED, DIM, { rng: rng.split("join") });
    this.normIn = new LayerNorm(DIM);
    this.mix = router
      ? new MoE({ dim: DIM, hidden: HIDDEN, numExperts: E, router, rng: rng.split("mix") })
      : new FeedForward({ dim: DIM, hidden: denseHidden(E), bias: false, rng: rng.split("mix") });
    this.normOut = new LayerNorm(DIM);
    this.head = new Linear(DIM, V, { rng: rng.split("head") });
  }

  forward(contexts: Tensor): { output: Tensor; routings: Routing[] } {
    const [B] = contexts.shape;
    const h = this.join.forward(this.embed.forward(contexts).reshape([B, CONTEXT * EMBED]));
    const mixed = this.mix.forward(this.normIn.forward(h));
    const [y, routings] = "routing" in mixed ? [mixed.output, [mixed.routing]] : [mixed, []];
    return { output: this.head.forward(this.normOut.forward(h.add(y))), routings };
  }
}

/** How many experts read a character, on average: a single one cannot be read twice. */
const expertsPerCharacter = (numExperts: number): number => Math.min(2, numExperts);

/** The hidden width at which a dense layer costs what K experts and the router cost: 4·D·H = K·4·D·F + 2·D·E. */
export const denseHidden = (numExperts: number): number =>
  Math.round(expertsPerCharacter(numExperts) * HIDDEN + numExperts / 2);

/** Multiplications and additions of the model's matrix products for one character, forward, as many slots as asked for. */
export function flopsPerCharacter(model: CharModel): number {
  const product = ({ weight: { size } }: Linear) => 2 * size;
  const { mix } = model;
  const mixed = mix instanceof MoE ? product(mix.router) + expertFlops(mix) : product(mix.up) + product(mix.down);
  return product(model.join) + mixed + product(model.head);
}

function expertFlops({ experts: { w1, w2 } }: MoE): number {
  const [E] = w1.shape;
  return (expertsPerCharacter(E) * 2 * (w1.size + w2.size)) / E;
}
