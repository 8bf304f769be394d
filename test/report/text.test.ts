/** The report in the terminal: within its width, coloured only when asked, and saying what the report says. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type LabelSets, type RoutingReport, reportText, routingReport } from "../../src/report/index.ts";
import { bar, cellsOf } from "../../src/report/text.ts";
import { hostile } from "./markup.ts";
import { labelsFor, recordOf, runs, sheets, topOne } from "./record.ts";

/** Characters and how many cells a terminal gives them (Unicode's East Asian Width; marks and joiners have none). */
const cells: readonly [c: string, cells: number][] = [
  ...["a", "é", "Ж", "→", "█", "▏", "…", "·", "\u00AD", "₭"].map((c): [string, number] => [c, 1]),
  ...["語", "가", "ア", "Ａ", "😀", "🚀", "⌚", "\u{20000}", "\u{1F200}", "\u{17000}", "〈", "︐"].map(
    (c): [string, number] => [c, 2],
  ),
  ...["\u0301", "\u20DD", "\u200B", "\u200D", "\uFE0F"].map((c): [string, number] => [c, 0]),
];
const cellOf = new Map(cells);
/** The cells of a line; characters that are not in the table take one. */
const width = (line: string): number => Array.from(line).reduce((n, c) => n + (cellOf.get(c) ?? 1), 0);

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes begin with one.
const codes = /\u001B\[(?:0|1|36)m/g;

const name = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: fc.constantFrom(...cells.map(([c]) => c)), maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom("", " ", "\n", "\u001B[31m", "x".repeat(300), "two words") },
);

/** Reports with few or many label sets, of names that a terminal draws in different widths. */
const reports: fc.Arbitrary<RoutingReport> = fc
  .oneof({ weight: 6, arbitrary: sheets() }, { weight: 1, arbitrary: sheets(fc.constantFrom(64, 200), 20) })
  .chain((sheet) => {
    const set = fc.record({ of: labelsFor(sheet.T, 3), names: fc.array(name, { minLength: 3, maxLength: 3 }) });
    const labels: fc.Arbitrary<LabelSets> = fc
      .array(fc.tuple(name, set), { maxLength: 3 })
      .map((entries) => Object.fromEntries(entries));
    return fc.record({ sheet: fc.constant(sheet), labels });
  })
  .map(({ sheet, labels }) => routingReport(recordOf(sheet), { labels }));

const widths = fc.oneof(fc.constantFrom(40, 41, 80), fc.integer({ min: 40, max: 160 }));

describe("reportText", () => {
  test("has no line wider than its width", () => {
    fc.assert(
      fc.property(reports, widths, (report, limit) => {
        for (const line of reportText(report, { width: limit }).split("\n")) {
          if (width(line) > limit) expect.fail(`${width(line)} cells of ${limit}: ${line}`);
        }
      }),
      runs(0.5),
    );
  });

  test("has no escape code without colour, and nothing but escape codes more with it", () => {
    fc.assert(
      fc.property(reports, widths, (report, limit) => {
        const plain = reportText(report, { width: limit });
        const coloured = reportText(report, { width: limit, color: true });
        expect(plain).not.toContain("\u001B");
        expect(coloured).toContain("\u001B[1m");
        expect(coloured.replace(codes, "")).toBe(plain);
        expect(plain.endsWith("\n") && !plain.endsWith("\n\n")).toBe(true);
        // Every style ends before its line does.
        for (const line of coloured.split("\n")) {
          const styles = (line.match(codes) ?? []).map((code) => code === "\u001B[0m");
          styles.forEach((ends, i) => {
            expect(ends).toBe(i % 2 === 1);
          });
          expect(styles.length % 2).toBe(0);
        }
      }),
      runs(0.3),
    );
  });

  test("obeys no name: what a label set is called cannot move the cursor or break a line", () => {
    fc.assert(
      fc.property(fc.uniqueArray(hostile, { minLength: 2, maxLength: 2 }), (names) => {
        const labels = { [names[0]]: { of: [0, 1, 0], names } };
        const text = reportText(routingReport(recordOf(topOne([0, 1, 1], 2)), { labels }));
        expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cs}\p{Bidi_Control}]/u);
        const benign = { set: { of: [0, 1, 0], names: ["a", "b"] } };
        const plain = reportText(routingReport(recordOf(topOne([0, 1, 1], 2)), { labels: benign }));
        expect(text.split("\n\n").length).toBe(plain.split("\n\n").length);
      }),
    );
  });

  test("says what the report says", () => {
    const labels = { language: { of: [0, 0, 1, 1, 1, 0], names: ["English", "中文"] } };
    const slots = topOne([0, 0, 1, 1, 1, 2], 4).slots.map((slot) => ({ ...slot, granted: slot.token !== 5 }));
    const text = reportText(routingReport(recordOf({ T: 6, E: 4, slots }), { labels }));
    expect(text).toBe(`6 tokens to 4 experts
  6 slots asked for, 5 granted, 1 dropped (17 %)
  tokens without an expert: 17 %
  load: max/mean 2.4, CV 1.04, entropy 49 % of ln E
  dead experts: 2 (2, 3)

What the router divides
  The router divides tokens by language (100 % of the entropy of its choices).

  label set                      share   chance  H(label|expert) of H(label)
  language   ████████████████    100 %     15 %  0 of 0.673

Load of each expert, and what it got most by language
  expert 0  ████████▋         40 %  English 100 %
  expert 1  █████████████     60 %  中文 100 %
  expert 2                     0 %
  expert 3                     0 %

Experts per token
  0 experts  ██▋               17 %
  1 experts  █████████████     83 %

Where each language went, in percent
           Engl…  中文
  expert 0   100     0
  expert 1     0   100
  expert 2     0     0
  expert 3     0     0
`);
  });

  test("has fewer sections where there is less to say", () => {
    const text = reportText(routingReport(recordOf(topOne([], 2))));
    expect(text.split("\n\n").map((section) => section.split("\n")[0])).toEqual([
      "0 tokens to 2 experts",
      "Load of each expert",
      "Experts per token",
    ]);
  });

  test("counts masked tokens, and the entropy of probs where there are some", () => {
    const record = {
      ...recordOf({ T: 3, E: 2, slots: [{ token: 0, expert: 1, granted: true }] }),
      probs: { data: [0, 1, 0.5, 0.5, 0, 0] },
    };
    const text = reportText(routingReport(record, { mask: [true, true, false] }));
    expect(text).toContain("2 tokens to 2 experts, 1 more masked\n");
    expect(text).toContain("  tokens without an expert: 50 %\n");
    expect(text).toContain("  entropy of probs, mean over tokens: 50 % of ln E\n");
    expect(reportText(routingReport(recordOf(topOne([0, 1], 2))))).toContain("  dead experts: none\n");
  });

  test("refuses widths in which no row would fit, and unknown options", () => {
    const report = routingReport(recordOf(topOne([0], 1)));
    for (const wrong of [39, 0, 80.5, Infinity, Number.NaN]) {
      expect(() => reportText(report, { width: wrong })).toThrow(
        new RangeError(
          `reportText: width has ${wrong}, expected an integer of at least 40 (narrower lines cannot hold a row)`,
        ),
      );
    }
    expect(() => reportText(report, { width: "80" as never })).toThrow(
      new TypeError(
        'reportText: width has "80", expected an integer of at least 40 (narrower lines cannot hold a row)',
      ),
    );
    expect(() => reportText(report, { colour: true } as object)).toThrow(
      new TypeError('reportText: options has the name "colour", expected width, color'),
    );
  });
});

describe("what lines are made of", () => {
  test.each(cells)("%j takes %d cells", (c, expected) => {
    expect(cellsOf(c)).toBe(expected);
    expect(cellsOf(`x${c}${c}x`)).toBe(2 + 2 * expected);
  });

  test("a bar fills its width, grows with its fraction, and shows anything above 0", () => {
    const eighth = (drawn: string) =>
      Array.from(drawn).reduce((n, c) => n + (c === " " ? 0 : 8 - (c.charCodeAt(0) - 0x2588)), 0);
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 30 }), (fraction, room) => {
        const drawn = bar(fraction, room);
        expect(drawn).toMatch(/^█*[▏▎▍▌▋▊▉]? *$/);
        expect(cellsOf(drawn)).toBe(room);
        expect(Math.abs(eighth(drawn) - fraction * room * 8)).toBeLessThanOrEqual(
          fraction * room * 8 < 0.5 ? 1 : 0.5 + 1e-9,
        );
        expect(eighth(drawn) > 0).toBe(fraction > 0);
      }),
    );
    expect(bar(0.5, 0)).toBe("");
  });
});
