import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

/**
 * Packs the library as it would be published, installs the tarball in an empty folder and uses it there as a stranger
 * would. `npm run pack:test` runs it, and puts npm, tsc, publint and attw on the PATH.
 */

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "../..");
const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { exports: object };
/** "moegrad", "moegrad/report", … */
const entryPoints = Object.keys(exports)
  .filter((path) => !path.endsWith(".json"))
  .map((path) => path.replace(".", "moegrad"));

const temp = mkdtempSync(join(tmpdir(), "moegrad-pack-"));
process.on("exit", () => rmSync(temp, { recursive: true, force: true }));
const consumer = join(temp, "consumer");
const installed = join(consumer, "node_modules");

// `prepack` builds, here as when publishing: a stale dist is never what is tested.
run("npm", ["pack", "--pack-destination", temp], root);
const tarball = join(temp, readdirSync(temp).find((file) => file.endsWith(".tgz")) ?? "");

cpSync(join(here, "consumer"), consumer, { recursive: true });
writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true }));
run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], consumer);

describe("the tarball", () => {
  test("satisfies publint", () => {
    run("publint", ["run", tarball, "--strict"]);
  });

  test("has types that agree with its code (attw)", () => {
    run("attw", [tarball, "--profile", "node16"]);
  });

  test("holds dist, package.json, README.md and LICENSE, nothing else", () => {
    assert.deepEqual(readdirSync(join(installed, "moegrad")).sort(), ["LICENSE", "README.md", "dist", "package.json"]);
  });

  test("brings no other package along", () => {
    const visible = readdirSync(installed).filter((name) => !name.startsWith("."));
    assert.deepEqual(visible, ["moegrad"]);
  });
});

test("all of moegrad in a page, minified and compressed, is at most 60 KB", async () => {
  const entry = join(installed, "moegrad", "dist", "index.js");
  const page = join(temp, "page.js");
  writeFileSync(page, `export * from ${JSON.stringify(entry)};`);
  const built = await build({
    configFile: false,
    logLevel: "silent",
    build: {
      ...{ write: false, target: "es2022", modulePreload: false },
      rollupOptions: { input: page, preserveEntrySignatures: "allow-extension" },
    },
  });
  assert.ok("output" in built);
  const chunks = built.output.filter((part) => part.type === "chunk");
  // What is imported when it is asked for does not have to be there before: the threads.
  const first = new Set(chunks.filter(({ isEntry }) => isEntry));
  for (const { imports } of first) for (const chunk of chunks) if (imports.includes(chunk.fileName)) first.add(chunk);
  const bytes = [...first].reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0);
  console.log(`moegrad: ${(bytes / 1024).toFixed(1)} KB`);
  assert.ok(bytes > 10_000 && bytes <= 60 * 1024, `${bytes} bytes`);
});

describe("an entry point offers the same names to import and to require", () => {
  // The optional peer that moegrad/laws needs, and what that needs: the user has them, the tarball does not bring them.
  before(() => {
    for (const name of ["fast-check", "pure-rand"])
      cpSync(join(root, "node_modules", name), join(installed, name), { recursive: true });
  });

  for (const entryPoint of entryPoints) {
    test(entryPoint, () => {
      const list = "names => console.log(Object.keys(names).sort().join())";
      const imported = run("node", ["--input-type=module", "--eval", `import("${entryPoint}").then(${list})`]);
      const required = run("node", ["--input-type=commonjs", "--eval", `(${list})(require("${entryPoint}"))`]);
      assert.notEqual(imported.trim(), "");
      assert.equal(required, imported);
    });
  }
});

describe("a strict consumer without the types of Node or the DOM type-checks", () => {
  const strict = ["--noEmit", "--strict", "--target", "ES2022", "--lib", "ES2022"];
  const files = ["types.mts", "types.cts"];

  test("with node16 resolution", () => {
    run("tsc", [...strict, "--module", "node16", "--moduleResolution", "node16", ...files]);
  });

  test("with bundler resolution", () => {
    run("tsc", [...strict, "--module", "preserve", "--moduleResolution", "bundler", ...files]);
  });
});

test("the ESM and the CommonJS copy work together in one process", () => {
  run("node", ["copies.mjs"]);
});

/** What a command printed on stdout; a command that fails is an error that shows all that it printed. */
function run(command: string, args: readonly string[], cwd = consumer): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (error) throw error;
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}
