/** How laws are tried: which, how often, from which seed; how they are reported, and how a report is replayed. */
import { describe, expect, test } from "vitest";
import { type Router, topKRouter } from "../../src/index.ts";
import { checkRouter, type LawResult, lawsTable, routerLaws } from "../../src/laws/index.ts";
import { essenceOf, replayOf } from "./caught.ts";

const right = topKRouter();

/** Says of a capacity that it does not keep, and turns its gates round. */
const wrong: Router = (logits, ctx) => {
  const routing = right(logits, ctx);
  return { ...routing, capacity: 1, gate: routing.gate.neg() };
};

const quiet = { numRuns: 30, seed: 7, raiseException: false } as const;

const messageOf = (results: readonly LawResult[]): string => results.map((r) => r.message).join("");

describe("a replay", () => {
  const [found] = checkRouter(wrong, { ...quiet, only: ["capacity"] });
  const { seed, path } = replayOf(found.message);

  test("goes to the same case at once", () => {
    const [again] = checkRouter(wrong, { seed, path, only: ["capacity"], raiseException: false });
    expect(again.runs).toBe(1);
    expect(again.message).toContain("(0 times made smaller)");
    expect(essenceOf(again.message)).toBe(essenceOf(found.message));
  });

  test("holds once the fault is mended", () => {
    const [mended] = checkRouter(right, { seed, path, only: ["capacity"] });
    expect(mended).toMatchObject({ ok: true, message: "" });
  });

  test("needs the seed and the one law of its path", () => {
    expect(() => checkRouter(wrong, { path, only: ["capacity"] })).toThrow(
      new RangeError(
        "checkRouter: path has no seed, expected the seed that was printed with it (a path leads to one case of one law)",
      ),
    );
    expect(() => checkRouter(wrong, { seed, path })).toThrow(
      new RangeError(
        `checkRouter: path has ${routerLaws.length} laws, expected one in only (a path leads to one case of one law)`,
      ),
    );
    expect(() => checkRouter(wrong, { seed, path: 3 as never, only: ["capacity"] })).toThrow(
      new TypeError("checkRouter: path has 3, expected a text (as a report prints it)"),
    );
  });

  test("the same seed finds the same case, another one another", () => {
    const find = (seed: number): string => checkRouter(wrong, { ...quiet, seed, only: ["capacity"] })[0].message;
    expect(find(7)).toBe(found.message);
    expect(replayOf(find(8)).seed).toBe(8);
  });
});

describe("which laws are tried", () => {
  test("all, in order of reading", () => {
    const names = checkRouter(right, { numRuns: 1 }).map((result) => result.law);
    expect(names).toEqual(routerLaws.map((law) => law.name));
    expect(new Set(names).size).toBe(names.length);
  });

  test("only those that are named", () => {
    const names = checkRouter(right, { numRuns: 2, only: ["shift", "capacity"] }).map((result) => result.law);
    expect(names).toEqual(["capacity", "shift"]);
  });

  test("all except those that are named", () => {
    const names = checkRouter(right, { numRuns: 2, except: ["capacity"] }).map((result) => result.law);
    expect(names).toEqual(routerLaws.map((law) => law.name).filter((name) => name !== "capacity"));
  });

  test.each(["only", "except"])("names in %s that no law has are refused", (option) => {
    expect(() => checkRouter(right, { [option]: ["shift", "capacty"] })).toThrow(RangeError);
    expect(() => checkRouter(right, { [option]: ["capacty"] })).toThrow(
      `checkRouter: ${option} has "capacty", expected`,
    );
    expect(() => checkRouter(right, { [option]: "capacity" as never })).toThrow(
      new TypeError(`checkRouter: ${option} has "capacity", expected a list of names of laws`),
    );
  });

  test("none at all is refused", () => {
    const message = "checkRouter: only has no law, expected at least one";
    expect(() => checkRouter(right, { only: [] })).toThrow(new RangeError(message));
    expect(() => checkRouter(right, { except: routerLaws.map((law) => law.name) })).toThrow(message);
  });
});

describe("broken laws", () => {
  const some = { ...quiet, only: ["conservation", "order", "capacity", "finite gates"] };

  test("throw one error with the reports of all", () => {
    const { raiseException: _, ...loud } = some;
    const results = checkRouter(wrong, some);
    const broken = results.filter((result) => !result.ok);
    expect(broken.map((result) => result.law)).toEqual(["capacity", "finite gates"]);
    expect(() => checkRouter(wrong, loud)).toThrow(
      new Error(
        `checkRouter: ${broken.length} of ${results.length} laws are broken\n\n${broken.map((r) => r.message).join("\n\n")}`,
      ),
    );
  });

  test("are given back when raiseException is false, the others with no message", () => {
    for (const result of checkRouter(wrong, some)) {
      const { name, statement, formula, source } = routerLaws.find((law) => law.name === result.law) ?? routerLaws[0];
      expect(result).toMatchObject({ law: name, statement, formula, source });
      expect(result.message === "").toBe(result.ok);
      expect(result.runs).toBeGreaterThan(0);
      if (result.ok) expect(result.runs).toBe(quiet.numRuns);
    }
  });

  test("say what a router threw, and that it cannot be drawn", () => {
    const failing = (thrown: unknown): Router => {
      return () => {
        throw thrown;
      };
    };
    const report = (thrown: unknown): string =>
      messageOf(checkRouter(failing(thrown), { ...quiet, only: ["capacity"] }));
    expect(report(new Error("no experts today"))).toContain(
      "  no picture: no experts today\n  no experts today\nReplay",
    );
    expect(report("a text")).toContain('  no picture: "a text" was thrown\n  "a text" was thrown\nReplay');
  });
});

test("the table tells what holds from what does not", () => {
  const table = lawsTable(checkRouter(wrong, { ...quiet, only: ["capacity", "conservation"] })).split("\n");
  expect(table).toHaveLength(2);
  expect(table[0]).toMatch(/^holds {3}conservation +30 cases {2}Every slot that was asked for/);
  expect(table[1]).toMatch(/^BROKEN {2}capacity {6} +\d+ cases {2}No expert is granted more slots/);
  expect(lawsTable([])).toBe("");
});

describe("checkRouter refuses", () => {
  test.each([
    [{ numRuns: 0 }, "numRuns has 0, expected an integer of at least 1 (no case, no law tried)"],
    [{ seed: 2 ** 31 }, "seed has 2147483648, expected an integer from -2147483648 to 2147483647"],
    [{ numExperts: 0 }, "numExperts has 0, expected an integer from 1 to 64"],
    [{ numExperts: [4, 3] as const }, "numExperts has 3, expected an integer from 4 to 64"],
    [{ maxTokens: 1 }, "maxTokens has 1, expected an integer from 2 to 64"],
  ])("%j", (options, message) => {
    expect(() => checkRouter(right, options)).toThrow(new RangeError(`checkRouter: ${message}`));
  });

  test("what is no router, and options that do not exist", () => {
    expect(() => checkRouter({} as never)).toThrow(
      new TypeError("checkRouter: router has a Object, expected a function from logits to a Routing"),
    );
    expect(() => checkRouter(right, { raiseException: 1 as never })).toThrow(
      new TypeError("checkRouter: raiseException has 1, expected true or false"),
    );
    expect(() => checkRouter(right, { runs: 3 } as never)).toThrow(
      /^checkRouter: options has the name "runs", expected/,
    );
  });
});

test("the numbers of experts and tokens, and the dtypes, are those that were asked for", () => {
  const seen = { E: new Set<number>(), T: new Set<number>(), dtypes: new Set<string>() };
  const spy: Router = (logits, ctx) => {
    seen.T.add(logits.shape[0]);
    seen.E.add(logits.shape[1]);
    seen.dtypes.add(logits.dtype);
    return right(logits, ctx);
  };
  checkRouter(spy, {
    numRuns: 20,
    seed: 1,
    numExperts: 4,
    maxTokens: 3,
    dtypes: ["float32"],
    except: ["gates have a gradient"],
  });
  expect(seen).toEqual({ E: new Set([4]), T: new Set([0, 1, 2, 3]), dtypes: new Set(["float32"]) });
});
