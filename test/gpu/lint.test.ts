/** The dialect of kernel texts, rule by rule, and the texts that the library's own forms make. */

import { describe, expect, test } from "vitest";
import { formOf } from "../../src/gpu/forms.ts";
import { faults, rules } from "../../src/gpu/lint.ts";
import { MAX_ELEMENTS, plan, write } from "../../src/gpu/source.ts";
import { cases } from "./cases.ts";

const text = (body: string, parameters = "x0, n"): string => `function (${parameters}) {\n${body}\n}`;
const loop = (inner: string): string => `let s = 0; for (let k = 0; k < n; k += 1) { ${inner} } return s;`;

/** For each rule what breaks it, and what looks like that and does not. */
const table: Readonly<Record<string, readonly [broken: string, sound: string]>> = {
  "names are declared once": [
    `${loop("s += x0[k];").replace(" return s;", "")} for (let k = 0; k < n; k += 1) { s += 1; } return s;`,
    `${loop("s += x0[k];").replace(" return s;", "")} for (let j = 0; j < n; j += 1) { s += 1; } return s;`,
  ],
  "no continue": [loop("if (x0[k] > 0) { continue; } s += 1;"), loop("if (x0[k] <= 0) { s += 1; }")],
  "no ++ and --": [loop("s++;"), loop("s += 1;")],
  "no Infinity or NaN": ["return Infinity;", "return n;"],
  "no comparison of a value with itself": [
    "let y = 0; if (x0[0] !== x0[0]) { y = 1; } return y;",
    "let y = 0; if (x0[0] !== x0[1]) { y = 1; } return y;",
  ],
  "two arguments for max and min": ["return Math.max(x0[0], x0[1], n);", "return Math.max(x0[0], Math.max(x0[1], n));"],
  "tanh of a clamped number": ["return Math.tanh(x0[0]);", "return Math.tanh(Math.max(-9, Math.min(9, x0[0])));"],
  "functions that all routes have": ["return Math.pow(x0[0], n);", "return Math.pow(Math.abs(x0[0]), n);"],
  "a remainder comes from a quotient": ["return x0[n % 2];", "return x0[n - 2 * Math.floor(n / 2)];"],
  "loops count floats up by a step that is written out": [
    "let s = 0; for (let k = n; k > 0; k -= 1) { s += x0[k]; } return s;",
    loop("s += x0[k];"),
  ],
  "one flat index": ["return x0[n][0];", "return x0[x0[n]];"],
  "at most seven arrays": [
    `return ${[0, 1, 2, 3, 4, 5, 6, 7].map((i) => `x${i}[0]`).join(" + ")};`,
    `return ${[0, 1, 2, 3, 4, 5, 6].map((i) => `x${i}[0]`).join(" + ")};`,
  ],
  "a result on every path": ["if (n > 0) { return n; }", "let y = 0; if (n > 0) { y = n; } return y;"],
};

describe("the dialect", () => {
  test("every rule has what breaks it and what does not", () => {
    expect(Object.keys(table).sort()).toEqual(rules.map(({ name }) => name).sort());
  });

  test.each(rules.map(({ name, why }) => [name, why]))("%s", (name, why) => {
    const [broken, sound] = table[name];
    const found = faults(text(broken)).filter((fault) => fault.startsWith(name));
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toContain(why);
    expect(faults(text(sound))).toEqual([]);
  });

  test.each([
    ["Math.round(n)", "Math.round"],
    ["Math.hypot(n, n)", "Math.hypot"],
    ["n ** 2", "**"],
    ["n ?? 0", "??"],
    ["isNaN(n)", "isNaN"],
  ])("%s is found", (expression, shown) => {
    expect(faults(text(`return ${expression};`)).join()).toContain(`there is ${shown}`);
  });

  test("a parameter's name may not be declared again", () => {
    expect(faults(text("let n = 1; return n;"))).toHaveLength(1);
  });
});

describe("the texts of the library", () => {
  const planned = cases.map(({ kernel, inputs, attrs, length, dtype }) => {
    const sources = inputs.map((x) => ({
      length: x.length,
      dtype: x instanceof Int32Array ? ("int32" as const) : ("float32" as const),
      known: x.length === 1 ? x[0] : undefined,
    }));
    const form = formOf(kernel);
    return { kernel, launches: form ? plan(form, attrs as never, sources, length, dtype) : null };
  });

  test("are all within the dialect", () => {
    for (const { kernel, launches } of planned) {
      expect(launches, kernel.name).not.toBeNull();
      for (const launch of launches ?? []) expect(faults(launch.text)).toEqual([]);
    }
  });

  test("do not hold the sizes: calls of one kernel share few texts", () => {
    const texts = (name: string) =>
      new Set(
        planned.filter(({ kernel }) => kernel.name === name).flatMap((p) => p.launches?.map((l) => l.text) ?? []),
      );
    expect(texts("matmul").size).toBe(1);
    expect(texts("groupedMatmul").size).toBe(1);
    expect(texts("dispatch").size).toBeLessThanOrEqual(2);
  });

  test("read known numbers from arguments and arrays from places", () => {
    expect(write({ body: "return x1[i] * x0 * n;", numbers: { n: 3 } }, [null, "x1"], [["x0", 0.5]])).toEqual({
      text: "function (x1, x0, n) {\n  const i = this.thread.z * this.output.x + this.thread.x;\nreturn x1[i] * x0 * n;\n}",
      args: [{ array: 1 }, 0.5, 3],
    });
  });
});

describe("a launch is not planned", () => {
  const form = {
    gather: () => ({ body: "return x0[i];" }),
  };
  const one = { length: 4, dtype: "float32" as const };
  const sum = (turns: number, count = 1) => ({
    gather: ({ inputs }: { inputs: readonly { at(index: string): string }[] }) => ({
      turns,
      body: `  return ${inputs
        .slice(0, count)
        .map((x) => x.at("i"))
        .join(" + ")};`,
    }),
  });

  test.each([
    ["beyond 2²⁴ cells", plan(sum(1), {}, [one], MAX_ELEMENTS + 1, "float32")],
    ["for an input beyond 2²⁴", plan(sum(1), {}, [{ ...one, length: MAX_ELEMENTS + 1 }], 4, "float32")],
    ["for an input without elements", plan(sum(1), {}, [{ ...one, length: 0 }], 4, "float32")],
    ["with a loop of 65,536 turns", plan(sum(65_536), {}, [one], 4, "float32")],
    [
      "with eight arrays",
      plan(
        sum(1, 8),
        {},
        Array.from({ length: 8 }, () => one),
        4,
        "float32",
      ),
    ],
    ["where the form says so", plan({ gather: () => null }, {}, [one], 4, "float32")],
  ])("%s", (_, launches) => {
    expect(launches).toBeNull();
  });

  test("but up to those limits it is", () => {
    expect(
      plan(
        sum(65_535, 7),
        {},
        Array.from({ length: 7 }, () => one),
        MAX_ELEMENTS,
        "float32",
      ),
    ).toHaveLength(1);
  });

  test("and a text that breaks the dialect is an error", () => {
    expect(() => plan({ gather: () => ({ body: "  return Infinity;" }) }, {}, [one], 4, "float32")).toThrow(
      "the kernel's text breaks the dialect: no Infinity or NaN",
    );
    expect(plan(form, {}, [one], 4, "float32")).toHaveLength(1);
  });
});
