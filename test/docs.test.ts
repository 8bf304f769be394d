/**
 * The documentation runs: every TypeScript block of README.md and docs/ is type-checked and executed, and where a `text`
 * block follows, it is what the code prints.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { format } from "node:util";
import ts from "typescript";
import { afterAll, describe, expect, test, vi } from "vitest";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const scratch = join(root, "test", ".blocks");

interface Block {
  /** Page and line, for the name of the test. */
  readonly where: string;
  readonly file: string;
  readonly code: string;
  /** What it has to print, or null when nothing is said. */
  readonly output: string | null;
}

function pages(): string[] {
  const docs = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" });
  return ["README.md", ...docs.filter((f) => f.endsWith(".md")).map((f) => join("docs", f))];
}

/** The fenced blocks of a page. */
function blocksOf(page: string): Block[] {
  const text = readFileSync(join(root, page), "utf8");
  const fences = [...text.matchAll(/^```(\S*)[^\n]*\n([\s\S]*?)^```$/gm)];
  return fences.flatMap((fence, i) => {
    if (fence[1] !== "ts") return [];
    const line = text.slice(0, fence.index).split("\n").length;
    const end = (fence.index ?? 0) + fence[0].length;
    const next = fences[i + 1];
    const adjacent = next?.[1] === "text" && text.slice(end, next.index).trim() === "";
    const file = join(scratch, `${page.replace(/\W+/g, "-")}-${line}.ts`);
    return [{ where: `${page}:${line}`, file, code: fence[2], output: adjacent ? next[2] : null }];
  });
}

const blocks = pages().flatMap(blocksOf);
mkdirSync(scratch, { recursive: true });
// Each block is a module of its own, so that names of one do not meet those of another.
for (const { file, code } of blocks) writeFileSync(file, `${code}\nexport {};\n`);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("the code in the documentation", () => {
  test("there is some", () => {
    expect(blocks.length).toBeGreaterThan(0);
  });

  test("type-checks", () => {
    const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
    const program = ts.createProgram(
      blocks.map((b) => b.file),
      options,
    );
    const problems = blocks.flatMap(({ file, where }) =>
      ts.getPreEmitDiagnostics(program, program.getSourceFile(file)).map((d) => {
        return `${where}: ${ts.flattenDiagnosticMessageText(d.messageText, "\n")}`;
      }),
    );
    expect(problems).toEqual([]);
  }, 60_000);

  test.each(blocks)("$where runs and prints what it says", async ({ file, output }) => {
    const printed: string[] = [];
    const spy = vi.spyOn(console, "log").mockImplementation((...args) => {
      printed.push(format(...args));
    });
    try {
      await import(/* @vite-ignore */ pathToFileURL(file).href);
    } finally {
      spy.mockRestore();
    }
    if (output !== null) expect(printed.join("\n").trimEnd()).toBe(output.trimEnd());
  });
});
