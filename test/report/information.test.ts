/** Entropy and information: the laws that they obey, and the values that are published. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as report from "../../src/report/index.ts";
import { SETTING_1_LINEAR, SETTING_2_CUBIC } from "../notebooks.ts";
import { naiveEntropy, permutation, total } from "./record.ts";

const { chanceInformation, conditionalEntropy, dispatchEntropy, entropy } = report;
const { mutualInformation, normalizedMutualInformation, purity } = report;

const count = fc.oneof(
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.nat(9) },
  { weight: 1, arbitrary: fc.integer({ min: 1000, max: 1e6 }) },
);

/** Tables of counts, empty ones among them: rows [R], columns [C]. */
const tables = fc
  .record({ R: fc.integer({ min: 1, max: 5 }), C: fc.integer({ min: 1, max: 5 }) })
  .chain(({ R, C }) => fc.array(fc.array(count, { minLength: C, maxLength: C }), { minLength: R, maxLength: R }));

const rowsOf = (table: number[][]): number[] => table.map(total);
const turned = (table: number[][]): number[][] => Array.from(table[0] ?? [], (_, j) => table.map((row) => row[j]));
const columnsOf = (table: number[][]): number[] => rowsOf(turned(table));

/** Rounding: entropies are at most ln 25, and sums of some 25 terms. */
const near = (actual: number, expected: number): void =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(1e-12 + 1e-12 * Math.abs(expected));

/** H(label) + H(expert). */
const both = (table: number[][]): number => entropy(rowsOf(table)) + entropy(columnsOf(table));

/**
 * All figures of a table, by name. NMI is a quotient of entropies, which may both be small: times the lower one its rounding
 * is theirs.
 */
const figures = (table: number[][]): [name: string, value: number][] =>
  Object.entries({
    ...{ conditional: conditionalEntropy(table), dispatch: dispatchEntropy(table), mutual: mutualInformation(table) },
    ...{
      normalized: normalizedMutualInformation(table) * both(table),
      purity: purity(table),
      chance: chanceInformation(table),
    },
  });
const nearAll = (a: number[][], b: number[][]): void => {
  const expected = new Map(figures(b));
  for (const [name, value] of figures(a)) near(value, expected.get(name) as number);
};

describe("laws", () => {
  test("0 ≤ H(counts) ≤ ln N, and H = ln n − Σ n_i ln n_i / n", () => {
    fc.assert(
      fc.property(fc.array(count), (counts) => {
        const h = entropy(counts);
        near(h, naiveEntropy(counts));
        expect(h).toBeGreaterThanOrEqual(0);
        expect(h).toBeLessThanOrEqual(Math.log(Math.max(1, counts.length)) + 1e-12);
      }),
    );
  });

  test("0 ≤ H(label | expert) ≤ H(label), whichever way round the table is", () => {
    fc.assert(
      fc.property(tables, (table) => {
        const [left, right] = [conditionalEntropy(table), dispatchEntropy(table)];
        expect(Math.min(left, right)).toBeGreaterThanOrEqual(0);
        expect(left).toBeLessThanOrEqual(entropy(columnsOf(table)) + 1e-12);
        expect(right).toBeLessThanOrEqual(entropy(rowsOf(table)) + 1e-12);
        near(right, conditionalEntropy(turned(table)));
      }),
    );
  });

  test("the chain rule: H(label) = H(label | expert) + I, and I = H(label) + H(expert) − H(both)", () => {
    fc.assert(
      fc.property(tables, (table) => {
        const information = mutualInformation(table);
        const [rows, columns] = [entropy(rowsOf(table)), entropy(columnsOf(table))];
        near(columns, conditionalEntropy(table) + information);
        near(rows, dispatchEntropy(table) + information);
        near(information, rows + columns - entropy(table.flat()));
        expect(information).toBeGreaterThanOrEqual(0);
        expect(information).toBeLessThanOrEqual(Math.min(rows, columns) + 1e-12);
      }),
    );
  });

  test("the order of labels and experts does not matter, nor do those without any count", () => {
    const cases = tables.chain((table) =>
      fc.tuple(fc.constant(table), permutation(table.length), permutation(table[0].length)),
    );
    fc.assert(
      fc.property(cases, ([table, rows, columns]) => {
        const shuffled = rows.map((i) => columns.map((j) => table[i][j]));
        nearAll(shuffled, table);
        nearAll([...shuffled.map((row) => [0, ...row]), new Array(columns.length + 1).fill(0)], table);
      }),
    );
  });

  test("information is the same from either side", () => {
    fc.assert(
      fc.property(tables, (table) => {
        for (const figure of ["mutual", "normalized", "chance"]) {
          near(Object.fromEntries(figures(turned(table)))[figure], Object.fromEntries(figures(table))[figure]);
        }
        near(normalizedMutualInformation(table) * both(table), 2 * mutualInformation(table));
      }),
    );
  });

  test("only proportions matter, but chance shrinks with the number of counts", () => {
    fc.assert(
      fc.property(tables, fc.integer({ min: 2, max: 9 }), (table, factor) => {
        const scaled = table.map((row) => row.map((n) => n * factor));
        const parts = (of: number[][]) =>
          figures(of)
            .slice(0, -1)
            .map(([, value]) => value);
        parts(scaled).forEach((value, i) => {
          near(value, parts(table)[i]);
        });
        expect(chanceInformation(scaled)).toBeLessThanOrEqual(chanceInformation(table));
      }),
    );
  });

  test("who cannot tell two experts apart knows less: merging rows never lowers H(label | expert)", () => {
    fc.assert(
      fc.property(tables, (table) => {
        const merged = [table[0].map((n, j) => n + (table[1]?.[j] ?? 0)), ...table.slice(2)];
        expect(conditionalEntropy(merged)).toBeGreaterThanOrEqual(conditionalEntropy(table) - 1e-12);
        expect(mutualInformation(merged)).toBeLessThanOrEqual(mutualInformation(table) + 1e-12);
      }),
    );
  });

  test("labels and experts that are drawn apart have no information: n_ij = a_i · b_j", () => {
    const sizes = fc.array(fc.nat(9), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(sizes, sizes, (a, b) => {
        const table = a.map((x) => b.map((y) => x * y));
        expect(mutualInformation(table)).toBe(0);
        near(conditionalEntropy(table), total(a) > 0 ? entropy(b) : 0);
      }),
    );
  });

  test("purity: at least the largest label's part, and 1 exactly when H(label | expert) is 0", () => {
    fc.assert(
      fc.property(tables, (table) => {
        fc.pre(total(table.flat()) > 0);
        const [pure, all] = [purity(table), total(table.flat())];
        near(pure, total(turned(table).map((column) => Math.max(...column))) / all);
        expect(pure).toBeGreaterThanOrEqual(Math.max(...rowsOf(table)) / all - 1e-12);
        expect(pure).toBeLessThanOrEqual(1);
        // The least impurity that is drawn is one count in 25 million, whose entropy is far above rounding.
        expect(pure === 1).toBe(dispatchEntropy(table) < 1e-8);
      }),
    );
  });

  test("NMI: between 0 and 1, and 1 exactly when label and expert name each other", () => {
    fc.assert(
      fc.property(tables, (table) => {
        const [nmi, spread] = [normalizedMutualInformation(table), entropy(rowsOf(table))];
        expect(nmi).toBeGreaterThanOrEqual(0);
        expect(nmi).toBeLessThanOrEqual(1);
        const kinds = table.flat().filter((n) => n > 0).length;
        const oneToOne =
          rowsOf(table).filter((n) => n > 0).length === kinds && columnsOf(table).filter((n) => n > 0).length === kinds;
        if (spread > 0 || entropy(columnsOf(table)) > 0) expect(nmi > 1 - 1e-9).toBe(oneToOne);
        else expect(nmi).toBe(0);
      }),
    );
  });

  test("without any count everything is 0", () => {
    for (const table of [
      [],
      [[]],
      [[], []],
      [[0]],
      [
        [0, 0],
        [0, 0],
      ],
    ]) {
      for (const [name, value] of figures(table)) expect([name, value]).toEqual([name, 0]);
    }
    expect(entropy([])).toBe(0);
    expect(entropy([0, 0])).toBe(0);
    expect(entropy([5])).toBe(0);
  });

  test("typed arrays are lists of counts", () => {
    const table = [
      [3, 1],
      [0, 4],
    ];
    expect(figures(table.map((row) => Int32Array.from(row)) as never)).toEqual(figures(table));
    expect(entropy(Float32Array.of(1, 1))).toBe(Math.LN2);
  });
});

describe("the dispatch entropy of Chen et al., Eq. 6.1: a row a cluster, a column an expert", () => {
  test.each([
    [
      "one expert for each cluster",
      [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
      ],
      0,
    ],
    [
      "two experts for each cluster",
      [
        [3, 1, 0, 0],
        [0, 0, 2, 2],
      ],
      0,
    ],
    ["uniform", Array.from({ length: 4 }, () => [7, 7, 7, 7, 7, 7, 7, 7]), 1.386294],
    ["the published nonlinear table of setting 2", SETTING_2_CUBIC, 0.377557],
    ["the published linear table of setting 1", SETTING_1_LINEAR, 1.313949],
    [
      "everything on one expert, with the clusters of setting 1",
      [
        [4035, 0],
        [3999, 0],
        [4006, 0],
        [3960, 0],
      ],
      1.38627,
    ],
  ])("%s", (_, table, expected) => {
    // Published values have six decimals, or five.
    expect(dispatchEntropy(table)).toBeCloseTo(expected, expected === 1.38627 ? 5 : 6);
  });
});

describe("chanceInformation", () => {
  test("is about what labels without meaning come to, at one count a cell and above", () => {
    const [R, C, n] = [4, 5, 400];
    const rng = fc.sample(fc.array(fc.tuple(fc.nat(R - 1), fc.nat(C - 1)), { minLength: n, maxLength: n }), {
      numRuns: 60,
      seed: 1,
    });
    const drawn = rng.map((pairs) => {
      const table = Array.from({ length: R }, () => new Array<number>(C).fill(0));
      for (const [i, j] of pairs) table[i][j]++;
      return { actual: mutualInformation(table), foreseen: chanceInformation(table) };
    });
    const mean = (xs: number[]) => total(xs) / xs.length;
    const [actual, foreseen] = [mean(drawn.map((x) => x.actual)), mean(drawn.map((x) => x.foreseen))];
    expect(foreseen).toBeCloseTo(((R - 1) * (C - 1)) / (2 * n), 12);
    // 60 tables with 12 degrees of freedom each: the mean of I has a spread of 5 %.
    expect(Math.abs(actual / foreseen - 1)).toBeLessThan(0.15);
  });

  test("never exceeds what there is to know", () => {
    fc.assert(
      fc.property(tables, (table) => {
        const chance = chanceInformation(table);
        expect(chance).toBeGreaterThanOrEqual(0);
        expect(chance).toBeLessThanOrEqual(Math.min(entropy(rowsOf(table)), entropy(columnsOf(table))));
      }),
    );
  });
});

describe("refusals", () => {
  const ofTables = {
    conditionalEntropy,
    dispatchEntropy,
    mutualInformation,
    normalizedMutualInformation,
    purity,
    chanceInformation,
  };

  test.each(Object.entries(ofTables))("%s", (op, figure) => {
    expect(() => figure([[1, 2], [3]])).toThrow(
      new RangeError(`${op}: matrix[1] has 1 counts, expected 2 (all rows have the same length)`),
    );
    expect(() => figure([[1, -2]])).toThrow(
      new RangeError(`${op}: matrix[0][1] has -2, expected a finite count of at least 0`),
    );
    expect(() => figure([[1], [Number.NaN]])).toThrow(
      new RangeError(`${op}: matrix[1][0] has NaN, expected a finite count of at least 0`),
    );
    expect(() => figure([[Infinity]])).toThrow(
      new RangeError(`${op}: matrix[0][0] has Infinity, expected a finite count of at least 0`),
    );
    expect(() => figure(undefined as never)).toThrow(
      new TypeError(`${op}: matrix has undefined, expected a list of rows of counts`),
    );
    expect(() => figure([1, 2] as never)).toThrow(new TypeError(`${op}: matrix[0] has 1, expected a list of counts`));
    expect(() => figure(["12"] as never)).toThrow(
      new TypeError(`${op}: matrix[0] has "12", expected a list of counts`),
    );
    expect(() => figure([["1"]] as never)).toThrow(new TypeError(`${op}: matrix[0][0] has "1", expected a number`));
  });

  test("entropy", () => {
    expect(() => entropy([1, -1])).toThrow(
      new RangeError("entropy: counts[1] has -1, expected a finite count of at least 0"),
    );
    expect(() => entropy(null as never)).toThrow(new TypeError("entropy: counts has null, expected a list of counts"));
  });
});
