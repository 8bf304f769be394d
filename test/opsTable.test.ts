/** docs/ops.md is what the script writes, and no op is missing from it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";
import { groups } from "../bench/opsSamples.ts";
import { opsPage } from "../bench/opsTable.ts";
import * as moegrad from "../src/index.ts";

const names = groups.flatMap(([, samples]) => samples.map((sample) => sample.name));

/** What takes tensors first and gives tensors, and is no op. */
const others: Readonly<Record<string, string>> = {
  clipGradNorm: "writes to the gradients of what it is given",
};

/** Whether a type is that of tensors, of a record of them, or a union that has such, lists of such or arguments of such. */
function isTensorType(checker: ts.TypeChecker, type: ts.Type): boolean {
  const parts = type.isUnionOrIntersection() ? type.types : [type];
  return parts.some((part) => {
    const items =
      checker.isArrayType(part) || checker.isTupleType(part)
        ? checker.getTypeArguments(part as ts.TypeReference)
        : [part];
    return items.some((item) => ["Tensor", "ValuesAndIndices"].includes(item.symbol?.name));
  });
}

/** The exported functions that take a tensor first and give one. */
function exportedOps(): string[] {
  const file = fileURLToPath(new URL("../src/index.ts", import.meta.url));
  const { config } = ts.readConfigFile(fileURLToPath(new URL("../tsconfig.json", import.meta.url)), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, fileURLToPath(new URL("..", import.meta.url)));
  const program = ts.createProgram([file], options);
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(file);
  const module = source && checker.getSymbolAtLocation(source);
  const exported = module ? checker.getExportsOfModule(module) : [];
  return exported.flatMap((name) => {
    const symbol = name.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(name) : name;
    if (!(symbol.flags & ts.SymbolFlags.Value)) return [];
    const isOp = checker
      .getTypeOfSymbol(symbol)
      .getCallSignatures()
      .some((signature) => {
        const [first] = signature.getParameters();
        const takesTensor = first !== undefined && isTensorType(checker, checker.getTypeOfSymbol(first));
        return takesTensor && isTensorType(checker, signature.getReturnType());
      });
    return isOp ? [name.name] : [];
  });
}

test("docs/ops.md is what npm run docs:ops writes", async () => {
  const page = readFileSync(new URL("../docs/ops.md", import.meta.url), "utf8");
  expect(await opsPage()).toBe(page);
  expect(page).not.toContain("✗");
});

test("every exported op is in the table, under its own name and once", () => {
  const ops = exportedOps();
  expect(ops.filter((name) => !names.includes(name) && !(name in others))).toEqual([]);
  // All but einsum, which takes its equation first.
  expect(names.filter((name) => !ops.includes(name))).toEqual(["einsum"]);
  expect(Object.keys(others).filter((name) => !ops.includes(name))).toEqual([]);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, call } of groups.flatMap(([, samples]) => samples)) {
    expect((moegrad as Record<string, unknown>)[name], name).toBe(call);
  }
}, 60_000);
