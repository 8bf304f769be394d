import { describe, expect, test } from "vitest";
import { CONTEXT } from "../../bench/start/data.ts";
import {
  CharModel,
  DIM,
  denseHidden,
  flopsPerCharacter,
  HIDDEN,
  type Variant,
  variants,
} from "../../bench/start/model.ts";
import { Generator, tensor } from "../../src/index.ts";

const names = Object.keys(variants) as Variant[];
const make = (variant: Variant, numExperts = 8, seed = 1) =>
  new CharModel({ variant, numCharacters: 20, numExperts, rng: new Generator(seed) });

describe("cost", () => {
  test.each([1, 2, 3, 8, 17, 64])("with %i experts all models cost the same within two percent", (numExperts) => {
    // GShard and top-2 need two experts.
    const able = numExperts > 1 ? names : (["dense", "expert-choice"] as const);
    const flops = able.map((variant) => flopsPerCharacter(make(variant, numExperts)));
    expect(Math.max(...flops) / Math.min(...flops)).toBeLessThan(1.02);
  });

  test("counts two experts and the router", () => {
    const shared = 2 * (CONTEXT * 16 * DIM + DIM * 20);
    expect(flopsPerCharacter(make("top2"))).toBe(shared + 2 * DIM * 8 + 2 * (2 * 2 * DIM * HIDDEN));
    expect(flopsPerCharacter(make("dense"))).toBe(shared + 2 * 2 * DIM * denseHidden(8));
  });
});

describe("model", () => {
  const contexts = tensor(Int32Array.from({ length: 16 * CONTEXT }, (_, i) => (i * 7) % 20)).reshape([16, CONTEXT]);

  test.each(names)("%s gives the logits of every window, and its routing if it has one", (variant) => {
    const { output, routings } = make(variant).forward(contexts);
    expect(output.shape).toEqual([16, 20]);
    expect(routings.map(({ numTokens, numExperts }) => [numTokens, numExperts])).toEqual(
      variant === "dense" ? [] : [[16, 8]],
    );
    output.sum().backward();
    expect(output.requiresGrad).toBe(true);
  });

  test("what two variants have in common starts with the same numbers", () => {
    const [dense, top2, gshard] = (["dense", "top2", "gshard"] as const).map((variant) => make(variant).stateDict());
    for (const name of ["embed.weight", "join.weight", "head.weight"]) {
      expect(dense[name].data).toEqual(top2[name].data);
    }
    for (const name of Object.keys(top2)) expect(gshard[name].data).toEqual(top2[name].data);
    expect(make("dense", 8, 2).stateDict()["join.weight"].data).not.toEqual(dense["join.weight"].data);
  });
});
