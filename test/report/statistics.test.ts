/** The report as data: every count against a naive one, over records by hand and over what real routers decide. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { topKRouter, zeros } from "../../src/index.ts";
import * as info from "../../src/report/index.ts";
import { type LabelSet, loadOf, type RoutingLike, type RoutingReport, routingReport } from "../../src/report/index.ts";
import { numbers } from "../arbitraries.ts";
import { context, inputsOf, named, routers, rowsOf, slotsOf } from "../routing/table.ts";
import {
  labelsFor,
  naiveEntropy,
  permutation,
  recordOf,
  runs,
  type Sheet,
  type Slot,
  sheetOfTable,
  sheets,
  topOne,
  total,
} from "./record.ts";

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Equal but for the rounding of sums of some ten terms that are at most ln 10 or so. */
function nearAll(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  // A NaN is off, too.
  const off = actual.flatMap((value, i) => (Math.abs(value - expected[i]) <= 1e-12 ? [] : [[i, value, expected[i]]]));
  expect(off).toEqual([]);
}
const near = (actual: number, expected: number): void => nearAll([actual], [expected]);

/** What a report must say of these slots, by counting. */
function counted(slots: readonly Slot[], T: number, E: number, mask?: readonly boolean[]) {
  const keptTokens = range(T).filter((t) => mask === undefined || mask[t]);
  const granted = slots.filter((slot) => slot.granted);
  const perToken = keptTokens.map((t) => granted.filter(({ token }) => token === t).length);
  const perExpert = (which: boolean) =>
    range(E).map((e) => slots.filter((slot) => slot.granted === which && slot.expert === e).length);
  const load = perExpert(true);
  const mean = granted.length / E;
  return {
    numTokens: T,
    numMasked: T - keptTokens.length,
    numExperts: E,
    asked: slots.length,
    granted: granted.length,
    dropped: slots.length - granted.length,
    dropRate: slots.length > 0 ? 1 - granted.length / slots.length : 0,
    load,
    droppedOfExpert: perExpert(false),
    maxOverMean: mean > 0 ? Math.max(...load) / mean : 1,
    loadCv: mean > 0 ? Math.sqrt(total(load.map((n) => n * n)) / E - mean ** 2) / mean : 0,
    deadExperts: range(E).filter((e) => load[e] === 0 || load[e] < mean / 100),
    loadEntropy: naiveEntropy(load),
    expertsPerToken: range(Math.max(0, ...perToken) + 1).map((k) => perToken.filter((n) => n === k).length),
    unservedRate: perToken.length > 0 ? perToken.filter((n) => n === 0).length / perToken.length : 0,
  };
}

/** Holds a report to the counts: integers equal, quotients to rounding. */
function agrees(report: RoutingReport, expected: ReturnType<typeof counted>): void {
  const { dropRate, maxOverMean, unservedRate, loadCv, loadEntropy, ...integers } = expected;
  expect(report).toMatchObject(integers);
  const { nats, bits, ofMax } = report.loadEntropy;
  const full = Math.log(expected.numExperts);
  nearAll(
    [report.dropRate, report.maxOverMean, report.maxViolation, report.unservedRate, nats, bits, ofMax],
    [
      ...[dropRate, maxOverMean, maxOverMean - 1, unservedRate],
      ...[loadEntropy, loadEntropy / Math.log(2), full > 0 ? loadEntropy / full : 1],
    ],
  );
  // The naive variance loses half of the digits where loads are nearly even.
  expect(Math.abs(report.loadCv - loadCv)).toBeLessThan(1e-6);
}

/** Routers of every kind: token choice with and without room for all, experts choosing, and chance in second choices. */
const kinds = routers.filter(({ name }) =>
  /^topKRouter k=(1|2 normalised|3), .*(0\.5|Infinity)$|^gshard|^expert|^switch.*training/.test(name),
);

describe.each(named(kinds))("%s", (_, c) => {
  test("is reported as counting its slots has it: load, drops, experts per token, unserved, importance", () => {
    fc.assert(
      fc.property(inputsOf(c), fc.nat(3), ({ T, E, logits, mask, kept }, shift) => {
        const routing = c.make(E)(logits, context(c, mask));
        const labels = { place: { of: range(T).map((t) => (t + shift) % 3) } };
        const report = routingReport(routing, { mask, labels });
        const slots = slotsOf(routing);
        agrees(report, counted(slots, T, E, mask));
        expect(report.load).toEqual(loadOf(routing));
        expect(Math.max(...report.load)).toBeLessThanOrEqual(routing.capacity);
        const received = (e: number, l: number) =>
          slots.filter((s) => s.granted && s.expert === e && (s.token + shift) % 3 === l).length;
        const names = report.labels.place.names;
        expect(report.labels.place.matrix).toEqual(range(E).map((e) => names.map((_, l) => received(e, l))));
        const probs = rowsOf(routing.probs);
        nearAll(
          report.importance ?? [],
          range(E).map((e) => total(kept.map((t) => probs[t][e]))),
        );
        const undecided = total(kept.map((t) => naiveEntropy(probs[t]))) / Math.max(1, kept.length);
        // Float32 probs add up to 1 to six digits or so.
        expect(total(report.importance ?? [])).toBeCloseTo(kept.length, 4);
        expect(report.routerEntropy?.nats).toBeCloseTo(undecided, 5);

        if (c.dropless) expect([report.dropped, report.dropRate]).toEqual([0, 0]);
        if (kept.length === 0) return;
        if (c.k === null) {
          expect(report).toMatchObject({ maxOverMean: 1, loadCv: 0, maxViolation: 0, deadExperts: [] });
          near(report.loadEntropy.ofMax, 1);
        } else if (c.dropless) {
          expect(report.expertsPerToken).toEqual([...new Array(c.k).fill(0), kept.length]);
          expect(report.unservedRate).toBe(0);
        }
      }),
      runs(0.2),
    );
  });
});

/** A sheet with labels for its tokens. */
const labelled = fc
  .integer({ min: 1, max: 5 })
  .chain((L) => sheets().chain((sheet) => fc.record({ sheet: fc.constant(sheet), of: labelsFor(sheet.T, L) })));

/** The figures of a label set that do not depend on how labels and experts are numbered. */
const figuresOf = (report: RoutingReport, name: string): number[] => {
  const { names: _, matrix: __, ...figures } = report.labels[name];
  return Object.values(figures);
};
/** The figures of a report that do not depend on how experts are numbered, or on labels. */
const balanceOf = ({ load: _, droppedOfExpert, importance, deadExperts, labels, ranked, ...rest }: RoutingReport) => [
  ...[rest.asked, rest.granted, rest.dropped, rest.dropRate, rest.maxOverMean, rest.loadCv, rest.maxViolation],
  ...[rest.loadEntropy.nats, rest.maxShare, rest.unservedRate, rest.routerEntropy?.nats ?? -1],
  ...[deadExperts.length, ranked.length, Object.keys(labels).length, ...rest.expertsPerToken],
  ...[total(importance ?? []), total(droppedOfExpert)],
];

describe("laws", () => {
  test("sums: loads to granted, asked = granted + dropped, histograms to the tokens and to granted, rows to loads", () => {
    fc.assert(
      fc.property(labelled, ({ sheet, of }) => {
        const report = routingReport(recordOf(sheet), { labels: { set: { of } } });
        agrees(report, counted(sheet.slots, sheet.T, sheet.E));
        expect(total(report.load)).toBe(report.granted);
        expect(total(report.droppedOfExpert)).toBe(report.dropped);
        expect(report.granted + report.dropped).toBe(report.asked);
        expect(total(report.expertsPerToken)).toBe(report.numTokens);
        expect(total(report.expertsPerToken.map((n, k) => n * k))).toBe(report.granted);
        const { matrix, names } = report.labels.set;
        expect(matrix.map(total)).toEqual(report.load);
        names.forEach((_, l) => {
          const slots = sheet.slots.filter(({ granted, token }) => granted && of[token] === l);
          expect(total(matrix.map((row) => row[l]))).toBe(slots.length);
        });
      }),
      runs(0.6),
    );
  });

  test("0 ≤ H(label | expert) ≤ H(label), and H(label) = H(label | expert) + I(expert; label)", () => {
    fc.assert(
      fc.property(labelled, ({ sheet, of }) => {
        const report = routingReport(recordOf(sheet), { labels: { set: { of } } });
        const set = report.labels.set;
        expect(set.dispatchEntropy).toBeGreaterThanOrEqual(0);
        expect(set.dispatchEntropy).toBeLessThanOrEqual(set.labelEntropy + 1e-12);
        near(set.labelEntropy, set.dispatchEntropy + set.mutualInformation);
        near(set.labelEntropy, naiveEntropy(range(5).map((l) => total(set.matrix.map((row) => row[l] ?? 0)))));
        near(set.dispatchEntropy, info.conditionalEntropy(set.matrix));
        near(set.mutualInformation, info.mutualInformation(set.matrix));
        near(set.purity, info.purity(set.matrix[0].map((_, l) => set.matrix.map((row) => row[l]))));
        near(set.normalizedMutualInformation, info.normalizedMutualInformation(set.matrix));
        const choice = report.loadEntropy.nats;
        near(set.share, choice > 0 ? set.mutualInformation / choice : 0);
        near(set.chance, choice > 0 ? Math.min(report.maxShare, info.chanceInformation(set.matrix) / choice) : 0);
      }),
      runs(0.6),
    );
  });

  test("no label accounts for more than a label of its own for every token does: that is maxShare", () => {
    fc.assert(
      fc.property(labelled, ({ sheet, of }) => {
        const labels = { set: { of }, token: { of: range(sheet.T) }, none: { of: of.map(() => 0) } };
        const report = routingReport(recordOf(sheet), { labels });
        near(report.labels.token.share, report.maxShare);
        expect(report.labels.set.share).toBeLessThanOrEqual(report.maxShare);
        expect(report.maxShare).toBeLessThanOrEqual(1);
        expect([report.labels.none.share, report.labels.none.chance]).toEqual([0, 0]);
      }),
      runs(0.6),
    );
  });

  test("with one expert a token, the expert as a label explains everything", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 1 }), (experts) => {
        const report = routingReport(recordOf(topOne(experts, 4)), { labels: { expert: { of: experts } } });
        const several = new Set(experts).size > 1;
        near(report.maxShare, several ? 1 : 0);
        near(report.labels.expert.share, several ? 1 : 0);
        expect(report.labels.expert).toMatchObject({ dispatchEntropy: 0, purity: 1 });
      }),
      runs(0.6),
    );
  });

  test("relabelling the experts permutes what is listed by expert, and nothing else", () => {
    const cases = labelled.chain(({ sheet, of }) => fc.tuple(fc.constant({ sheet, of }), permutation(sheet.E)));
    fc.assert(
      fc.property(cases, ([{ sheet, of }, to]) => {
        const { T, E, slots, probs } = sheet;
        const from = range(E).map((e) => to.indexOf(e));
        const moved = slots.map((slot) => ({ ...slot, expert: to[slot.expert] }));
        const record = recordOf({ T, E, slots: moved, probs: probs?.map((row) => from.map((e) => row[e])) });
        const before = routingReport(recordOf(sheet), { labels: { set: { of } } });
        const after = routingReport(record, { labels: { set: { of } } });
        nearAll(balanceOf(after), balanceOf(before));
        nearAll(figuresOf(after, "set"), figuresOf(before, "set"));
        for (const name of ["load", "droppedOfExpert"] as const) {
          expect(after[name]).toEqual(from.map((e) => before[name][e]));
        }
        expect(after.deadExperts).toEqual(before.deadExperts.map((e) => to[e]).sort((a, b) => a - b));
        expect(after.labels.set.matrix).toEqual(from.map((e) => before.labels.set.matrix[e]));
        nearAll(after.importance ?? [], before.importance ? from.map((e) => before.importance?.[e] as number) : []);
      }),
      runs(0.6),
    );
  });

  test("renaming the labels permutes the columns, and nothing else", () => {
    fc.assert(
      fc.property(
        sheets().chain((sheet) => fc.tuple(fc.constant(sheet), labelsFor(sheet.T, 4), permutation(4))),
        ([sheet, of, to]) => {
          const names = ["a", "b", "c", "d"];
          const record = recordOf(sheet);
          const before = routingReport(record, { labels: { set: { of, names } } });
          const after = routingReport(record, { labels: { set: { of: of.map((l) => to[l]), names } } });
          nearAll(balanceOf(after), balanceOf(before));
          nearAll(figuresOf(after, "set"), figuresOf(before, "set"));
          const columns = names.map((_, l) => to.indexOf(l));
          expect(after.labels.set.matrix).toEqual(before.labels.set.matrix.map((row) => columns.map((l) => row[l])));
        },
      ),
      runs(0.6),
    );
  });

  test("several batches are reported as one", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }).chain((E) => fc.tuple(sheets(fc.constant(E), 6), sheets(fc.constant(E), 6))),
        fc.array(fc.nat(3), { minLength: 12, maxLength: 12 }),
        ([a, b], drawn) => {
          const T = a.T + b.T;
          const slots = [...a.slots, ...b.slots.map((slot) => ({ ...slot, token: slot.token + a.T }))];
          const probs = a.probs && b.probs ? [...a.probs, ...b.probs] : undefined;
          const labels = { set: { of: drawn.slice(0, T) } };
          const together = routingReport([recordOf(a), recordOf(b)], { labels });
          const whole = routingReport(recordOf({ T, E: a.E, slots, probs }), { labels });
          agrees(together, counted(slots, T, a.E));
          expect(together.labels.set.matrix).toEqual(whole.labels.set.matrix);
          nearAll(balanceOf(together), balanceOf(whole));
          nearAll(figuresOf(together, "set"), figuresOf(whole, "set"));
        },
      ),
      runs(0.6),
    );
  });

  test("masked tokens count in numMasked and nowhere else, and their labels are not read", () => {
    const cases = labelled.chain(({ sheet, of }) =>
      fc.tuple(fc.constant({ sheet, of }), fc.array(fc.nat(sheet.T), { maxLength: 4 })),
    );
    fc.assert(
      fc.property(cases, ([{ sheet, of }, places]) => {
        const padding = { kept: false, of: Number.NaN };
        const tokens = of.map((label) => ({ kept: true, of: label }));
        for (const place of [...places].sort((a, b) => b - a)) tokens.splice(place, 0, padding);
        const where = tokens.flatMap(({ kept }, t) => (kept ? [t] : []));
        const slots = sheet.slots.map((slot) => ({ ...slot, token: where[slot.token] }));
        const probs =
          sheet.probs && tokens.map((_, t) => sheet.probs?.[where.indexOf(t)] ?? new Array(sheet.E).fill(0.5));
        const padded = recordOf({ T: tokens.length, E: sheet.E, slots, probs });
        const plain = routingReport(recordOf(sheet), { labels: { set: { of } } });
        for (const mask of [tokens.map(({ kept }) => kept), Uint8Array.from(tokens, ({ kept }) => Number(kept))]) {
          const report = routingReport(padded, { mask, labels: { set: { of: tokens.map((token) => token.of) } } });
          expect(report).toEqual({ ...plain, numTokens: tokens.length, numMasked: places.length });
        }
      }),
      runs(0.6),
    );
  });

  test("the order of tokens within a batch does not matter", () => {
    const cases = labelled.chain(({ sheet, of }) => fc.tuple(fc.constant({ sheet, of }), permutation(sheet.T)));
    fc.assert(
      fc.property(cases, ([{ sheet, of }, to]) => {
        const slots = sheet.slots.map((slot) => ({ ...slot, token: to[slot.token] }));
        const moved: Sheet = {
          ...sheet,
          slots,
          probs: sheet.probs && to.map((_, t) => sheet.probs?.[to.indexOf(t)] ?? []),
        };
        const before = routingReport(recordOf(sheet), { labels: { set: { of } } });
        const names = before.labels.set.names;
        const after = routingReport(recordOf(moved), {
          labels: { set: { of: to.map((_, t) => of[to.indexOf(t)]), names } },
        });
        nearAll(balanceOf(after), balanceOf(before));
        expect([after.load, after.expertsPerToken]).toEqual([before.load, before.expertsPerToken]);
        expect(after.labels.set.matrix).toEqual(before.labels.set.matrix);
      }),
      runs(0.6),
    );
  });

  test("a report is plain data: it comes back from JSON as it was", () => {
    fc.assert(
      fc.property(labelled, ({ sheet, of }) => {
        const report = routingReport(recordOf(sheet), { labels: { set: { of } } });
        expect(JSON.parse(JSON.stringify(report))).toEqual(report);
      }),
      runs(0.6),
    );
  });

  test("sets are ranked by share less chance, ties in the order in which they came", () => {
    fc.assert(
      fc.property(labelled, ({ sheet, of }) => {
        const labels = { token: { of: range(sheet.T) }, set: { of }, again: { of }, none: { of: of.map(() => 0) } };
        const { ranked, labels: sets } = routingReport(recordOf(sheet), { labels });
        const above = ranked.map((name) => sets[name].share - sets[name].chance);
        expect([...ranked].sort()).toEqual(Object.keys(labels).sort());
        for (let i = 1; i < above.length; i++) expect(above[i]).toBeLessThanOrEqual(above[i - 1]);
        expect(ranked.indexOf("again")).toBeGreaterThan(ranked.indexOf("set"));
      }),
      runs(0.6),
    );
  });
});

describe("values", () => {
  test.each([
    [
      "setting 2, nonlinear",
      0.377557,
      [
        [6, 1, 2074, 0, 78, 1983, 0, 1],
        [7, 1, 0, 0, 2328, 1561, 0, 0],
        [3558, 2, 6, 0, 44, 452, 0, 0],
        [7, 3539, 13, 0, 84, 255, 0, 0],
      ],
    ],
    [
      "setting 1, linear",
      1.313949,
      [
        [1, 0, 1968, 0, 516, 0, 3, 1547],
        [0, 0, 1051, 0, 1092, 0, 0, 1856],
        [10, 0, 1292, 0, 1234, 0, 404, 1066],
        [137, 0, 1278, 0, 1116, 0, 338, 1091],
      ],
    ],
  ])("the published dispatch entropy of %s comes out of sixteen thousand tokens", (_, expected, table) => {
    const { T, E, slots } = sheetOfTable(table).sheet;
    const { labelOf } = sheetOfTable(table);
    // Sorting by expert alone: recordOf looks every slot up, which takes too long for so many.
    const order = range(T).sort((a, b) => slots[a].expert - slots[b].expert);
    const place = new Int32Array(T);
    order.forEach((t, s) => {
      place[t] = s;
    });
    const ends = table[0].map((__, e) => total(table.flatMap((row) => row.slice(0, e + 1))));
    const report = routingReport(
      {
        ...{ numTokens: T, numExperts: E, numSlots: T, slotsOfToken: { data: place } },
        tokenOfSlot: { data: order },
        expertOfSlot: { data: order.map((t) => slots[t].expert) },
        ...{ offsets: { data: [0, ...ends] }, tokenOffsets: { data: range(T + 1) } },
      },
      { labels: { cluster: { of: labelOf, names: ["0", "1", "2", "3"] } } },
    );
    expect(report.labels.cluster.dispatchEntropy).toBeCloseTo(expected, 6);
    expect(report.labels.cluster.matrix).toEqual(table[0].map((__, e) => table.map((row) => row[e])));
    expect(report.deadExperts).toEqual(range(8).filter((e) => total(table.map((row) => row[e])) < 20));
  });

  test("MaxVio, CV and the entropy of a load of 4, 2, 2, 0", () => {
    const report = routingReport(recordOf(topOne([0, 0, 0, 0, 1, 1, 2, 2], 4)));
    expect(report).toMatchObject({ maxOverMean: 2, maxViolation: 1, deadExperts: [3] });
    expect(report.loadCv).toBeCloseTo(Math.SQRT1_2, 15);
    expect(report.loadEntropy.bits).toBeCloseTo(1.5, 15);
    expect(report.loadEntropy.ofMax).toBeCloseTo(0.75, 15);
  });

  test("what tells a token's own experts apart is out of reach of labels, and of chance", () => {
    const twice = (...experts: number[]): Slot[] =>
      [0, 1].flatMap((token) => experts.map((expert) => ({ token, expert, granted: true })));
    const own = { set: { of: [0, 1] } };
    const same = routingReport(recordOf({ T: 2, E: 2, slots: twice(0, 1) }), { labels: own });
    expect(same.maxShare).toBe(0);
    expect(same.labels.set).toMatchObject({ share: 0, chance: 0 });
    // A token that has one expert twice is no less decided.
    const [a, b] = [twice(0, 0).filter(({ token }) => token === 0), twice(1, 1).filter(({ token }) => token === 1)];
    const repeated = routingReport(recordOf({ T: 2, E: 2, slots: [...a, ...b] }), { labels: own });
    expect(repeated.maxShare).toBe(1);
    expect(repeated.labels.set.share).toBe(1);
  });

  test("an expert is dead below 1 % of the mean", () => {
    // 2 experts, mean 100: 1 is 1 %, and 0.5 below.
    const loads = (a: number, b: number) => topOne([...new Array(a).fill(0), ...new Array(b).fill(1)], 2);
    expect(routingReport(recordOf(loads(199, 1))).deadExperts).toEqual([]);
    expect(routingReport(recordOf(loads(201, 1))).deadExperts).toEqual([1]);
  });

  test("where nothing is granted every expert is dead, and nothing is infinite or not a number", () => {
    const slots = range(3).map((token) => ({ token, expert: 1, granted: false }));
    const report = routingReport(recordOf({ T: 3, E: 2, slots }), { labels: { set: { of: [0, 1, 1] } } });
    expect(report).toMatchObject({
      granted: 0,
      dropped: 3,
      dropRate: 1,
      deadExperts: [0, 1],
      maxOverMean: 1,
      loadCv: 0,
    });
    expect(report).toMatchObject({ unservedRate: 1, expertsPerToken: [3], maxShare: 0 });
    expect(report.labels.set).toMatchObject({ share: 0, chance: 0, purity: 0, labelEntropy: 0, dispatchEntropy: 0 });
  });

  test("a batch without tokens has a report", () => {
    const report = routingReport(topKRouter({ k: 1 })(zeros([0, 3])), { labels: { set: { of: [] } } });
    expect(report).toMatchObject({ numTokens: 0, asked: 0, dropRate: 0, unservedRate: 0, expertsPerToken: [0] });
    expect(report.labels.set).toMatchObject({ names: [], matrix: [[], [], []], share: 0 });
  });

  test("without probs in every batch there is neither importance nor router entropy", () => {
    const [with_, without] = [topOne([0, 1], 2), topOne([1], 2)].map(recordOf);
    const known = { ...with_, probs: { data: [1, 0, 0.5, 0.5] } };
    expect(routingReport(known)).toMatchObject({ importance: [1.5, 0.5], routerEntropy: { bits: 0.5, ofMax: 0.5 } });
    expect(routingReport([known, without])).toMatchObject({ importance: null, routerEntropy: null });
    expect(routingReport({ ...without, probs: null })).toMatchObject({ importance: null, routerEntropy: null });
  });

  test("names stand for ids, those that no token has too", () => {
    const record = recordOf(topOne([0, 1], 2));
    const named = routingReport(record, { labels: { set: { of: Uint8Array.of(2, 0), names: ["a", "b", "c"] } } });
    expect(named.labels.set).toMatchObject({
      names: ["a", "b", "c"],
      matrix: [
        [0, 0, 1],
        [1, 0, 0],
      ],
    });
    const unnamed = routingReport(record, { labels: { set: { of: [2, 0] } } });
    expect(unnamed.labels.set).toMatchObject({ names: ["0", "1", "2"] });
  });

  test("a set may be called as it likes", () => {
    const labels = Object.fromEntries(["__proto__", "constructor", "7", ""].map((name) => [name, { of: [0, 1] }]));
    const report = routingReport(recordOf(topOne([0, 1], 2)), { labels });
    expect([...report.ranked].sort()).toEqual(["", "7", "__proto__", "constructor"]);
    for (const name of report.ranked) expect(Object.entries(report.labels)).toContainEqual([name, report.labels[""]]);
  });
});

describe("refusals", () => {
  const record = recordOf(topOne([0, 1, 1], 2));
  const one = (set: unknown) => () => routingReport(record, { labels: { "a set": set as LabelSet } });

  test("labels of another length or kind", () => {
    expect(one({ of: [0, 1] })).toThrow(
      new RangeError('routingReport: labels["a set"] has 2 labels, expected 3 (one for every token of all routings)'),
    );
    expect(one({ of: [0, 1, 0, 1] })).toThrow(
      new RangeError('routingReport: labels["a set"] has 4 labels, expected 3 (one for every token of all routings)'),
    );
    for (const [set, shown] of [
      [undefined, "undefined"],
      [[0, 1, 0], "[0, 1, 0]"],
      [{ of: "abc" }, "a Object"],
      [{}, "a Object"],
    ]) {
      expect(one(set)).toThrow(
        new TypeError(
          `routingReport: labels["a set"] has ${shown}, expected { of, names? } with a label id for every token`,
        ),
      );
    }
    expect(() => routingReport(record, { labels: 3 as never })).toThrow(
      new TypeError("routingReport: labels has 3, expected label sets by name"),
    );
  });

  test("label ids that are fractional, negative, not numbers, or without a name", () => {
    for (const id of [0.5, -1, Number.NaN, Infinity]) {
      expect(one({ of: [0, id, 0] })).toThrow(
        new RangeError(`routingReport: labels["a set"].of[1] has ${id}, expected an integer of at least 0`),
      );
      expect(one({ of: [0, 1, id], names: ["x", "y"] })).toThrow(
        new RangeError(
          `routingReport: labels["a set"].of[2] has ${id}, expected an integer from 0 to 1 (there are 2 names)`,
        ),
      );
    }
    expect(one({ of: [0, 2, 0], names: ["x", "y"] })).toThrow(
      new RangeError('routingReport: labels["a set"].of[1] has 2, expected an integer from 0 to 1 (there are 2 names)'),
    );
    expect(one({ of: ["0", 1, 0] })).toThrow(
      new TypeError(
        'routingReport: labels["a set"].of[0] has "0", expected a label id (an integer that counts from 0)',
      ),
    );
  });

  test("routings of different layers, none, or something else", () => {
    expect(() => routingReport([record, recordOf(topOne([0], 3))])).toThrow(
      new RangeError(
        "routingReport: routings[1] has 3 experts, expected 2 (a report is about one layer: the experts of two layers have nothing to do with each other)",
      ),
    );
    expect(() => routingReport([])).toThrow(
      new RangeError("routingReport: routings has no entry, expected at least one routing"),
    );
    expect(() => routingReport(undefined as never)).toThrow(
      new TypeError("routingReport: routing has undefined, expected a routing"),
    );
    expect(() => routingReport([record, null as never])).toThrow(
      new TypeError("routingReport: routings[1] has null, expected a routing"),
    );
  });

  const broken: [part: Partial<Record<keyof RoutingLike, unknown>>, error: Error][] = [
    [{ numExperts: 0 }, new RangeError("routingReport: routing.numExperts has 0, expected an integer of at least 1")],
    [{ numTokens: 1.5 }, new RangeError("routingReport: routing.numTokens has 1.5, expected an integer of at least 0")],
    [{ numSlots: "3" }, new TypeError('routingReport: routing.numSlots has "3", expected an integer of at least 0')],
    [{ tokenOfSlot: { data: [0, 1] } }, new RangeError("routingReport: routing.tokenOfSlot has 2 entries, expected 3")],
    [{ offsets: { data: [0, 1] } }, new RangeError("routingReport: routing.offsets has 2 entries, expected 3")],
    [
      { tokenOffsets: undefined },
      new TypeError("routingReport: routing.tokenOffsets has undefined, expected a tensor on the host"),
    ],
    [
      { slotsOfToken: [0, 1, 2] },
      new TypeError("routingReport: routing.slotsOfToken has [0, 1, 2], expected a tensor on the host"),
    ],
    [{ probs: { data: [1, 0] } }, new RangeError("routingReport: routing.probs has 2 entries, expected 6")],
  ];
  test.each(broken)("a record with %o", (part, error) => {
    expect(() => routingReport({ ...record, ...part } as RoutingLike)).toThrow(error);
  });

  test("masks of another length or kind, and those that leave out a token that was routed", () => {
    const masked = (mask: unknown) => () => routingReport(record, { mask: mask as boolean[] });
    expect(masked([true, true])).toThrow(
      new RangeError("routingReport: mask has 2 entries, expected 3 (one for every token of all routings)"),
    );
    expect(masked([true, false, true])).toThrow(
      new RangeError("routingReport: mask[1] has false, expected true (this token asked for 1 slots)"),
    );
    expect(masked(true)).toThrow(new TypeError("routingReport: mask has true, expected one boolean for every token"));
    expect(masked([[true], [false], [true]])).toThrow(
      new TypeError("routingReport: mask[0] has [true], expected true or false"),
    );
    expect(masked("yes")).toThrow(new TypeError('routingReport: mask[0] has "y", expected true or false'));
  });

  test("unknown options", () => {
    expect(() => routingReport(record, { label: {} } as object)).toThrow(
      new TypeError('routingReport: options has the name "label", expected labels, mask'),
    );
    expect(() => routingReport(record, null as never)).toThrow(
      new TypeError("routingReport: options has null, expected an object with labels, mask"),
    );
  });
});

test("loadOf is the load alone, of a real routing too", () => {
  const routing = topKRouter({ k: 1 })(zeros([5, 3]));
  expect(loadOf(routing)).toEqual([5, 0, 0]);
  expect(numbers(routing.offsets)).toEqual([0, 5, 5, 5]);
});
