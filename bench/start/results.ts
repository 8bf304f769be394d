/** Results: everything that a run gives, as one record of plain data. */
import type { RoutingReport } from "../../src/report/index.ts";
import { type Corpus, unigramEntropy, windowsOf } from "./data.ts";
import { type Variant, variants } from "./model.ts";
import { commandOf, type Options } from "./options.ts";
import { BATCH, type ModelRun } from "./train.ts";

export interface Results {
  /** what gives the same results again */
  command: string;
  seed: number;
  /** asked for, of each model */
  steps: number;
  experts: number;
  batch: number;
  languages: { code: string; name: string; trainCharacters: number; heldOutCharacters: number }[];
  numCharacters: number;
  /** bits per held-out character of the best guess from frequencies alone */
  unigramEntropy: number;
  /** whether Ctrl-C ended the run */
  interrupted: boolean;
  seconds: number;
  models: ModelRun[];
}

export function resultsOf(
  options: Options,
  corpus: Corpus,
  models: ModelRun[],
  run: { seconds: number; interrupted: boolean },
): Results {
  const { seed, steps, experts } = options;
  const { languages, characters } = corpus;
  return {
    command: commandOf(options),
    seed,
    steps,
    experts,
    batch: BATCH,
    languages: languages.map(({ code, name, train, heldOut }) => ({
      code,
      name,
      trainCharacters: train.length,
      heldOutCharacters: heldOut.length,
    })),
    numCharacters: characters.length,
    unigramEntropy: unigramEntropy(windowsOf(corpus, "heldOut"), characters.length),
    interrupted: run.interrupted,
    seconds: run.seconds,
    models,
  };
}

/** A model with a router. */
export type RoutedRun = ModelRun & { report: RoutingReport };

export const isRouted = (run: ModelRun): run is RoutedRun => run.report !== null;

/** A model's name for people. */
export const titleOf = ({ variant }: { variant: Variant }): string => variants[variant].title;

/** Largest difference of the models' flops per character, as a part of the smallest. */
export function flopSpread(models: readonly Pick<ModelRun, "flopsPerCharacter">[]): number {
  const flops = models.map(({ flopsPerCharacter }) => flopsPerCharacter);
  return flops.length === 0 ? 0 : Math.max(...flops) / Math.min(...flops) - 1;
}

/** How many windows have 0, 1, 2, 3, and 4 or more experts, as parts of all. */
export function expertShares({
  numTokens,
  expertsPerToken,
}: {
  numTokens: number;
  expertsPerToken: number[];
}): number[] {
  const shares = [0, 0, 0, 0, 0];
  for (const [k, n] of expertsPerToken.entries()) shares[Math.min(k, 4)] += n / Math.max(1, numTokens);
  return shares;
}
