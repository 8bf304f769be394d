import { describe, expect, test } from "vitest";
import {
  checkBoolean,
  checkDtype,
  checkFunction,
  checkInteger,
  checkNumber,
  checkOptions,
  checkRank,
  checkShape,
  checkSynchronous,
  checkTensor,
  checkTensors,
  rangeError,
  sameShape,
  show,
  stateError,
  typeError,
} from "../src/errors.ts";
import { zeros } from "../src/index.ts";

describe("show", () => {
  test.each<[unknown, string]>([
    [3, "3"],
    [-0, "0"],
    [Number.NaN, "NaN"],
    [2n, "2n"],
    [[2n], "[2n]"],
    [true, "true"],
    [undefined, "undefined"],
    [null, "null"],
    ["dim", '"dim"'],
    [[], "[]"],
    [[2, 3], "[2, 3]"],
    [[[1], ["a"]], '[[1], ["a"]]'],
    [Int32Array.of(1, 2), "[1, 2]"],
    [[1, 2, 3, 4, 5, 6, 7, 8], "[1, 2, 3, 4, 5, 6, 7, 8]"],
    [[1, 2, 3, 4, 5, 6, 7, 8, 9], "[1, 2, 3, 4, 5, 6, 7, 8, … 9 in all]"],
    [Math.max, "function max"],
    [[() => 0][0], "function (anonymous)"],
    [new Map(), "a Map"],
    [zeros([2]), "a Tensor"],
    [{}, "a Object"],
    [Object.create(null), "a object"],
    [Symbol("x"), "Symbol(x)"],
  ])("of %o is %s", (x, text) => {
    expect(show(x)).toBe(text);
  });
});

describe("the three kinds of error", () => {
  test.each([
    [rangeError, RangeError],
    [typeError, TypeError],
    [stateError, Error],
  ])("%o reads op: argument has X, expected Y (why)", (make, kind) => {
    const full = make("op", "argument", "X", "Y", "why");
    expect(full.constructor).toBe(kind);
    expect(full.message).toBe("op: argument has X, expected Y (why)");
    expect(make("op", "argument", "X", "Y").message).toBe("op: argument has X, expected Y");
  });
});

describe("checks", () => {
  test("shapes are the same when their sizes are", () => {
    expect(sameShape([], [])).toBe(true);
    expect(sameShape([2, 3], [2, 3])).toBe(true);
    expect(sameShape([2, 3], [2])).toBe(false);
    expect(sameShape([2], [2, 3])).toBe(false);
    expect(sameShape([2, 3], [3, 2])).toBe(false);
  });

  test.each<[string, () => void]>([
    ["a shape", () => checkShape("op", "x", [2, 3], [2, 3])],
    ["a rank", () => checkRank("op", "x", [], 0)],
    ["a dtype", () => checkDtype("op", "x", "int32", ["float32", "int32"])],
    ["the least integer", () => checkInteger("op", "n", 1, 1, 3)],
    ["the largest integer", () => checkInteger("op", "n", 3, 1, 3)],
    ["a number", () => checkNumber("op", "n", 0.5, "a number above 0", (x) => x > 0)],
    ["known options", () => checkOptions("op", { dim: 1 }, ["dim", "keepdim"])],
    ["no options", () => checkOptions("op", {}, ["dim"])],
  ])("%s passes", (_, check) => {
    expect(check).not.toThrow();
  });

  test.each<[string, () => void, Error]>([
    [
      "a shape",
      () => checkShape("op", "x", [2, 3], [3, 2], "why"),
      new RangeError("op: x has shape [2, 3], expected [3, 2] (why)"),
    ],
    ["one dim", () => checkRank("op", "x", [2, 3], 1), new RangeError("op: x has shape [2, 3], expected 1 dim")],
    ["two dims", () => checkRank("op", "x", [], 2, "why"), new RangeError("op: x has shape [], expected 2 dims (why)")],
    [
      "a dtype",
      () => checkDtype("op", "x", "int32", ["float32", "float64"], "why"),
      new TypeError("op: x has dtype int32, expected float32 or float64 (why)"),
    ],
    [
      "an integer that is a string",
      () => checkInteger("op", "n", "2", 1, 3),
      new TypeError('op: n has "2", expected an integer from 1 to 3'),
    ],
    [
      "an integer below",
      () => checkInteger("op", "n", 0, 1, 3, "why"),
      new RangeError("op: n has 0, expected an integer from 1 to 3 (why)"),
    ],
    [
      "an integer above",
      () => checkInteger("op", "n", 4, 1, 3),
      new RangeError("op: n has 4, expected an integer from 1 to 3"),
    ],
    [
      "an integer below an open end",
      () => checkInteger("op", "n", -1, 0, Infinity),
      new RangeError("op: n has -1, expected an integer of at least 0"),
    ],
    [
      "an infinite integer",
      () => checkInteger("op", "n", Infinity, -Infinity, Infinity),
      new RangeError("op: n has Infinity, expected an integer"),
    ],
    [
      "a number that is a string",
      () => checkNumber("op", "lr", "1", "a number above 0", (x) => x > 0),
      new TypeError('op: lr has "1", expected a number above 0'),
    ],
    [
      "a number that fails",
      () => checkNumber("op", "lr", 0, "a number above 0", (x) => x > 0, "why"),
      new RangeError("op: lr has 0, expected a number above 0 (why)"),
    ],
    [
      "a number that is NaN",
      () => checkNumber("op", "lr", Number.NaN, "a number", () => true),
      new RangeError("op: lr has NaN, expected a number"),
    ],
    [
      "a number that is infinite",
      () => checkNumber("op", "lr", Infinity, "a number above 0", (x) => x > 0),
      new RangeError("op: lr has Infinity, expected a number above 0"),
    ],
    [
      "an unknown option",
      () => checkOptions("op", { dim: 1, axis: 2 }, ["dim", "keepdim"]),
      new TypeError('op: options has the name "axis", expected dim, keepdim'),
    ],
    [
      "a list as options",
      () => checkOptions("op", [1], ["dim"]),
      new TypeError("op: options has [1], expected an object with dim"),
    ],
    [
      "nothing as options",
      () => checkOptions("op", null as never, ["dim"]),
      new TypeError("op: options has null, expected an object with dim"),
    ],
  ])("%s is refused", (_, check, error) => {
    expect(check).toThrow(error);
  });
});

describe("checks of kinds", () => {
  const x = zeros([2]);

  test("let through what they are for", () => {
    expect(() => {
      checkTensor("op", "x", x);
      checkTensors("op", "xs", [x, x]);
      checkBoolean("op", "on", false);
      checkFunction("op", "fn", () => 0);
    }).not.toThrow();
  });

  test.each<[string, () => void, string]>([
    ["no tensor", () => checkTensor("op", "x", [1]), "op: x has [1], expected a tensor (make one with tensor())"],
    ["a tensor for a list", () => checkTensors("op", "xs", x), "op: xs has a Tensor, expected a list of tensors"],
    [
      "a list with something else",
      () => checkTensors("op", "xs", [x, null]),
      "op: entry 1 of xs has null, expected a tensor (make one with tensor())",
    ],
    ["a word for a boolean", () => checkBoolean("op", "on", "false"), 'op: on has "false", expected true or false'],
    ["a boolean, with a why", () => checkBoolean("op", "on", 1, "why"), "op: on has 1, expected true or false (why)"],
    ["what cannot be called", () => checkFunction("op", "fn", 3), "op: fn has 3, expected a function"],
  ])("refuse %s", (_, check, message) => {
    expect(check).toThrow(new TypeError(message));
  });
});

describe("checkSynchronous", () => {
  test("lets every result through that is no promise", () => {
    // biome-ignore lint/suspicious/noThenProperty: a field of that name alone makes no promise.
    for (const x of [undefined, null, 3, "then", { then: 3 }, () => 3]) expect(checkSynchronous("op", x)).toBe(x);
  });

  test("refuses promises and all that can be awaited", () => {
    const error = new TypeError(
      "op: fn has a promise as its result, expected a synchronous function (state is restored when it returns)",
    );
    expect(() => checkSynchronous("op", Promise.resolve())).toThrow(error);
    // biome-ignore lint/suspicious/noThenProperty: a thing that can be awaited is what is refused.
    expect(() => checkSynchronous("op", { then: () => 0 })).toThrow(error);
  });
});
