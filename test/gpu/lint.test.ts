/** The dialect of kernel texts, rule by rule, and the texts that the library's own forms make. */

import { describe, expect, test } from "vitest";
import type { GpuForm } from "../../src/gpu/form.ts";
import { formOf } from "../../src/gpu/forms.ts";
import { faults, rules } from "../../src/gpu/lint.ts";
import { MAX_ELEMENTS, plan } from "../../src/gpu/source.ts";
import type { Layout } from "../../src/gpu/texels.ts";
import { type Case, cases } from "./cases.ts";

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

function planned({ kernel, inputs, attrs, length, dtype }: Case, layout: Layout, fours: boolean) {
  const sources = inputs.map((x) => ({
    length: x.length,
    dtype: x instanceof Int32Array ? ("int32" as const) : ("float32" as const),
    known: x.length === 1 ? x[0] : undefined,
    fours: fours && x.length % 4 === 0,
  }));
  const form = formOf(kernel);
  return { kernel, launches: form ? plan(form, attrs as never, sources, { length, dtype }, layout) : null };
}

describe("the texts of the library", () => {
  const texts = (["texels", "buffers"] as const).flatMap((layout) =>
    [false, true].map((fours) => ({ layout, fours, planned: cases.map((c) => planned(c, layout, fours)) })),
  );

  test.each(texts)("are all within the dialect: $layout, inputs in fours: $fours", ({ planned }) => {
    for (const { kernel, launches } of planned) {
      expect(launches, kernel.name).not.toBeNull();
      for (const launch of launches ?? []) expect(faults(launch.text)).toEqual([]);
    }
  });

  test("do not hold the sizes: calls of one kernel share few texts", () => {
    const { planned } = texts[0];
    const textsOf = (name: string) =>
      new Set(
        planned.filter(({ kernel }) => kernel.name === name).flatMap((p) => p.launches?.map((l) => l.text) ?? []),
      );
    expect(textsOf("matmul").size).toBeLessThanOrEqual(7);
    expect(textsOf("groupedMatmul").size).toBeLessThanOrEqual(4);
    expect(textsOf("dispatch").size).toBeLessThanOrEqual(3);
  });

  test("read known numbers from arguments, arrays from places, and fours by the layout", () => {
    const form: GpuForm<object> = {
      gather: () => null,
      fours({ inputs: [a, b, c] }) {
        const four = b.four("v", "i");
        return {
          numbers: { n: 3 },
          body: `${four.text} return [${four.parts.join(", ")} * ${a.at("0")} * n + ${c.at("i")}];`,
        };
      },
    };
    const float = { dtype: "float32" as const, length: 8 };
    const inputs = [{ ...float, length: 1, known: 0.5 }, float, float];
    const texts = (["texels", "buffers"] as const).map((layout) => plan(form, {}, inputs, float, layout));
    expect(texts[0]).toEqual([
      {
        text: "function (f1, x0, x2, n) {\n  const i = this.thread.y * this.output.x + this.thread.x;\nlet v = f1[i]; return [v[0], v[1], v[2], v[3] * x0 * n + x2[i]];\n}",
        args: [{ array: 1, fours: true }, 0.5, { array: 2, fours: false }, 3],
        ...{ threads: 2, fours: true },
      },
    ]);
    expect(texts[1]?.[0].text).toContain("let v = 4 * (i); let v0 = x1[v]; let v1 = x1[v + 1];");
    expect(texts[1]?.[0].args[0]).toEqual({ array: 1, fours: false });
  });
});

describe("a launch is not planned", () => {
  const form = {
    gather: () => ({ body: "return x0[i];" }),
  };
  const one = { length: 4, dtype: "float32" as const };
  const cells = (length: number) => ({ length, dtype: "float32" as const });
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
    ["beyond 2²⁴ cells", plan(sum(1), {}, [one], cells(MAX_ELEMENTS + 1), "texels")],
    ["for an input beyond 2²⁴", plan(sum(1), {}, [{ ...one, length: MAX_ELEMENTS + 1 }], cells(4), "texels")],
    ["for an input without elements", plan(sum(1), {}, [{ ...one, length: 0 }], cells(4), "texels")],
    ["with a loop of 65,536 turns", plan(sum(65_536), {}, [one], cells(4), "texels")],
    [
      "with eight arrays",
      plan(
        sum(1, 8),
        {},
        Array.from({ length: 8 }, () => one),
        cells(4),
        "texels",
      ),
    ],
    ["where the form says so", plan({ gather: () => null }, {}, [one], cells(4), "texels")],
  ])("%s", (_, launches) => {
    expect(launches).toBeNull();
  });

  test("but up to those limits it is", () => {
    expect(
      plan(
        sum(65_535, 7),
        {},
        Array.from({ length: 7 }, () => one),
        cells(MAX_ELEMENTS),
        "texels",
      ),
    ).toHaveLength(1);
  });

  test("and a text that breaks the dialect is an error", () => {
    expect(() => plan({ gather: () => ({ body: "  return Infinity;" }) }, {}, [one], cells(4), "texels")).toThrow(
      "the kernel's text breaks the dialect: no Infinity or NaN",
    );
    expect(plan(form, {}, [one], cells(4), "texels")).toHaveLength(1);
  });
});
