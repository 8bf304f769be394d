/**
 * The dialect of kernel texts: what every route of gpu.js 2.24.1 compiles, and to the same thing.
 *
 * Much of what JavaScript allows is computed wrongly in silence on one route or another, so it is looked for in the text.
 * Each rule gives the reason with the fault.
 */

interface Rule {
  readonly name: string;
  readonly why: string;
  /** What breaks the rule, as messages show it. */
  readonly find: (text: string) => readonly string[];
}

const all =
  (pattern: RegExp) =>
  (text: string): string[] =>
    [...text.matchAll(pattern)].map(([found]) => found.trim());

/** Text within the bracket that opens at `at`, and where it closes. */
function inBrackets(text: string, at: number): { inner: string; end: number } {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if ("([{".includes(text[i])) depth++;
    else if (")]}".includes(text[i]) && --depth === 0) return { inner: text.slice(at + 1, i), end: i };
  }
  return { inner: text.slice(at + 1), end: text.length };
}

/** What a call is given, split at its own commas. */
function argumentsOf(inner: string): string[] {
  const list: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i <= inner.length; i++) {
    if (i === inner.length || (inner[i] === "," && depth === 0)) {
      list.push(inner.slice(from, i).trim());
      from = i + 1;
    } else if ("([{".includes(inner[i])) depth++;
    else if (")]}".includes(inner[i])) depth--;
  }
  return list;
}

/** Calls of a function of Math. */
function calls(text: string, name: RegExp): { name: string; args: string[] }[] {
  return [...text.matchAll(/Math\.(\w+)\s*\(/g)]
    .filter(([, found]) => name.test(found))
    .map((m) => ({
      name: m[1],
      args: argumentsOf(inBrackets(text, (m.index ?? 0) + m[0].length - 1).inner),
    }));
}

/** Every name that is declared, loops' and parameters' included. */
function declared(text: string): string[] {
  const parameters = argumentsOf(inBrackets(text, text.indexOf("(")).inner).filter((name) => name !== "");
  return [...parameters, ...[...text.matchAll(/\b(?:let|const|var)\s+(\w+)/g)].map(([, name]) => name)];
}

const KNOWN = new Set(["abs", "cos", "exp", "floor", "log", "max", "min", "pow", "sin", "sqrt", "tanh"]);

export const rules: readonly Rule[] = [
  {
    name: "names are declared once",
    why: "two loops with one name do not compile, and shadowing gives wrong numbers on webasm",
    find: (text) => declared(text).filter((name, i, list) => list.indexOf(name) < i),
  },
  {
    name: "no continue",
    why: "the loop's step is skipped with it, in silence",
    find: all(/\bcontinue\b/g),
  },
  {
    name: "no ++ and --",
    why: "WebGPU has them for integers alone, and loop variables are floats",
    find: all(/\w*(?:\+\+|--)\w*/g),
  },
  {
    name: "no Infinity or NaN",
    why: "the literal becomes 3.4e38, in silence; pass it as a number",
    find: all(/\b(?:Infinity|NaN)\b/g),
  },
  {
    name: "no comparison of a value with itself",
    why: "it is false for NaN on WebGPU",
    find: (text) =>
      [...text.matchAll(/([\w.[\]]+)\s*!==?\s*([\w.[\]]+)/g)].filter(([, a, b]) => a === b).map(([x]) => x),
  },
  {
    name: "two arguments for max and min",
    why: "more do not compile",
    find: (text) =>
      calls(text, /^(max|min)$/)
        .filter(({ args }) => args.length !== 2)
        .map(({ name, args }) => `${name} of ${args.length}`),
  },
  {
    name: "tanh of a clamped number",
    why: "it is NaN beyond about 40 on some routes: tanh(max(-9, min(9, …)))",
    find: (text) =>
      calls(text, /^tanh$/)
        .filter(({ args }) => !/^Math\.max\(-9, Math\.min\(9, /.test(args[0]))
        .map(({ args }) => `tanh(${args[0]})`),
  },
  {
    name: "functions that all routes have",
    why: "round and pow of negatives are wrong in silence, hypot, isNaN and others do not compile",
    find: (text) => [
      ...calls(text, /^/)
        .filter(({ name }) => !KNOWN.has(name))
        .map(({ name }) => `Math.${name}`),
      ...calls(text, /^pow$/)
        .filter(({ args }) => !/^Math\.abs\(/.test(args[0]))
        .map(({ args }) => `pow(${args.join(", ")})`),
      ...all(/\bisNaN\b|\bisFinite\b|\bNumber\b|\?\?|\?\.|=>|\*\*/g)(text),
    ],
  },
  {
    name: "a remainder comes from a quotient",
    why: "% of floats is off where the division rounds; use divide()",
    find: all(/\S+\s%\s\S+/g),
  },
  {
    name: "loops count floats up by a step that is written out",
    why: "an integer variable is not converted everywhere it is used with floats",
    find: (text) =>
      [...text.matchAll(/\bfor\s*\(/g)]
        .map((m) => inBrackets(text, (m.index ?? 0) + m[0].length - 1).inner)
        .filter((head) => !/^let (\w+) = [^;]+; \1 < [^;]+; \1 \+= \w+$/.test(head)),
  },
  {
    name: "one flat index",
    why: "a handle is flat: x[a][b] reads another element, in silence",
    find: all(/\w+\[[^[\]]*\]\s*\[/g),
  },
  {
    name: "at most seven arrays",
    why: "WebGPU gives a kernel eight, one of which it writes",
    find: (text) => {
      const arrays = new Set([...text.matchAll(/\b([xf]s?\d+)\[/g)].map(([, name]) => name));
      return arrays.size > 7 ? [`${arrays.size} arrays`] : [];
    },
  },
  {
    name: "a result on every path",
    why: "a cell that no path fills has what stood there before",
    find: (text) => (/return [^;{}]+;\s*\}$/.test(text) ? [] : ["the end of the text"]),
  },
];

/** What in a kernel's text breaks the dialect, one sentence each. */
export function faults(text: string): string[] {
  return rules.flatMap(({ name, why, find }) => find(text).map((found) => `${name}, but there is ${found} (${why})`));
}
