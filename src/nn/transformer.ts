/**
 * A transformer whose layers are dense or Mixtures of Experts.
 *
 *   h ← h + attention(norm(h));   h ← h + ff(norm(h))        ff: a FeedForward or a MoE, layer by layer
 *
 * Source   Vaswani et al. 2017, with the norm before each part as in GPT-2; MoE in place of the dense part as in GShard
 */
import { arange, ones } from "../create.ts";
import {
  checkBoolean,
  checkDtype,
  checkInteger,
  checkOptions,
  checkRank,
  checkTensor,
  rangeError,
  show,
  typeError,
} from "../errors.ts";
import { checkEps } from "../kernels/norm.ts";
import { checkMask } from "../routing/check.ts";
import type { Router, Routing } from "../routing/record.ts";
import type { Tensor } from "../tensor.ts";
import { type Activation, checkActivation } from "./activation.ts";
import { MultiHeadAttention, type PaddingMask } from "./attention.ts";
import { checkShare, Dropout } from "./dropout.ts";
import {
  checkFeatures,
  checkInit,
  Embedding,
  FeedForward,
  type InitOptions,
  LayerNorm,
  Linear,
  type Routed,
} from "./layers.ts";
import { Module } from "./module.ts";
import { MoE } from "./moe.ts";

/**
 * Root-mean-square normalisation over the last dim, with weight (from 1). See rmsNorm.
 *
 * Shapes   x […, dim] → […, dim]
 * Throws   RangeError for x with other features or eps below 0, TypeError for another dtype
 */
export class RMSNorm extends Module {
  readonly weight: Tensor;
  readonly eps: number;

  constructor(dim: number, options: { eps?: number | undefined; dtype?: InitOptions["dtype"] } = {}) {
    super();
    checkOptions("RMSNorm", options, ["eps", "dtype"]);
    checkInteger("RMSNorm", "dim", dim, 1, Infinity);
    const { eps = 1e-6, dtype } = options;
    checkEps("RMSNorm", eps);
    checkInit("RMSNorm", { dtype });
    this.eps = eps;
    this.weight = ones([dim], { dtype, requiresGrad: true });
  }

  forward(x: Tensor): Tensor {
    checkFeatures("RMSNorm", x, this.weight);
    return x.rmsNorm(this.weight, { eps: this.eps });
  }
}

/** The MoE of a transformer's layers. */
export interface TransformerMoE {
  numExperts: number;
  /** Hidden width of one expert. Default: that of the dense layers. */
  hidden?: number | undefined;
  /** Default topKRouter({ k: 2 }). */
  router?: Router | undefined;
  /**
   * Which layers route: "all", "odd" (every other one, from the second, as in GShard), or their indices; at least one.
   * Default "odd", and of a single layer that one.
   */
  layers?: "all" | "odd" | readonly number[] | undefined;
}

export interface TransformerOptions extends InitOptions {
  /** V: how many token ids there are. */
  vocab: number;
  dim: number;
  numLayers: number;
  numHeads: number;
  /** Hidden width of the dense layers. Default 4 · dim. */
  hidden?: number | undefined;
  /** Longest sequence, for learned positions; not needed with rotary ones. */
  maxLength?: number | undefined;
  /** "learned" adds a vector per position, "rotary" turns queries and keys. Default "rotary". */
  positions?: "learned" | "rotary" | undefined;
  /** Let a position see itself and earlier ones only. Default true. */
  causal?: boolean | undefined;
  /** Default: dense layers only. */
  moe?: TransformerMoE | undefined;
  /** Allow a router that looks at later tokens in a causal model. Default false. */
  allowLeak?: boolean | undefined;
  /** Default "layer". */
  norm?: "layer" | "rms" | undefined;
  activation?: Activation | undefined;
  /** Default 0. */
  dropout?: number | undefined;
}

interface BlockOptions extends InitOptions {
  dim: number;
  hidden: number;
  numHeads: number;
  causal: boolean;
  rotary: boolean;
  norm: "layer" | "rms";
  activation: Activation;
  dropout: number;
  moe: TransformerMoE | null;
}

type Norm = LayerNorm | RMSNorm;

const makeNorm = (kind: "layer" | "rms", dim: number, dtype: InitOptions["dtype"]): Norm =>
  kind === "layer" ? new LayerNorm(dim, { dtype }) : new RMSNorm(dim, { dtype });

/** One layer: attention, then a dense network or a MoE, each behind a norm and beside a residual connection. */
class Block extends Module {
  readonly norm1: Norm;
  readonly attention: MultiHeadAttention;
  readonly norm2: Norm;
  readonly ff: FeedForward | MoE;
  readonly dropout: Dropout;

  constructor(options: BlockOptions) {
    super();
    const { dim, hidden, numHeads, causal, rotary, norm, activation, dropout, moe, dtype, rng } = options;
    const init = { dtype, rng };
    this.norm1 = makeNorm(norm, dim, dtype);
    this.attention = new MultiHeadAttention({ dim, numHeads, causal, rotary, dropout, ...init });
    this.norm2 = makeNorm(norm, dim, dtype);
    this.ff =
      moe === null
        ? new FeedForward({ dim, hidden, activation, ...init })
        : new MoE({
            dim,
            numExperts: moe.numExperts,
            hidden: moe.hidden ?? hidden,
            router: moe.router,
            activation,
            ...init,
          });
    this.dropout = new Dropout(dropout, { rng });
  }

  forward(x: Tensor, options: ForwardOptions): { output: Tensor; routing: Routing | null } {
    const { mask, tokenIds } = options;
    const h = x.add(this.dropout.forward(this.attention.forward(this.norm1.forward(x), { mask })));
    const inner = this.norm2.forward(h);
    if (this.ff instanceof MoE) {
      const { output, routing } = this.ff.forward(inner, { mask, tokenIds });
      return { output: h.add(this.dropout.forward(output)), routing };
    }
    return { output: h.add(this.dropout.forward(this.ff.forward(inner))), routing: null };
  }
}

interface ForwardOptions {
  mask?: PaddingMask | undefined;
  tokenIds?: Tensor | undefined;
}

/**
 * A language model: embeddings, layers of attention and dense networks or MoEs, logits.
 *
 * In a causal model a router that looks at later tokens (expert choice, or a capacity that is not given out by position)
 * would let a position learn of its own future: it is refused, unless allowLeak says that this is what you want to see.
 *
 * Shapes   tokens int32 [B, L] → output [B, L, V] logits, and one routing per MoE layer
 * Throws   RangeError for sizes that do not fit, or a router that leaks; TypeError for tokens that are no int32, or a mask
 *          whose entries are no booleans
 */
export class Transformer extends Module {
  readonly embedding: Embedding;
  readonly position: Embedding | null;
  readonly blocks: readonly Block[];
  readonly norm: Norm;
  readonly head: Linear;

  constructor(options: TransformerOptions) {
    super();
    const op = "Transformer";
    const names = ["vocab", "dim", "numLayers", "numHeads", "hidden", "maxLength", "positions", "causal", "moe"];
    checkOptions(op, options, [...names, "allowLeak", "norm", "activation", "dropout", "dtype", "rng"]);
    checkSettings(op, options);
    const { vocab, dim, numLayers, numHeads, hidden = 4 * dim, positions = "rotary", causal = true } = options;
    const { moe, allowLeak = false, norm = "layer", activation = "gelu", dropout = 0, maxLength, dtype, rng } = options;
    const routed = moeLayers(op, moe, numLayers);
    if (moe !== undefined) checkLeak(op, moe.router, causal, allowLeak);
    this.embedding = new Embedding(vocab, dim, { dtype, rng });
    this.position = positions === "learned" ? new Embedding(maxLength as number, dim, { dtype, rng }) : null;
    const common = {
      dim,
      hidden,
      numHeads,
      causal,
      rotary: positions === "rotary",
      norm,
      activation,
      dropout,
      dtype,
      rng,
    };
    this.blocks = Array.from({ length: numLayers }, (_, l) => {
      return new Block({ ...common, moe: routed.has(l) ? (moe as TransformerMoE) : null });
    });
    this.norm = makeNorm(norm, dim, dtype);
    this.head = new Linear(dim, vocab, { bias: false, dtype, rng });
  }

  forward(tokens: Tensor, options: { mask?: PaddingMask | undefined } = {}): Routed {
    checkOptions("Transformer", options, ["mask"]);
    checkTensor("Transformer", "tokens", tokens);
    checkRank("Transformer", "tokens", tokens.shape, 2, "batch and positions");
    checkDtype("Transformer", "tokens", tokens.dtype, ["int32"], "token ids");
    if (options.mask !== undefined) checkMask("Transformer", options.mask, [tokens.shape]);
    let h = this.embedding.forward(tokens);
    if (this.position !== null) h = h.add(this.#positions(this.position, tokens.shape[1]));
    const routings: Routing[] = [];
    for (const block of this.blocks) {
      const { output, routing } = block.forward(h, { mask: options.mask, tokenIds: tokens });
      h = output;
      if (routing !== null) routings.push(routing);
    }
    return { output: this.head.forward(this.norm.forward(h)), routings };
  }

  #positions(table: Embedding, L: number): Tensor {
    const longest = table.weight.shape[0];
    if (L > longest) throw rangeError("Transformer", "tokens", `${L} positions`, `at most maxLength = ${longest}`);
    return table.forward(arange(L, { dtype: "int32" }));
  }
}

/** Throws unless every setting is of its kind, but for those of the MoE. */
function checkSettings(op: string, options: TransformerOptions): void {
  const { vocab, dim, numLayers, numHeads, hidden = 1, maxLength, positions = "rotary", norm = "layer" } = options;
  const { causal = true, allowLeak = false, activation = "gelu", dropout = 0 } = options;
  for (const [name, n] of Object.entries({ vocab, dim, numLayers, numHeads, hidden })) {
    checkInteger(op, name, n, 1, Infinity);
  }
  if (positions !== "learned" && positions !== "rotary") {
    throw typeError(op, "positions", show(positions), '"learned" or "rotary"');
  }
  if (positions === "learned" || maxLength !== undefined) {
    checkInteger(op, "maxLength", maxLength, 1, Infinity, "learned positions need it");
  }
  if (norm !== "layer" && norm !== "rms") throw typeError(op, "norm", show(norm), '"layer" or "rms"');
  for (const [name, on] of Object.entries({ causal, allowLeak })) checkBoolean(op, name, on);
  checkActivation(op, activation);
  checkShare(op, "dropout", dropout);
  checkInit(op, options);
}

function checkLeak(op: string, router: Router | undefined, causal: boolean, allowLeak: boolean): void {
  if (!causal || allowLeak || router?.looksAhead !== true) return;
  const why = "it would let a position learn of its future; say allowLeak: true to see it happen";
  throw rangeError(op, "router", "one that looks at later tokens", "one that does not, in a causal model", why);
}

function moeLayers(op: string, moe: TransformerMoE | undefined, numLayers: number): Set<number> {
  if (moe === undefined) return new Set();
  checkOptions(op, moe, ["numExperts", "hidden", "router", "layers"], "moe");
  const { layers = numLayers === 1 ? "all" : "odd", hidden = 1 } = moe;
  checkInteger(op, "moe.numExperts", moe.numExperts, 1, Infinity);
  checkInteger(op, "moe.hidden", hidden, 1, Infinity);
  const named = layers === "all" || layers === "odd";
  if (!named && !Array.isArray(layers)) {
    throw typeError(op, "moe.layers", show(layers), '"all", "odd" or a list of layers');
  }
  const all = Array.from({ length: numLayers }, (_, l) => l);
  const chosen = named ? all.filter((l) => layers === "all" || l % 2 === 1) : (layers as readonly number[]);
  for (const l of chosen) checkInteger(op, "moe.layers", l, 0, numLayers - 1);
  if (chosen.length > 0) return new Set(chosen);
  const why = "a model without a MoE is made by leaving moe out";
  throw rangeError(op, "moe.layers", `${show(layers)}, none of ${numLayers}`, "at least one layer", why);
}
