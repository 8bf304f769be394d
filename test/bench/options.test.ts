import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { cases, workOf } from "../../bench/cases.ts";
import { gpuCases } from "../../bench/gpu/cases.ts";
import { chosenCases, type Options, parseOptions, UsageError, usage } from "../../bench/options.ts";

const folder = mkdtempSync(join(tmpdir(), "moegrad-"));
afterAll(() => rmSync(folder, { recursive: true }));

const parse = (...args: string[]) => parseOptions(args) as Options;
const names = (only: string | null, quick = false) => chosenCases({ only, quick }).map(({ name }) => name);

describe("options", () => {
  test("without any, everything on the best device", () => {
    expect(parse()).toEqual({
      ...{ only: null, quick: false, peers: true, device: "auto", threads: 1, clock: "wall", json: null, write: false },
      routes: ["webgl2", "webgpu"],
    });
  });

  test("are read in both spellings, the last one counts", () => {
    const options = parse("--device=simd", "--threads", "4", "--threads=2", "--quick", "--only", "moe8", "--no-peers");
    expect(options).toMatchObject({ device: "simd", threads: 2, quick: true, only: "moe8", peers: false });
    expect(parse("--cpu").clock).toBe("cpu");
  });

  test("a GPU has cases of its own, and routes that may be named", () => {
    expect(parse("--device", "gpu", "--only", "AdamW")).toMatchObject({ device: "gpu", only: "AdamW" });
    expect(parse("--device", "gpu", "--route", "webgl, webgl2,webgl").routes).toEqual(["webgl", "webgl2"]);
  });

  test("--json takes a file or none", () => {
    const file = join(folder, "rows.json");
    expect(parse("--json").json).toBe("-");
    expect(parse("--json", "--quick")).toMatchObject({ json: "-", quick: true });
    expect(parse("--json", file).json).toBe(file);
    expect(parse(`--json=${file}`).json).toBe(file);
  });

  test("help is asked for, and names every option and every case", () => {
    expect(parseOptions(["--quick", "--help"])).toBe("help");
    for (const name of ["only", "quick", "no-peers", "device", "route", "cpu", "threads", "json", "write", "help"]) {
      expect(usage).toContain(`  --${name} `);
    }
    for (const { name } of [...cases, ...gpuCases]) expect(usage).toContain(name);
  });
});

describe("what cannot be is refused in one line that says what is allowed", () => {
  test.each([
    [["--device", "npu"], '--device has "npu", expected auto, loops, simd, gpu'],
    [["--device", "gpu", "--threads", "2"], '--threads has "2", expected 1 (a GPU has its own)'],
    [["--device", "gpu", "--cpu"], "--cpu has --device gpu beside it, expected another device"],
    [["--device", "gpu", "--only", "tiny add"], '--only has "tiny add", expected part of a case\'s name'],
    [["--device", "gpu", "--route", "headlessgl"], '--route has "headlessgl", expected webgl2, webgpu, webgl'],
    [["--route", "webgl"], "--route has no --device gpu beside it, expected one (routes lead to GPUs)"],
    [["--device"], "--device has no value, expected --device NAME"],
    [["--only"], "--only has no value, expected --only PATTERN"],
    [
      ["--only", "nothing of the kind"],
      '--only has "nothing of the kind", expected part of a case\'s name (see --help)',
    ],
    [["--only", ","], '--only has ",", expected part of a case\'s name'],
    [["--threads", "0"], '--threads has "0", expected an integer from 1 to 64'],
    [["--threads", "65"], '--threads has "65", expected an integer from 1 to 64'],
    [["--threads", "1.5"], '--threads has "1.5", expected an integer from 1 to 64'],
    [["--device", "loops", "--threads", "2"], '--threads has "2", expected 1 (loops have one thread)'],
    [["--cpu", "--threads", "2"], '--threads has "2", expected 1 (--cpu adds up what threads do at once)'],
    [["--quick=yes"], '--quick has "yes", expected no value'],
    [["--json", join(folder, "missing", "rows.json")], "expected a file in a folder that exists (there is no folder"],
    [["--json", folder], "expected a file (this is a folder)"],
    [["--write", "--quick"], "--write has --quick beside it, expected neither (the page tells all)"],
    [["--write", "--only", "exp"], "--write has --only beside it"],
    [["--write", "--no-peers"], "--write has --no-peers beside it"],
    [["--device", "gpu", "--write", "--route", "webgl2"], "--write has --route beside it"],
    [["--peers"], "unknown option --peers, expected --only --quick --no-peers --device"],
    [["--"], "unknown option --, expected --only"],
    [["moe8"], 'unknown argument "moe8", expected --only --quick'],
  ])("%j", (args, message) => {
    let refused: unknown;
    try {
      parseOptions(args);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(UsageError);
    expect((refused as Error).message).toContain(message);
    expect((refused as Error).message).not.toContain("\n");
  });
});

describe("cases", () => {
  test("have names of their own and work that is counted", () => {
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
    for (const { task } of cases) {
      for (const amount of Object.values(workOf(task))) expect(amount).toBeGreaterThan(0);
    }
  });

  test("are chosen by part of a name, or by the name itself when there is one", () => {
    expect(names("MOE64")).toEqual(["moe64 fwd", "moe64 fwd+bwd"]);
    expect(names("moe64 fwd")).toEqual(["moe64 fwd"]);
    expect(names("exp, tiny add")).toEqual(["exp", "tiny add"]);
  });

  test("that are large are left out when it should be quick, unless they are asked for", () => {
    expect(names(null)).toHaveLength(cases.length);
    expect(names(null, true)).not.toContain("matmul 1024³ fwd");
    expect(names("1024", true)).toContain("matmul 1024³ fwd");
  });

  test("a layer's work is that of the experts that were chosen, three times with its gradients", () => {
    const layer = { kind: "moe", T: 10, D: 3, F: 5, E: 7, router: "top2", gelu: "tanh" } as const;
    const forward = 2 * 10 * 3 * 7 + 2 * 10 * (2 * 3 * 5 + 2 * 5 * 3);
    expect(workOf({ ...layer, backward: false })).toEqual({ flops: forward });
    expect(workOf({ ...layer, backward: true })).toEqual({ flops: 3 * forward });
  });
});
