/** The collapse alarm: what it measures, when it speaks, when it stops, and that it is silent where nothing happens. */
import { describe, expect, test } from "vitest";
import { expertChoiceRouter, Generator, randn, tensor, topKRouter } from "../../src/index.ts";
import { CollapseAlarm, type CollapseStatus } from "../../src/report/index.ts";

/** What an alarm says of the same loads, again and again. */
function watch(alarm: CollapseAlarm, loads: readonly (readonly number[])[]): CollapseStatus[] {
  return loads.map((load) => alarm.update(load));
}

const steps = (n: number, load: (step: number) => number[]): number[][] => Array.from({ length: n }, (_, i) => load(i));
const statesOf = (list: readonly CollapseStatus[]): string[] =>
  list.filter(({ changed }) => changed).map(({ state }) => state);

describe("the numbers", () => {
  test("are those of the pooled loads", () => {
    const alarm = new CollapseAlarm({ window: 4 });
    const first = alarm.update([4, 4, 0, 0]);
    expect(first).toEqual({
      ...{ steps: 1, state: "ok", changed: false, trend: null, projected: null },
      ...{ effectiveExperts: 2, evenness: expect.closeTo(1 / 3, 12), maxOverMean: 2, deadShare: 0.5 },
    });
    const second = alarm.update([0, 0, 4, 4]);
    expect(second).toMatchObject({ steps: 2, maxOverMean: 1, deadShare: 0 });
    expect(second.effectiveExperts).toBeCloseTo(4, 12);
    expect(second.evenness).toBeCloseTo(1, 12);
  });

  test("forget what is older than the window", () => {
    const alarm = new CollapseAlarm({ window: 4 });
    watch(
      alarm,
      steps(4, () => [9, 0, 0]),
    );
    const last = watch(
      alarm,
      steps(4, () => [3, 3, 3]),
    ).at(-1);
    expect(last?.effectiveExperts).toBeCloseTo(3, 12);
  });

  test("of a line are its slope, and where it leads", () => {
    // Two experts, one of whose shares falls so that the evenness does so by 0.01 a step.
    const shareOf = (evenness: number): number => {
      let [low, high] = [0, 0.5];
      for (let i = 0; i < 60; i++) {
        const q = (low + high) / 2;
        const effective = Math.exp(-q * Math.log(q) - (1 - q) * Math.log(1 - q));
        if (effective - 1 < evenness) low = q;
        else high = q;
      }
      return low;
    };
    const alarm = new CollapseAlarm({ window: 5, horizon: 10, low: 0, high: 0 });
    const list = watch(
      alarm,
      steps(5, (i) => [1e9 * shareOf(0.9 - i / 100), 1e9 * (1 - shareOf(0.9 - i / 100))]),
    );
    expect(list[4].trend).toBeCloseTo(-0.01, 9);
    expect(list[4].projected).toBeCloseTo(0.86 - 0.1, 8);
  });

  test("with k experts a token go from 0 to 1 between k and E", () => {
    const alarm = new CollapseAlarm({ k: 2, window: 4 });
    expect(alarm.update([5, 5, 0, 0]).evenness).toBeCloseTo(0, 12);
    expect(new CollapseAlarm({ k: 2 }).update([5, 5, 5, 5]).evenness).toBeCloseTo(1, 12);
  });
});

describe("the alarm", () => {
  test("says that a load is falling before it has collapsed, then that it has", () => {
    const alarm = new CollapseAlarm();
    // Seven of eight experts lose their shares by and by.
    const list = watch(
      alarm,
      steps(200, (i) => [1000, ...new Array<number>(7).fill(1000 * 0.97 ** i)]),
    );
    expect(statesOf(list)).toEqual(["falling", "collapsed"]);
    const falling = list.find(({ changed }) => changed) as CollapseStatus;
    expect(falling.evenness).toBeGreaterThan(0.4);
    const collapsed = list.find(({ state }) => state === "collapsed") as CollapseStatus;
    expect(collapsed.evenness).toBeLessThan(0.25);
  });

  test("ends above the higher mark only, and does not flicker between the two", () => {
    const alarm = new CollapseAlarm({ window: 4, patience: 2 });
    // Evenness of [1, …] beside seven of r: below 0.25, between the marks, above 0.4.
    const beside = (r: number) => [1, ...new Array<number>(7).fill(r)];
    const evenness = (r: number) => new CollapseAlarm().update(beside(r)).evenness;
    expect([evenness(0.02), evenness(0.06), evenness(0.2)]).toEqual([
      expect.toSatisfy((x: number) => x < 0.25),
      expect.toSatisfy((x: number) => x > 0.25 && x < 0.4),
      expect.toSatisfy((x: number) => x > 0.4),
    ]);
    const list = watch(alarm, [
      ...steps(10, () => beside(0.02)),
      ...steps(10, () => beside(0.06)),
      ...steps(10, () => beside(0.02)),
      ...steps(10, () => beside(0.2)),
      ...steps(10, () => beside(0.06)),
    ]);
    expect(statesOf(list)).toEqual(["collapsed", "ok"]);
  });

  test("waits until a state has held for its patience", () => {
    const collapsedAfter = (patience: number): number => {
      const list = watch(
        new CollapseAlarm({ window: 4, patience }),
        steps(30, () => [1, 0, 0]),
      );
      return list.findIndex(({ state }) => state === "collapsed");
    };
    expect([1, 2, 9].map(collapsedAfter)).toEqual([3, 4, 11]);
  });

  test("is silent on even loads and on skewed ones that stay as they are, however noisy", () => {
    const rng = new Generator(3);
    for (const weights of [
      [1, 1, 1, 1, 1, 1, 1, 1],
      [8, 4, 4, 2, 2, 1, 1, 1],
    ]) {
      const total = weights.reduce((a, b) => a + b, 0);
      const draw = (): number => {
        let left = rng.integer(total);
        let e = 0;
        while (left >= weights[e]) left -= weights[e++];
        return e;
      };
      const alarm = new CollapseAlarm();
      const list = watch(
        alarm,
        steps(1000, () => {
          const load = new Array<number>(8).fill(0);
          for (let s = 0; s < 64; s++) load[draw()]++;
          return load;
        }),
      );
      expect(statesOf(list)).toEqual([]);
    }
  });

  test("passes over steps without a slot", () => {
    const alarm = new CollapseAlarm({ window: 4 });
    alarm.update([1, 1]);
    expect(alarm.update([0, 0])).toMatchObject({ steps: 1, state: "ok", changed: false });
    expect(new CollapseAlarm().update([0, 0])).toMatchObject({ steps: 0, deadShare: 0 });
  });
});

describe("a routing", () => {
  const everyToOne = tensor(Array.from({ length: 8 }, () => [5, 0, 0, 0]));

  test("counts what was asked for: a capacity hides no collapse", () => {
    const routing = topKRouter({ k: 1, capacityFactor: 1 })(everyToOne);
    expect(routing.offsets.toArray()).toEqual([0, 2, 2, 2, 2]);
    expect(new CollapseAlarm().update(routing).maxOverMean).toBe(4);
    const list = Array.from({ length: 20 }, () => routing).map((r, i, all) => (i === 0 ? all : [r]));
    const alarm = new CollapseAlarm({ window: 4 });
    expect(list.map((part) => alarm.update(part).state).at(-1)).toBe("collapsed");
  });

  test("of several parts is one step, and of expert choice is even", () => {
    const rng = new Generator(1);
    const parts = [randn([6, 4], { rng }), randn([6, 4], { rng })].map((x) => topKRouter({ k: 1 })(x));
    const load = [0, 1, 2, 3].map((e) => parts.flatMap((r) => [...r.expertOfSlot.data]).filter((x) => x === e).length);
    expect(new CollapseAlarm().update(parts)).toEqual(new CollapseAlarm().update(load));
    const even = new CollapseAlarm().update(expertChoiceRouter({ capacityFactor: 1 })(everyToOne));
    expect(even.evenness).toBeCloseTo(1, 12);
  });
});

describe("refuses", () => {
  test.each<[string, object, string]>([
    ["unknown settings", { size: 3 }, 'options has the name "size"'],
    ["k below 1", { k: 0 }, "k has 0, expected a number of at least 1"],
    ["a window of 3", { window: 3 }, "window has 3, expected an integer from 4"],
    ["a negative horizon", { horizon: -1 }, "horizon has -1"],
    ["a low mark above 1", { low: 2 }, "low has 2"],
    ["a high mark below the low one", { low: 0.5, high: 0.4 }, "high has 0.4, expected a number from low = 0.5 to 1"],
    ["no patience", { patience: 0 }, "patience has 0"],
  ])("%s", (_, options, message) => {
    expect(() => new CollapseAlarm(options)).toThrow(message);
  });

  test.each<[string, unknown, string]>([
    ["negative loads", [1, -1], "load[1] has -1, expected a number of at least 0"],
    ["loads that are no numbers", ["1", 2], 'load[0] has "1"'],
    ["null", null, "the step has null, expected a routing, or loads"],
    ["a text", "12", 'the step has "12"'],
    ["one expert", [3], "the step has 1 experts, expected more than k = 1"],
    ["no loads", [], "the step has 0 experts"],
  ])("%s", (_, step, message) => {
    expect(() => new CollapseAlarm().update(step as number[])).toThrow(message);
  });

  test("other experts than before", () => {
    const alarm = new CollapseAlarm();
    alarm.update([1, 2]);
    expect(() => alarm.update([1, 2, 3])).toThrow("the step has 3 experts, expected 2");
  });
});
