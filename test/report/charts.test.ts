/** Charts: well-formed whatever they are given, true to their numbers, and clear about what they refuse. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { barChart, heatMap, histogram, lineChart } from "../../src/report/index.ts";
import {
  contrast,
  expertHues,
  expertInk,
  inks,
  rampColour,
  rampSteps,
  seriesColours,
  textOn,
} from "../../src/report/palette.ts";
import { formatNumber, niceTicks, percent } from "../../src/report/svg.ts";
import { type Element, hostile, named, readChart, textOf, written } from "./markup.ts";
import { runs, total } from "./record.ts";

/** Numbers and gaps as training curves have them: tiny, huge, equal but for rounding, and not numbers at all. */
const value = fc.oneof(
  { weight: 4, arbitrary: fc.double({ min: -100, max: 100, noNaN: true }) },
  { weight: 2, arbitrary: fc.integer({ min: -3, max: 3 }) },
  { weight: 2, arbitrary: fc.constantFrom(0.3, 0.1 + 0.2, 1e-12, 5e-324, -1e300, 1e300, 2 ** 53, -0) },
  { weight: 1, arbitrary: fc.constantFrom(null, Number.NaN, Infinity, -Infinity) },
);
const amount = value.map((x) => (x !== null && x < 0 ? -x : x));
/** A size that is not a gap, and finite. */
const finite = amount.map((x) => (x !== null && Number.isFinite(x) ? x : 0));
const listOf = <T>(element: fc.Arbitrary<T>, n: number) => fc.array(element, { minLength: n, maxLength: n });
const option = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

const texts = {
  title: hostile,
  description: option(hostile),
  xLabel: option(hostile),
};
const sizes = { width: option(fc.integer({ min: 240, max: 900 })), height: option(fc.integer({ min: 140, max: 500 })) };
const seriesOf = (element: fc.Arbitrary<number | null>, n: number) =>
  fc.array(fc.record({ name: hostile, values: listOf(element, n) }), { minLength: 1, maxLength: 9, size: "small" });

const lineCharts = fc.oneof(fc.nat(6), fc.constantFrom(40, 41)).chain((n) =>
  fc.record({
    ...{ ...texts, ...sizes, yLabel: option(hostile), series: seriesOf(value, n) },
    x: option(
      listOf(
        value.map((x) => (x !== null && Number.isFinite(x) ? x : 1)),
        n,
      ),
    ),
    yMin: option(fc.constantFrom(0, -1, 1e9, Number.NaN)),
    mark: option(fc.record({ value: fc.double({ min: -1e9, max: 1e9, noNaN: true }), label: hostile })),
  }),
);
const barCharts = fc.nat(6).chain((n) =>
  fc.record({
    ...{ ...texts, width: sizes.width, labels: listOf(hostile, n), series: seriesOf(amount, n) },
    valueLabels: option(listOf(hostile, n)),
    mark: option(fc.record({ value: finite, label: hostile })),
  }),
);
const histograms = fc.nat(40).chain((n) =>
  fc.record({
    ...{ ...texts, ...sizes, yLabel: option(hostile), counts: listOf(finite, n) },
    bins: option(listOf(fc.oneof(hostile, fc.integer()), n)),
  }),
);
const heatMaps = fc.tuple(fc.nat(5), fc.nat(12)).chain(([R, C]) =>
  fc.record({
    ...{ title: hostile, description: option(hostile), rowLabel: option(hostile), colLabel: option(hostile) },
    ...{ rows: listOf(hostile, R), cols: listOf(hostile, C), values: listOf(listOf(finite, C), R) },
    ...{ normalize: fc.constantFrom("none" as const, "row" as const, "column" as const, undefined) },
    ...{ breaks: fc.array(fc.nat(12)), width: sizes.width },
  }),
);

const kinds = [
  ["lineChart", lineCharts.map((options) => ({ options, svg: lineChart(options) }))],
  ["barChart", barCharts.map((options) => ({ options, svg: barChart(options) }))],
  ["histogram", histograms.map((options) => ({ options, svg: histogram(options) }))],
  ["heatMap", heatMaps.map((options) => ({ options, svg: heatMap(options) }))],
] as const;

describe.each(kinds)("%s", (_, charts) => {
  test("is well-formed, in place and self-contained, with empty data, gaps and hostile texts", () => {
    fc.assert(
      fc.property(
        charts as fc.Arbitrary<{ options: { title: string; description?: string | undefined }; svg: string }>,
        ({ options, svg }) => {
          const [title, description] = readChart(svg).children as Element[];
          expect(textOf(title)).toBe(written(options.title));
          if (options.description !== undefined) expect(textOf(description)).toBe(written(options.description));
        },
      ),
      runs(0.4),
    );
  });
});

/** Places of the bars of a chart, each with what its tooltip says. */
const bars = (svg: string) =>
  named(readChart(svg), "rect").flatMap(({ attributes, children }) => {
    if (children.length === 0) return [];
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(attributes.get(name)));
    return [{ x, y, width, height, tip: textOf(children[0] as Element) }];
  });
const labels = (svg: string): string[] => named(readChart(svg), "text").map(textOf);

describe("barChart", () => {
  test("draws bars in proportion to their values, parts of a label one after the other", () => {
    const values = fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(values, values, (a, b) => {
        const svg = barChart({
          title: "t",
          labels: ["x", "y", "z"],
          series: [
            { name: "a", values: a },
            { name: "b", values: b },
          ],
        });
        const drawn = bars(svg);
        expect(drawn.map(({ tip }) => tip)).toEqual(
          ["x", "y", "z"].flatMap((l, i) => [`${l}: a ${a[i]}`, `${l}: b ${b[i]}`]),
        );
        const unit = total(drawn.map(({ width }) => width)) / total([...a, ...b]);
        drawn.forEach(({ width, x }, i) => {
          const own = i % 2 === 0 ? a[i / 2] : b[(i - 1) / 2];
          // Places are rounded to hundredths of a pixel.
          expect(Math.abs(width - own * unit)).toBeLessThan(0.02);
          if (i % 2 === 1) expect(Math.abs(x - drawn[i - 1].x - drawn[i - 1].width)).toBeLessThan(0.02);
        });
        for (const n of a.map((x, i) => x + b[i])) expect(labels(svg)).toContain(String(n));
      }),
      runs(0.3),
    );
  });

  test("takes gaps and what is not finite for nothing", () => {
    const svg = barChart({
      title: "t",
      labels: ["x", "y", "z", "w"],
      series: [{ name: "a", values: [2, Number.NaN, Infinity, null] }],
    });
    expect(bars(svg).map(({ tip }) => tip)).toEqual(["x: 2"]);
    expect(labels(svg)).toEqual(["t", "x", "2", "y", "0", "z", "0", "w", "0"]);
  });

  const options = { title: "t", labels: ["x", "y"], series: [{ name: "a", values: [1, 2] }] };
  const refused: [change: object, error: Error][] = [
    [{ series: [] }, new RangeError("barChart: series has no entry, expected at least one")],
    [{ series: "ab" }, new TypeError('barChart: series has "ab", expected a list of { name, values }')],
    [{ series: [null] }, new TypeError("barChart: series[0] has null, expected { name, values }")],
    [
      { series: [{ name: "a" }] },
      new TypeError("barChart: series[0].values has undefined, expected a list of numbers"),
    ],
    [
      { series: [{ name: "a", values: "12" }] },
      new TypeError('barChart: series[0].values has "12", expected a list of numbers'),
    ],
    [
      { series: [options.series[0], { name: "b", values: [1] }] },
      new RangeError("barChart: series[1].values has 1 entries, expected 2 (one for each position of the axis)"),
    ],
    [
      { series: [{ name: "a", values: [0, -1] }] },
      new RangeError("barChart: series[0].values[1] has -1, expected at least 0 (bars start there)"),
    ],
    [{ valueLabels: ["1"] }, new RangeError("barChart: valueLabels has 1 entries, expected 2 (one for each label)")],
    [{ valueLabels: ["1", 2] }, new TypeError("barChart: valueLabels[1] has 2, expected a string")],
    [{ labels: undefined }, new TypeError("barChart: labels has undefined, expected a list of strings")],
    [
      { mark: { value: Number.NaN, label: "m" } },
      new RangeError("barChart: mark.value has NaN, expected a finite number of at least 0"),
    ],
    [
      { mark: { value: -1, label: "m" } },
      new RangeError("barChart: mark.value has -1, expected a finite number of at least 0"),
    ],
    [
      { mark: { value: 1 } },
      new TypeError("barChart: mark has a Object, expected { value, label } with a label to show"),
    ],
    [{ title: undefined }, new TypeError("barChart: title has undefined, expected a string")],
    [
      { width: 100 },
      new RangeError("barChart: width has 100, expected an integer from 240 to 4000 (the labels need room)"),
    ],
    [
      { colour: 1 },
      new TypeError(
        'barChart: options has the name "colour", expected title, description, xLabel, yLabel, width, height, labels, series, valueLabels, mark',
      ),
    ],
  ];
  test.each(refused)("refuses %o", (change, error) => {
    expect(() => barChart({ ...options, ...change } as never)).toThrow(error);
  });
});

describe("histogram", () => {
  test("has one bar for each bin, as high as its count, with its part of all", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(99), { minLength: 1, maxLength: 12 }), (counts) => {
        const drawn = bars(histogram({ title: "t", counts: Int32Array.from(counts) }));
        const all = total(counts);
        expect(drawn.map(({ tip }) => tip)).toEqual(
          counts.map((n, i) => `${i}: ${formatNumber(n)} (${percent(all > 0 ? n / all : 0)})`),
        );
        const unit = total(drawn.map(({ height }) => height)) / Math.max(1, all);
        drawn.forEach(({ height }, i) => {
          expect(Math.abs(height - counts[i] * unit)).toBeLessThan(0.05);
        });
      }),
      runs(0.3),
    );
  });

  test("without any count it has no bars above 0, and without bins none at all", () => {
    expect(bars(histogram({ title: "t", counts: [0, 0] })).map(({ height }) => height)).toEqual([0, 0]);
    expect(bars(histogram({ title: "t", counts: [] }))).toEqual([]);
  });

  const refused: [options: object, error: Error][] = [
    [{ title: "t" }, new TypeError("histogram: counts has undefined, expected a list of numbers")],
    [{ title: "t", counts: "12" }, new TypeError('histogram: counts has "12", expected a list of numbers')],
    [
      { title: "t", counts: [1, -2] },
      new RangeError("histogram: counts[1] has -2, expected at least 0 (bars start there)"),
    ],
    [
      { title: "t", counts: [1, 2], bins: ["a"] },
      new RangeError("histogram: counts has 2 entries, expected 1 (one for each position of the axis)"),
    ],
    [{ title: 3, counts: [] }, new TypeError("histogram: title has 3, expected a string")],
    [
      { title: "t", counts: [], height: 80 },
      new RangeError("histogram: height has 80, expected an integer from 140 to 4000 (the labels need room)"),
    ],
    [
      { title: "t", counts: [], mark: 1 },
      new TypeError(
        'histogram: options has the name "mark", expected title, description, xLabel, yLabel, width, height, counts, bins',
      ),
    ],
  ];
  test.each(refused)("refuses %o", (options, error) => {
    expect(() => histogram(options as never)).toThrow(error);
  });
});

describe("lineChart", () => {
  const pathOf = (svg: string): string =>
    named(readChart(svg), "path")
      .find(({ attributes }) => attributes.get("class")?.startsWith("mg-l"))
      ?.attributes.get("d") ?? "";
  const dots = (svg: string): string[] => named(readChart(svg), "circle").map(textOf);

  test("lifts its pen at gaps, and a value between two gaps is a dot", () => {
    const values = [1, 2, null, 3, Number.NaN, Infinity, 4, 5];
    expect(pathOf(lineChart({ title: "t", series: [{ name: "a", values }] })).replace(/[\d. -]+/g, "_")).toBe(
      "M_L_M_M_L_",
    );
    const long = [...new Array(50).fill(1), null, 7, null, ...new Array(50).fill(1)];
    expect(dots(lineChart({ title: "t", series: [{ name: "a", values: long }] }))).toEqual(["a: 7 at 51"]);
  });

  test("places values in order: higher ones above, later ones to the right, all of them inside", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 2, maxLength: 30 }),
        (values) => {
          const points = pathOf(lineChart({ title: "t", series: [{ name: "a", values }] }))
            .slice(1)
            .split("L")
            .map((point) => point.split(" ").map(Number));
          expect(points.length).toBe(values.length);
          points.forEach(([x, y], i) => {
            expect(x).toBeGreaterThanOrEqual(64);
            expect(x).toBeLessThanOrEqual(640);
            expect(y).toBeGreaterThanOrEqual(44);
            expect(y).toBeLessThanOrEqual(340);
            if (i === 0) return;
            expect(x).toBeGreaterThan(points[i - 1][0]);
            // Equal at worst: places are rounded to hundredths of a pixel.
            if (values[i] > values[i - 1]) expect(y).toBeLessThanOrEqual(points[i - 1][1]);
            if (values[i] < values[i - 1]) expect(y).toBeGreaterThanOrEqual(points[i - 1][1]);
          });
        },
      ),
      runs(0.3),
    );
  });

  test("values that differ by rounding only are a line in the middle, not a fall through the page", () => {
    const svg = lineChart({ title: "t", series: [{ name: "a", values: [0.3, 0.1 + 0.2] }] });
    const [[, from], [, to]] = pathOf(svg)
      .slice(1)
      .split("L")
      .map((point) => point.split(" ").map(Number));
    expect(from).toBeCloseTo(to, 1);
    expect(labels(svg)).toContain("0.3");
  });

  test("an empty chart, a single point and a chart of gaps have axes and a description", () => {
    const described = (values: (number | null)[]) =>
      textOf(
        readChart(lineChart({ title: "t", xLabel: "steps", series: [{ name: "loss", values }] }))
          .children[1] as Element,
      );
    expect(described([])).toBe("loss has no values; over steps.");
    expect(described([null, Number.NaN])).toBe("loss has no values; over steps.");
    expect(described([0.5])).toBe("loss goes from 0.5 to 0.5; over steps.");
    expect(described([null, 2, 1.23456])).toBe("loss goes from 2 to 1.2346; over steps.");
    expect(dots(lineChart({ title: "t", series: [{ name: "loss", values: [0.5] }] }))).toEqual(["loss: 0.5 at 0"]);
  });

  test("names each of several lines at its end", () => {
    const svg = lineChart({
      title: "t",
      series: [
        { name: "up", values: [0, 1] },
        { name: "down", values: [1, 0] },
      ],
    });
    expect(labels(svg).slice(-2)).toEqual(["up", "down"]);
    expect(labels(lineChart({ title: "t", series: [{ name: "up", values: [0, 1] }] }))).not.toContain("up");
  });

  const options = { title: "t", series: [{ name: "a", values: [1, 2] }] };
  const refused: [change: object, error: Error][] = [
    [
      { x: [1] },
      new RangeError("lineChart: series[0].values has 2 entries, expected 1 (one for each position of the axis)"),
    ],
    [{ x: [1, Number.NaN] }, new RangeError("lineChart: x[1] has NaN, expected a finite number")],
    [{ x: [-Infinity, 1] }, new RangeError("lineChart: x[0] has -Infinity, expected a finite number")],
    [{ x: [1, "2"] }, new TypeError('lineChart: x[1] has "2", expected a finite number')],
    [{ series: [] }, new RangeError("lineChart: series has no entry, expected at least one")],
    [
      { mark: { value: Infinity, label: "m" } },
      new RangeError("lineChart: mark.value has Infinity, expected a finite number"),
    ],
    [{ mark: 3 }, new TypeError("lineChart: mark has 3, expected { value, label } with a label to show")],
    [
      { height: 99.5 },
      new RangeError("lineChart: height has 99.5, expected an integer from 140 to 4000 (the labels need room)"),
    ],
    [
      { labels: [] },
      new TypeError(
        'lineChart: options has the name "labels", expected title, description, xLabel, yLabel, width, height, x, series, yMin, yMax, mark',
      ),
    ],
  ];
  test.each(refused)("refuses %o", (change, error) => {
    expect(() => lineChart({ ...options, ...change } as never)).toThrow(error);
  });
});

describe("heatMap", () => {
  const cells = (svg: string) => named(readChart(svg), "rect").filter(({ children }) => children.length > 0);
  const step = ({ attributes }: Element): number => Number(attributes.get("class")?.slice("mg-h".length));

  test.each(["none", "row", "column"] as const)(
    "normalize %s: the darkest cell is the most, and tooltips give counts and parts",
    (normalize) => {
      const tables = fc
        .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }))
        .chain(([R, C]) => listOf(listOf(fc.nat(9), C), R));
      fc.assert(
        fc.property(tables, (values) => {
          const [rows, cols] = [values.map((_, i) => `r${i}`), values[0].map((_, j) => `c${j}`)];
          const drawn = cells(heatMap({ title: "t", rows, cols, values, normalize }));
          const parts = values.flatMap((row, i) =>
            row.map((n, j) => {
              const whole = { none: 1, row: total(values[i]), column: total(values.map((other) => other[j])) }[
                normalize
              ];
              return whole > 0 ? n / whole : 0;
            }),
          );
          const most = Math.max(...parts);
          expect(drawn.map(step)).toEqual(
            parts.map((part) => Math.round((most > 0 ? part / most : 0) * (rampSteps - 1))),
          );
          expect(drawn.map(textOf)).toEqual(
            values.flatMap((row, i) =>
              row.map((n, j) => {
                const part = ` (${percent(parts[i * row.length + j])} of the ${normalize})`;
                return `r${i}, c${j}: ${n}${normalize === "none" ? "" : part}`;
              }),
            ),
          );
        }),
        runs(0.2),
      );
    },
  );

  test("cells do not overlap, and a break puts a gap before its column", () => {
    const options = {
      title: "t",
      rows: ["a", "b"],
      cols: ["x", "y", "z"],
      values: [
        [1, 2, 3],
        [4, 5, 6],
      ],
    };
    const lefts = (breaks: number[]) =>
      cells(heatMap({ ...options, breaks }))
        .slice(0, 3)
        .map(({ attributes }) => Number(attributes.get("x")));
    const [a, b, c] = lefts([]);
    expect([b - a, c - b].map(Math.round)).toEqual([58, 58]);
    const [d, e, f] = lefts([2]);
    expect([e - d, f - e].map(Math.round)).toEqual([58, 63]);
  });

  const options = { title: "t", rows: ["a"], cols: ["x", "y"], values: [[1, 2]] };
  const refused: [change: object, error: Error][] = [
    [{ values: [] }, new RangeError("heatMap: values has 0 rows, expected 1 (one for each name in rows)")],
    [{ values: [[1]] }, new RangeError("heatMap: values[0] has 1 entries, expected 2 (one for each name in cols)")],
    [{ values: [[1, -1]] }, new RangeError("heatMap: values[0][1] has -1, expected a finite number of at least 0")],
    [
      { values: [[Number.NaN, 1]] },
      new RangeError("heatMap: values[0][0] has NaN, expected a finite number of at least 0"),
    ],
    [
      { values: [[1, Infinity]] },
      new RangeError("heatMap: values[0][1] has Infinity, expected a finite number of at least 0"),
    ],
    [{ values: 3 }, new TypeError("heatMap: values has 3, expected a list of rows of numbers")],
    [{ values: [null] }, new TypeError("heatMap: values[0] has null, expected a row of numbers")],
    [{ rows: undefined }, new TypeError("heatMap: rows has undefined, expected a list of strings")],
    [{ cols: ["x", 1] }, new TypeError("heatMap: cols[1] has 1, expected a string")],
    [{ normalize: "rows" }, new RangeError('heatMap: normalize has "rows", expected "none", "row" or "column"')],
    [{ title: null }, new TypeError("heatMap: title has null, expected a string")],
    [
      { rowNames: [] },
      new TypeError(
        'heatMap: options has the name "rowNames", expected title, description, rows, cols, values, normalize, rowLabel, colLabel, breaks, width',
      ),
    ],
  ];
  test.each(refused)("refuses %o", (change, error) => {
    expect(() => heatMap({ ...options, ...change } as never)).toThrow(error);
  });
});

describe("as many parts as one likes, more than a call has room for", () => {
  const n = 7 * 20_000;
  const names = Array.from({ length: n }, (_, i) => String(i));
  const values = names.map((_, i) => i % 7);

  test.each([
    ["barChart", () => barChart({ title: "many", labels: names, series: [{ name: "a", values }] }), n - n / 7],
    ["histogram", () => histogram({ title: "many", counts: values }), n],
    // Its legend shows every step of the ramp.
    [
      "heatMap",
      () => heatMap({ title: "many", rows: names, cols: ["a"], values: values.map((v) => [v]) }),
      n + rampSteps,
    ],
  ])("%s", (_, draw, rects) => {
    expect(draw().match(/<rect/g)).toHaveLength(rects);
  });
});

describe("numbers for people", () => {
  test("ticks are round, even, about as many as asked for, and cover what they should", () => {
    const end = fc.oneof(
      fc.double({ min: -1e300, max: 1e300, noNaN: true }),
      fc.double({ min: -1, max: 1, noNaN: true }),
      fc.integer(),
    );
    fc.assert(
      fc.property(end, end, fc.integer({ min: 2, max: 9 }), (a, b, count) => {
        const [min, max] = [Math.min(a, b), Math.max(a, b)];
        const ticks = niceTicks(min, max, count);
        const step = ticks[1] - ticks[0];
        expect(ticks.length).toBeGreaterThanOrEqual(2);
        expect(ticks.length).toBeLessThanOrEqual(count + 2);
        expect(ticks[0]).toBeLessThanOrEqual(min + step * 1e-4);
        expect(ticks[ticks.length - 1]).toBeGreaterThanOrEqual(max - step * 1e-4);
        for (let i = 1; i < ticks.length; i++)
          expect(Math.abs((ticks[i] - ticks[i - 1]) / step - 1)).toBeLessThan(1e-2);
        expect(step.toExponential(1)).toMatch(/^([125]\.0|9\.9)e/);
      }),
    );
  });

  test.each([
    [0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [0, 100, 4, [0, 50, 100]],
    [-3, 7, 5, [-4, -2, 0, 2, 4, 6, 8]],
    [0, 0, 2, [0, 0.5, 1]],
    [5, 5, 2, [4.5, 5, 5.5]],
    [0.3, 0.1 + 0.2, 3, [0.25, 0.3, 0.35]],
  ])("niceTicks(%d, %d, %d)", (min, max, count, expected) => {
    expect(niceTicks(min, max, count)).toEqual(expected);
  });

  test.each([
    [0, "0"],
    [-0, "0"],
    [1234567, "1,234,567"],
    [-1234.5, "−1,234.5"],
    [0.125, "0.13"],
    [-0.001, "-1e-3"],
    [0.0049, "4.9e-3"],
    [1e7, "1e7"],
    [1.25e10, "1.3e10"],
    [999.999, "1,000"],
    [Number.NaN, "NaN"],
  ])("formatNumber(%d) is %s", (x, expected) => {
    expect(formatNumber(x)).toBe(expected);
  });

  test.each([
    [0, "0 %"],
    [1, "100 %"],
    [0.5, "50 %"],
    [0.0512, "5.1 %"],
    [0.1234, "12 %"],
    [0.0996, "10 %"],
    [0.0004, "< 0.1 %"],
  ])("percent(%d) is %s", (x, expected) => {
    expect(percent(x)).toBe(expected);
  });
});

describe("colours", () => {
  // 4.5 is what WCAG 2 asks of text, 3 of what is drawn.
  test.each(["light", "dark"] as const)("can be read on the %s page", (mode) => {
    const { page, panel, ink, soft } = inks[mode];
    for (const background of [page, panel]) {
      for (const text of [ink, soft, ...seriesColours[mode]])
        expect(contrast(text, background)).toBeGreaterThanOrEqual(4.5);
    }
    for (let step = 0; step < rampSteps; step++) {
      const colour = rampColour(mode, step);
      expect(contrast(textOn(colour), colour)).toBeGreaterThanOrEqual(4.5);
      // Lightness goes one way along the ramp.
      if (step > 0) expect(contrast(colour, page)).toBeGreaterThan(contrast(rampColour(mode, step - 1), page));
    }
  });

  test("leave the text of every expert readable", () => {
    for (const hue of expertHues) expect(contrast(expertInk, hue)).toBeGreaterThanOrEqual(4.5);
    expect(contrast("#000000", "#ffffff")).toBeCloseTo(21, 10);
    expect(contrast("#777777", "#777777")).toBe(1);
  });
});
