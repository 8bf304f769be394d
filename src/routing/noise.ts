/** Noise on the router's logits: who is chosen is left to chance a little, so that all experts are tried. */
import { allocate } from "../device/kernel.ts";
import { hostValue } from "../device/storage.ts";
import { checkNumber, checkOptions, show, typeError } from "../errors.ts";
import type { Generator } from "../random.ts";
import type { Tensor } from "../tensor.ts";

export interface RouterNoise {
  /**
   * "uniform": U[0, scale), as Chen et al. 2022 with scale 1; "gaussian": N(0, scale²), as V-MoE with scale 1/E;
   * "gumbel": scale · Gumbel(0, 1), which with scale 1 draws experts from softmax(logits).
   */
  type: "none" | "uniform" | "gaussian" | "gumbel";
  /** Default 1. */
  scale?: number | undefined;
}

/** Noise with its scale filled in. */
export interface ResolvedNoise {
  readonly type: RouterNoise["type"];
  readonly scale: number;
}

const draws: Record<Exclude<RouterNoise["type"], "none">, (rng: Generator) => number> = {
  uniform: (rng) => rng.uniform(),
  gaussian: (rng) => rng.normal(),
  gumbel: (rng) => rng.gumbel(),
};

/** Throws unless the noise is one that there is; gives it with its scale filled in. */
export function checkNoise(op: string, noise: RouterNoise | RouterNoise["type"] | undefined): ResolvedNoise {
  const given = noise === undefined ? { type: "none" as const } : typeof noise === "string" ? { type: noise } : noise;
  checkOptions(op, given, ["type", "scale"], "noise");
  const { type, scale = 1 } = given;
  if (type !== "none" && !Object.hasOwn(draws, type)) {
    throw typeError(
      op,
      typeof noise === "string" ? "noise" : "noise.type",
      show(type),
      '"none", "uniform", "gaussian" or "gumbel"',
    );
  }
  checkNumber(op, "noise.scale", scale as number, "a number of at least 0", (x) => x >= 0);
  return { type, scale: scale as number };
}

/** Logits with noise added, without gradient. */
export function addNoise(logits: Tensor, { type, scale }: ResolvedNoise, rng: Generator): Tensor {
  if (type === "none" || scale === 0) return logits;
  const data = allocate(logits.dtype, logits.size);
  for (let i = 0; i < data.length; i++) data[i] = scale * draws[type](rng);
  return logits.detach().add(logits.make(hostValue(data, logits.shape), null));
}
