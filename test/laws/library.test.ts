/** The library's own routers, losses and ops hold every law. */
import { describe, expect, test } from "vitest";
import { losses, ops, routers } from "../../bench/lawSubjects.ts";
import * as moegrad from "../../src/index.ts";
import { checkLoss, checkOp, checkRouter, type LawResult, tensorOf } from "../../src/laws/index.ts";
import * as later from "../../src/routers/index.ts";

const few = { numRuns: 15, raiseException: false };

const brokenOf = (results: readonly LawResult[]): string[] =>
  results.flatMap(({ ok, message }) => (ok ? [] : [message]));

/** Laws that chance may not break: what a routing is, whoever was lucky. */
const ALWAYS = [
  "conservation",
  "order",
  "two readings",
  "capacity",
  "finite gates",
  "replay",
  "dispatch and combine are adjoint",
  "determinism in training",
];

const triedRouters = routers.map(([name, router, options]) => [name, router, options ?? {}] as const);
const triedLosses = losses.map(([name, loss, options]) => [name, loss, options ?? {}] as const);
const triedOps = ops.map(([name, op, linear]) => [name, op, linear ?? false] as const);

describe("every law holds of", () => {
  test.each(triedRouters)("%s", (_, router, options) => {
    expect(brokenOf(checkRouter(router, { ...few, ...options }))).toEqual([]);
  });

  test.each(triedRouters)("%s in training, as far as chance allows", (_, router, options) => {
    const context = (T: number) => ({ ...options.context?.(T), training: true });
    expect(brokenOf(checkRouter(router, { ...few, ...options, context, only: ALWAYS }))).toEqual([]);
  });

  test.each(triedLosses)("%s", (_, loss, options) => {
    expect(brokenOf(checkLoss(loss, { ...few, ...options }))).toEqual([]);
  });

  test.each(triedOps)("%s", (_, op, linear) => {
    const inputs = tensorOf([3, 4]).map((x) => [x]);
    expect(brokenOf(checkOp(op, { ...few, numRuns: 5, inputs, linear }))).toEqual([]);
  });

  test("no fewer routers than there are", () => {
    const exported = Object.keys({ ...moegrad, ...later }).filter((name) => /^[a-z].*Router$/.test(name));
    const tried = routers.map(([name]) => name.split("(")[0]);
    expect(exported.filter((name) => !tried.includes(name))).toEqual([]);
    expect(exported.length).toBeGreaterThan(5);
  });
});
