/** Writing: text that a model draws character by character. */
import { type Generator, noGrad, scope, tensor } from "../../src/index.ts";
import { CONTEXT, type Corpus, type Windows } from "./data.ts";
import type { CharModel } from "./model.ts";
import { taken } from "./read.ts";

/** Below 1, frequent characters are drawn more often than the model thinks. */
export const TEMPERATURE = 0.6;

/** What a model wrote after a few given characters. */
export interface WrittenText {
  language: string;
  prompt: string;
  text: string;
}

/**
 * One text in each language, the same prompts for every model that is given the same stream.
 *
 * A whole batch of texts is written at once, each after a window of its own, and the first in each language is given back:
 * expert choice compares the windows of a batch, so it needs one as large and as mixed as in training. The others in the
 * batch are other texts: no text is told of its own future.
 */
export async function writeTexts(
  model: CharModel,
  { languages, characters }: Corpus,
  windows: Windows,
  { batchSize, length, rng }: { batchSize: number; length: number; rng: Generator },
): Promise<WrittenText[]> {
  const texts = drawPrompts(windows, languages.length, batchSize, rng.split("prompts"));
  const draws = rng.split("draws");
  model.eval();
  const nextProbs = () => {
    const contexts = tensor(Int32Array.from(texts.flatMap((text) => text.slice(-CONTEXT))));
    const { output } = model.forward(contexts.reshape([texts.length, CONTEXT]));
    return output.mul(1 / TEMPERATURE).softmax();
  };
  for (let i = 0; i < length; i++) {
    const probs = await taken(noGrad(() => scope(nextProbs)));
    for (const [b, text] of texts.entries()) text.push(drawFrom(probs, b, characters.length, draws));
  }
  model.train();
  const spell = (ids: readonly number[]) => ids.map((id) => characters[id]).join("");
  return languages.map(({ name }, l) => ({
    language: name,
    prompt: spell(texts[l].slice(0, CONTEXT)),
    text: spell(texts[l].slice(CONTEXT)),
  }));
}

/** The contexts of windows drawn from one language after the other. */
function drawPrompts({ text, at, language }: Windows, numLanguages: number, batchSize: number, rng: Generator) {
  return Array.from({ length: Math.max(batchSize, numLanguages) }, (_, b) => {
    const first = language.indexOf(b % numLanguages);
    const last = language.lastIndexOf(b % numLanguages);
    const end = at[first + rng.integer(last - first + 1)];
    return Array.from(text.subarray(end - CONTEXT, end));
  });
}

/** An index drawn with the probabilities of one row. */
function drawFrom(probs: ArrayLike<number>, row: number, V: number, rng: Generator): number {
  let left = rng.uniform();
  for (let c = 0; c < V; c++) {
    left -= probs[row * V + c];
    if (left < 0) return c;
  }
  // Rounding can leave the sum of a row just below 1.
  return V - 1;
}
