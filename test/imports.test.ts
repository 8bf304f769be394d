import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

/**
 * Imports point one way. A file may import, at run time, what stands on a line above its own, and its neighbours in the
 * same folder (the files of the first line are neighbours, too), as long as no cycle arises.
 */
const order = [
  ["errors.ts", "shape.ts", "random.ts", "print.ts"],
  ["device/"],
  ["region.ts"],
  ["autograd.ts"],
  ["transforms.ts"],
  ["checkpoint.ts"],
  ["kernels/"],
  ["tensor.ts"],
  ["create.ts"],
  ["routing/"],
  ["nn/", "optim/"],
  ["report/", "routers/", "io/", "laws/", "gpu/"],
  ["index.ts"],
];

/** Packages that are there or not, and therefore only ever asked for with `import()`. */
const optionalPackages = ["gpu.js"];

/** Folders that are an entry point of their own, and the package that who imports it must have. */
const neededBy: Readonly<Record<string, string>> = { "laws/": "fast-check" };

/** What is loaded when a program asks for it, so that bundles can leave it apart: importer → the file behind `import()`. */
const loadedLater: Readonly<Record<string, string>> = { "device/device.ts": "gpu/start.ts" };

interface Import {
  readonly specifier: string;
  readonly dynamic: boolean;
}

/** Path below src → its text. */
type Sources = ReadonlyMap<string, string>;

describe("the order of imports", () => {
  test("src keeps it", () => {
    expect(faults(readSources())).toEqual([]);
  });

  test("a file may import from above, from its folder and, as a type, from anywhere", () => {
    const sources = {
      "errors.ts": `import { a } from "./shape.ts";`,
      "shape.ts": "",
      "device/gpu.ts": `const { GPU } = await import("gpu.js"); await import("node:worker_threads");`,
      "kernels/add.ts": `import type { Tensor } from "../tensor.ts"; import { mul } from "./mul.ts";`,
      "kernels/mul.ts": `import { type Tensor } from "../tensor.ts"; export type { A } from "../index.ts";`,
      "tensor.ts": `import { add } from "./kernels/add.ts";`,
      "device/device.ts": `await import("../gpu/start.ts");`,
      "gpu/start.ts": `import { a } from "../shape.ts";`,
      "report/index.ts": `export * from "./text.ts"; type T = import("../index.ts").T;`,
      "report/text.ts": `import type { A } from "some-package";`,
      "laws/law.ts": `import { check } from "fast-check";`,
    };
    expect(faultsOf(sources)).toEqual([]);
  });

  test.each([
    [
      "back",
      { "kernels/add.ts": `import { Tensor } from "../tensor.ts";`, "tensor.ts": "" },
      "kernels/add.ts → tensor.ts",
    ],
    ["back, by export", { "shape.ts": `export * from "./tensor.ts";`, "tensor.ts": "" }, "shape.ts → tensor.ts"],
    ["back, by import()", { "shape.ts": `import("./tensor.ts")`, "tensor.ts": "" }, "shape.ts → tensor.ts"],
    [
      "back what is loaded later, at once",
      { "device/device.ts": `import "../gpu/start.ts";`, "gpu/start.ts": "" },
      "→ gpu",
    ],
    ["back, beside a type", { "shape.ts": `import { type A, b } from "./tensor.ts";`, "tensor.ts": "" }, "→ tensor.ts"],
    ["across", { "nn/moe.ts": `import "../optim/sgd.ts";`, "optim/sgd.ts": "" }, "nn/moe.ts → optim/sgd.ts"],
    ["in a circle", { "nn/a.ts": `import "./b.ts";`, "nn/b.ts": `import "./a.ts";` }, "nn/a.ts → nn/b.ts → nn/a.ts"],
    ["from itself", { "shape.ts": `import "./shape.ts";` }, "shape.ts → shape.ts"],
    ["from nowhere", { "shape.ts": `import "./shapes.ts";` }, "shape.ts → ./shapes.ts"],
    ["a package", { "shape.ts": `import _ from "lodash";` }, "shape.ts → lodash"],
    ["a package, by import()", { "shape.ts": `import("lodash")` }, "shape.ts → lodash"],
    ["the optional package statically", { "device/gpu.ts": `import { GPU } from "gpu.js";` }, "device/gpu.ts → gpu.js"],
    ["what only another entry point needs", { "nn/a.ts": `import "fast-check";` }, "nn/a.ts → fast-check"],
    ["Node statically", { "shape.ts": `import { join } from "node:path";` }, "shape.ts → node:path"],
    ["a computed path", { "shape.ts": "import(name)" }, "shape.ts → (computed)"],
    ["from a file outside the order", { "shape.ts": `import "./stray.ts";`, "stray.ts": "" }, "stray.ts has no place"],
  ])("a file may not import %s", (_, sources, message) => {
    expect(faultsOf(sources as Record<string, string>).join("\n")).toContain(message);
  });
});

function faults(sources: Sources): string[] {
  const found: string[] = [];
  const edges = new Map<string, string[]>();
  for (const [file, text] of sources) {
    const targets: string[] = [];
    edges.set(file, targets);
    if (level(file) < 0) found.push(`${file} has no place in the order: give it one in test/imports.test.ts`);
    for (const { specifier, dynamic } of runTimeImports(file, text)) {
      if (!specifier.startsWith(".")) {
        const reason = neededBy[place(file)] === specifier ? undefined : packageFault(specifier, dynamic);
        if (reason) found.push(`${file} → ${specifier}: ${reason}`);
        continue;
      }
      const target = posix.join(posix.dirname(file), specifier);
      if (!sources.has(target)) found.push(`${file} → ${specifier}: no such file (write the whole name, with .ts)`);
      else if (!(dynamic && loadedLater[file] === target) && !mayImport(file, target))
        found.push(`${file} → ${target}: points back (a type needs \`import type\`)`);
      else targets.push(target);
    }
  }
  const cycle = findCycle(edges);
  if (cycle) found.push(`${cycle.join(" → ")}: a cycle`);
  return found;
}

function packageFault(specifier: string, dynamic: boolean): string | undefined {
  if (specifier === computed) return "write the path out, so that this test can follow it";
  const isNode = specifier.startsWith("node:");
  if (!isNode && !optionalPackages.includes(specifier)) return "the library has no dependencies";
  if (!dynamic) return "may be missing, so ask for it with import()";
  return undefined;
}

function mayImport(file: string, target: string): boolean {
  const from = level(file);
  const to = level(target);
  if (from !== to) return from > to;
  return place(file) === place(target) || from === 0;
}

/** The line of the order on which a file stands, −1 when on none. */
function level(file: string): number {
  return order.findIndex((line) => line.includes(place(file)));
}

/** What the order calls a file: the name of its first folder, or its own. */
function place(file: string): string {
  const slash = file.indexOf("/");
  return slash < 0 ? file : file.slice(0, slash + 1);
}

const computed = "(computed)";

function runTimeImports(file: string, text: string): Import[] {
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && !isTypeImport(node.importClause)) add(node.moduleSpecifier, false);
    if (ts.isExportDeclaration(node) && node.moduleSpecifier && !isTypeExport(node)) add(node.moduleSpecifier, false);
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], true);
    ts.forEachChild(node, visit);
  };
  const add = (name: ts.Node | undefined, dynamic: boolean): void => {
    found.push({ specifier: name && ts.isStringLiteralLike(name) ? name.text : computed, dynamic });
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest));
  return found;
}

// `import { type A } from "…"` still runs the module, but the linter turns it into `import type`.
function isTypeImport(clause: ts.ImportClause | undefined): boolean {
  if (!clause) return false;
  const names = clause.namedBindings;
  return (
    clause.phaseModifier === ts.SyntaxKind.TypeKeyword ||
    (!clause.name && !!names && ts.isNamedImports(names) && names.elements.every((name) => name.isTypeOnly))
  );
}

function isTypeExport({ isTypeOnly, exportClause: names }: ts.ExportDeclaration): boolean {
  return isTypeOnly || (!!names && ts.isNamedExports(names) && names.elements.every((name) => name.isTypeOnly));
}

/** The files of one cycle, the first one again at the end. */
function findCycle(edges: ReadonlyMap<string, string[]>): string[] | undefined {
  const finished = new Set<string>();
  const path: string[] = [];
  const walk = (file: string): string[] | undefined => {
    if (finished.has(file)) return undefined;
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    path.push(file);
    for (const target of edges.get(file) ?? []) {
      const cycle = walk(target);
      if (cycle) return cycle;
    }
    path.pop();
    finished.add(file);
    return undefined;
  };
  for (const file of edges.keys()) {
    const cycle = walk(file);
    if (cycle) return cycle;
  }
  return undefined;
}

function readSources(): Sources {
  const src = join(dirname(fileURLToPath(import.meta.url)), "../src");
  const files = readdirSync(src, { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"));
  return new Map(files.sort().map((file) => [file, readFileSync(join(src, file), "utf8")]));
}

function faultsOf(sources: Record<string, string>): string[] {
  return faults(new Map(Object.entries(sources)));
}
