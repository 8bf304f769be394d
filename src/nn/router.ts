/** Routers with weights: a Module that is called like any other router. */
import type { Router, RouterContext, Routing } from "../routing/record.ts";
import type { Logits, Tensor } from "../tensor.ts";
import { Module } from "./module.ts";

/**
 * The base of routers with weights or state. An instance is a function, `router(logits, ctx)`, and a Module: its tensors
 * have names, are trained and saved. Subclasses implement `route`.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the constructor makes every instance callable.
export abstract class RouterModule extends Module {
  constructor() {
    super();
    const call = (logits: Logits, ctx?: RouterContext): Routing => (call as unknown as RouterModule).route(logits, ctx);
    Object.setPrototypeOf(call, new.target.prototype);
    // biome-ignore lint/correctness/noConstructorReturn: only a constructor can put a function in the instance's place.
    return Object.assign(call, { training: true }) as unknown as this;
  }

  abstract route(logits: Tensor, ctx?: RouterContext): Routing;
}

export interface RouterModule extends Router {}
