/** Findings in words: which labels an expert got most, how labels group, and what is said of it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  blocksOf,
  caveats,
  type LabelReport,
  type RoutingReport,
  routingReport,
  topLabels,
  verdict,
} from "../../src/report/index.ts";
import { visible } from "../../src/report/words.ts";
import { hostile } from "./markup.ts";
import { recordOf, type Sheet, sheetOfTable, topOne, total } from "./record.ts";

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The report of a label set whose table is given: a row an expert, as in a report. */
function labelsOf(matrix: readonly (readonly number[])[], names = matrix[0].map((_, l) => `label ${l}`)): LabelReport {
  const table = matrix[0].map((_, l) => matrix.map((row) => row[l]));
  const { sheet, labelOf } = sheetOfTable(table);
  return routingReport(recordOf(sheet), { labels: { set: { of: labelOf, names } } }).labels.set;
}

const matrices = fc
  .record({ E: fc.integer({ min: 1, max: 4 }), L: fc.integer({ min: 1, max: 6 }) })
  .chain(({ E, L }) => fc.array(fc.array(fc.nat(4), { minLength: L, maxLength: L }), { minLength: E, maxLength: E }));

/** The expert that got most of a label, the lower one of equals. */
const majority = (matrix: number[][], l: number): number => {
  const column = matrix.map((row) => row[l]);
  return column.indexOf(Math.max(...column));
};

describe("topLabels", () => {
  test("are what the expert got, most first, ties to the lower id, with their parts", () => {
    fc.assert(
      fc.property(matrices, fc.nat(3), fc.nat(7), (matrix, drawn, limit) => {
        const labels = labelsOf(matrix);
        const expert = drawn % matrix.length;
        const row = matrix[expert];
        const ids = range(row.length).filter((l) => row[l] > 0);
        ids.sort((a, b) => row[b] - row[a] || a - b);
        const expected = ids.map((label) => ({
          ...{ label, name: `label ${label}`, count: row[label], share: row[label] / total(row) },
          ofLabel: row[label] / total(matrix.map((other) => other[label])),
        }));
        expect(topLabels(labels, expert, { limit })).toEqual(expected.slice(0, limit));
        expect(topLabels(labels, expert)).toEqual(expected.slice(0, 3));
        const typical = expected.filter(({ label }) => majority(matrix, label) === expert);
        expect(topLabels(labels, expert, { limit, typical: true })).toEqual(typical.slice(0, limit));
      }),
    );
  });

  test("every label is typical of one expert", () => {
    fc.assert(
      fc.property(matrices, (matrix) => {
        const labels = labelsOf(matrix);
        const typical = matrix.flatMap((_, e) => topLabels(labels, e, { limit: 9, typical: true })).map((t) => t.label);
        const seen = range(matrix[0].length).filter((l) => matrix.some((row) => row[l] > 0));
        expect(typical.sort()).toEqual(seen);
      }),
    );
  });

  test("refuse experts and limits that are not there", () => {
    const labels = labelsOf([[1], [2]]);
    expect(() => topLabels(labels, 2)).toThrow(
      new RangeError("topLabels: expert has 2, expected an integer from 0 to 1 (there are 2 experts)"),
    );
    expect(() => topLabels(labels, 0, { limit: -1 })).toThrow(
      new RangeError("topLabels: limit has -1, expected an integer of at least 0"),
    );
    expect(() => topLabels(labels, 0, { most: 1 } as object)).toThrow(
      new TypeError('topLabels: options has the name "most", expected limit, typical'),
    );
  });
});

describe("blocksOf", () => {
  test("has a column for each label that somebody got: most frequent ones, grouped by expert, the rest in `other`", () => {
    fc.assert(
      fc.property(matrices, fc.integer({ min: 1, max: 7 }), (matrix, limit) => {
        const { columns, other, breaks } = blocksOf(labelsOf(matrix), limit);
        const count = (l: number) => total(matrix.map((row) => row[l]));
        const seen = range(matrix[0].length).filter((l) => count(l) > 0);
        expect([...columns, ...other].sort()).toEqual(seen);
        expect(other.length === 0 ? columns.length <= limit + 1 : columns.length === limit && other.length > 1).toBe(
          true,
        );
        for (const rare of other) for (const l of columns) expect(count(rare)).toBeLessThanOrEqual(count(l));
        const experts = columns.map((l) => majority(matrix, l));
        expect(experts).toEqual([...experts].sort());
        const parts = columns.map((l, j) => matrix[experts[j]][l] / count(l));
        for (let j = 1; j < columns.length; j++) {
          if (experts[j] === experts[j - 1]) expect(parts[j]).toBeLessThanOrEqual(parts[j - 1]);
        }
        const begins = range(columns.length).filter((j) => j > 0 && experts[j] !== experts[j - 1]);
        expect(breaks).toEqual(other.length > 0 ? [...begins, columns.length] : begins);
      }),
    );
  });

  test("refuses a limit without columns", () => {
    expect(() => blocksOf(labelsOf([[1]]), 0)).toThrow(
      new RangeError("blocksOf: limit has 0, expected an integer of at least 1"),
    );
  });
});

/** 400 tokens to 4 experts by their number modulo 4, and sets that explain all, a little or none of it. */
const quarters = range(400).map((t) => t % 4);
const sets = {
  all: { of: quarters },
  // The half of the choice that says whether the expert is odd: 1 of 2 bits.
  half: { of: quarters.map((e) => e % 2) },
  // Every fifth token of expert 0 has a label of its own: a little, and nothing of the others.
  little: { of: quarters.map((e, t) => (e === 0 && t % 20 !== 0 ? 1 : 0)).map((l, t) => (t % 3 === 0 ? 0 : l)) },
  none: { of: range(400).map((t) => Math.floor(t / 4) % 2) },
  nothing: { of: range(400).map((t) => Math.floor(t / 4) % 5) },
};
const reportOf = (names: (keyof typeof sets)[], sheet: Sheet = topOne(quarters, 4)): RoutingReport =>
  routingReport(recordOf(sheet), { labels: Object.fromEntries(names.map((name) => [name, sets[name]])) });

describe("verdict", () => {
  const cases: [sets: (keyof typeof sets)[], sentence: string | RegExp][] = [
    [[], ""],
    [["all"], "The router divides tokens by all (100 % of the entropy of its choices)."],
    [
      ["none", "half", "all"],
      "The router divides tokens by all (100 % of the entropy of its choices) and by half (50 %), not by none (0 %).",
    ],
    [
      ["none"],
      "No label set explains the routing: the router divides tokens not by none (0 % of the entropy of its choices).",
    ],
    [
      ["none", "nothing"],
      "No label set explains the routing: the router divides tokens neither by none (0 % of the entropy of its choices) nor by nothing (0 %).",
    ],
  ];
  test.each(cases)("of %j", (names, sentence) => {
    expect(verdict(reportOf(names))).toBe(sentence);
  });

  test("puts strong (10 % above chance), weak (5 %) and no findings into words by share less chance", () => {
    const base = reportOf(["none", "nothing", "half"]);
    const withShares = (...shares: [name: string, share: number, chance: number][]): RoutingReport => ({
      ...base,
      ranked: shares.map(([name]) => name),
      labels: Object.fromEntries(shares.map(([name, share, chance]) => [name, { ...base.labels.half, share, chance }])),
    });
    expect(
      verdict(
        withShares(
          ["a", 0.3, 0],
          ["b", 0.13, 0.02],
          ["c", 0.12, 0.02 + 1e-9],
          ["d", 0.06, 0.01 - 1e-9],
          ["e", 0.3, 0.29],
        ),
      ),
    ).toBe(
      "The router divides tokens by a (30 % of the entropy of its choices) and by b (13 %), a little by c (12 %) and by d (6 %), not by e (30 %).",
    );
    expect(verdict(withShares(["a", 0.04, 0], ["b", 0.0004, 0], ["c", 0, 0]))).toBe(
      "No label set explains the routing: the router divides tokens neither by a (4 % of the entropy of its choices), b (< 0.1 %) nor by c (0 %).",
    );
  });

  test("says when there is nothing to explain", () => {
    const dropped = topOne(quarters, 4).slots.map((slot) => ({ ...slot, granted: false }));
    expect(verdict(reportOf(["all"], { ...topOne(quarters, 4), slots: dropped }))).toBe(
      "No slot was granted, so there is nothing to explain.",
    );
    expect(verdict(reportOf(["all"], topOne(new Array(400).fill(2), 4)))).toBe(
      "One expert took everything, so there is nothing that a label could explain.",
    );
  });
});

describe("caveats", () => {
  test("none where labels can reach everything and there are many tokens", () => {
    expect(caveats(reportOf(["all", "none"]))).toEqual([]);
    expect(caveats(reportOf([]))).toEqual([]);
  });

  test("a token with several experts: no label tells these apart", () => {
    const slots = quarters.flatMap((e, token) => [e, (e + 1) % 4].map((expert) => ({ token, expert, granted: true })));
    expect(caveats(reportOf(["half"], { T: 400, E: 4, slots }))[0]).toBe(
      "No label can account for more than 50 %: tokens have several experts, and no label of a token tells these apart.",
    );
  });

  test("few tokens for many labels: what labels without meaning would come to", () => {
    const report = routingReport(recordOf(topOne(quarters, 4)), { labels: { "every\ntoken": { of: range(400) } } });
    expect(report.labels["every\ntoken"].chance).toBe(1);
    expect(caveats(report)).toEqual([
      "There are few tokens for the many labels of every¶token: labels without meaning would come to about 100 %.",
    ]);
  });
});

describe("visible", () => {
  test.each([
    ["", "(empty)"],
    [" ", "space"],
    ["\n", "newline"],
    ["\t", "tab"],
    ["\r", "return"],
    ["  ", "··"],
    [" a b  ", "·a b··"],
    ["a\r\n", "a\u240D¶"],
    ["\u001B[31m", "\u241B[31m"],
    ["\u007F\u0085", "\uFFFD\uFFFD"],
    ["\u0301", "\u25CC\u0301"],
    ["e\u0301", "e\u0301"],
    ["\u202Eabc", "\uFFFDabc"],
    ["\uD800", "\uFFFD"],
    ["constructor", "constructor"],
  ])("%j shows as %j", (name, shown) => {
    expect(visible(name)).toBe(shown);
  });

  test("shows something, without blanks at its ends, and nothing that a terminal would obey", () => {
    fc.assert(
      fc.property(hostile, (name) => {
        const shown = visible(name);
        expect(shown.length).toBeGreaterThan(0);
        expect(shown).not.toMatch(/^ | $|[\p{Cc}\p{Cs}\p{Bidi_Control}]/u);
        expect(visible(shown)).toBe(shown);
      }),
    );
  });
});
