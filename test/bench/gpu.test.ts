import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { worstError } from "../../bench/agreement.ts";
import { saveProblem } from "../../bench/data.ts";
import { servePage } from "../../bench/gpu/browser.ts";
import { gpuCases, gpuWorkOf } from "../../bench/gpu/cases.ts";
import { chosenGpuCases } from "../../bench/gpu/choice.ts";
import { gpuPageOf } from "../../bench/gpu/markdown.ts";
import { gpuProblem } from "../../bench/gpu/problem.ts";
import { cellOf, type GpuCell, type GpuResults, type GpuRow, type RouteResult } from "../../bench/gpu/results.ts";
import { gpuSteps } from "../../bench/gpu/suite.ts";
import { gpuFailures, gpuHeader, gpuLast, gpuLine, gpuRatio, routeWords } from "../../bench/gpu/table.ts";
import { AdamW, tensor } from "../../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "moegrad-"));
afterAll(() => rmSync(folder, { recursive: true }));

const named = (name: string) => gpuCases.filter((c) => c.name === name)[0];
const names = (only: string | null, quick: boolean, isGpu = false) =>
  chosenGpuCases({ only, quick }, isGpu).map(({ name }) => name);

describe("cases", () => {
  test("have names of their own, and groups that are uneven", () => {
    expect(new Set(gpuCases.map(({ name }) => name)).size).toBe(gpuCases.length);
    for (const { task } of gpuCases) {
      for (const amount of Object.values(gpuWorkOf(task))) expect(amount).toBeGreaterThan(0);
      if (task.kind === "grouped") expect(Math.min(...task.sizes)).toBe(0);
    }
  });

  test("large ones are for a GPU, small ones for a quick look, and any can be named", () => {
    expect(names(null, false)).not.toContain("large moe16 fwd+bwd");
    expect(names(null, false, true)).toContain("large moe16 fwd+bwd");
    expect(names(null, true, true)).not.toContain("large moe16 fwd+bwd");
    expect(names(null, true)).toContain("small moe8 fwd");
    expect(names(null, false)).not.toContain("small moe8 fwd");
    for (const quick of [true, false]) expect(names(null, quick)).toContain("launch");
    expect(names("large moe", true)).toEqual(["large moe16 fwd", "large moe16 fwd+bwd"]);
    expect(names("moe8 fwd", false)).toEqual(["moe8 fwd"]);
  });
});

describe("problems", () => {
  test("a step of AdamW is that of the library", async () => {
    const task = { kind: "adamw", n: 100, lr: 0.01, decay: 0.1 } as const;
    const { inputs, exact } = await gpuProblem({ name: "", size: "small", task });
    const p = tensor(inputs.p.data);
    p.requiresGrad = true;
    p.grad = tensor(inputs.g.data);
    new AdamW([p], { lr: task.lr, weightDecay: task.decay }).step();
    expect(worstError({ p: p.data }, { p: Float32Array.from(exact.p) }).error).toBeLessThan(1e-6);
  });

  test("a chain adds as often as it has launches", async () => {
    const { inputs, exact } = await gpuProblem(named("launch"));
    expect([inputs.x.data[3], exact.y[3]]).toEqual([3, 103]);
  });

  test("large ones are held against the CPU device, which agrees with the loops", async () => {
    const task = { kind: "grouped", sizes: [3, 0, 2], D: 4, N: 8, backward: true } as const;
    const [large, small] = [
      await gpuProblem({ name: "", size: "large", task }),
      await gpuProblem({ name: "", size: "small", task }),
    ];
    const expected = Object.fromEntries(Object.entries(small.exact).map(([name, x]) => [name, Float32Array.from(x)]));
    expect(Object.keys(large.exact).sort()).toEqual(["dw", "dx", "y"]);
    expect(worstError(large.exact, expected).error).toBeLessThan(1e-6);
  });
});

test("the page gets its scripts and the problems, and nothing beside them", async () => {
  const problem = { task: { kind: "tiny" } as const, inputs: {}, expected: { y: Float32Array.of(0.5) } };
  saveProblem(join(folder, "7"), problem);
  const { url, server } = await servePage(new Map([["/page.js", "script"]]), folder);
  try {
    const get = async (path: string) => fetch(`${url}${path}`);
    const page = await get("");
    expect(await page.text()).toContain('<script type="module" src="/page.js">');
    expect(page.headers.get("Cross-Origin-Embedder-Policy")).toBe("require-corp");
    expect(await (await get("page.js")).text()).toBe("script");
    expect(new Float32Array(await (await get("problems/7/expected-y.bin")).arrayBuffer())).toEqual(problem.expected.y);
    for (const path of ["problems/7/%2e%2e/page.js", "problems/8/task.json", "package.json"]) {
      expect((await get(path)).status).toBe(404);
    }
  } finally {
    server.close();
  }
});

const roof = { gflops: 50, gbytes: 20 };
const software: RouteResult = { route: "webgl2", adapter: "SwiftShader", software: true, roof };
const real: RouteResult = { route: "webgpu", adapter: "some GPU", software: false, roof };
const cell = (ms: number): GpuCell => ({ median: 2 * ms, least: ms, rounds: 3, error: 1e-7, way: "plain" });
const row: GpuRow = {
  ...{ name: "moe8 fwd", route: "webgl2", work: { flops: 2e8 } },
  sides: { moegrad: cell(10), "tfjs-webgl": { ...cell(5), median: 40 }, simd: cell(1) },
};
const broken: GpuRow = {
  ...row,
  route: "webgpu",
  sides: { moegrad: cell(10), "tfjs-webgpu": { failed: "y differs" } },
};

describe("the table", () => {
  test("a cell has the median of the rounds and the quickest call", () => {
    expect(cellOf([[9, 5, 7], [30], [8, 6]], 1e-7, "split")).toEqual({ ...cell(0), median: 7, least: 5, way: "split" });
  });

  test("ratios are by medians and by the quickest calls; above 1, moegrad is faster", () => {
    expect(gpuRatio(cell(10), { ...cell(5), median: 40 })).toBe("2.00× 0.500×");
    expect(gpuRatio(cell(10), { failed: "why" })).toBe("failed");
    expect(gpuRatio({ failed: "why" }, cell(10))).toBe("");
    expect(gpuRatio(cell(10), undefined)).toBe("");
  });

  test("a line stands below its header, and failures are named", () => {
    expect(gpuLine(row, software)).toMatch(
      /^moe8 fwd +webgl2 +20\.0 ms +10\.0 ms +10\.0 GFLOP\/s +20 % +2\.00× 0\.500× +0\.100× 0\.100×$/,
    );
    expect(gpuLine(row, software)).toHaveLength(gpuHeader().length);
    expect(gpuLine({ ...row, sides: { moegrad: { failed: "why" } } }, software)).toMatch(/^moe8 fwd +webgl2 +failed$/);
    expect(gpuFailures(row)).toEqual([]);
    expect(gpuFailures(broken)).toEqual(["  moe8 fwd: tfjs-webgpu beside webgpu: y differs"]);
  });

  test("says whether it was a GPU", () => {
    expect(routeWords(software)).toContain("SwiftShader: a program on the CPU, no GPU;");
    expect(routeWords(real)).toContain("webgpu on some GPU; its roof");
  });
});

test("steps are the problem, the CPU's turn, and for every side its check and its rounds", () => {
  const plan = { cases: [named("moe8 fwd"), named("launch")], routes: [software, real], quick: true, folder, url: "" };
  // webgl2 has one peer, webgpu two.
  expect(gpuSteps({ ...plan, peers: true })).toBe(2 * (1 + (2 + 3) * (1 + 3)) + 1);
  expect(gpuSteps({ ...plan, peers: false })).toBe(2 * (1 + (1 + 1) * (1 + 3)) + 1);
});

describe("the page of the documentation", () => {
  const results: GpuResults = {
    ...{ date: "2030-01-02", browser: "Chromium 1", processor: "A processor", load: [0.1, 0.2] },
    ...{ versions: { tfjs: "1.2.3" }, routes: [software, real], missing: { webgl: "the browser has none" } },
    rows: [row, broken],
  };

  test("says plainly when no GPU was measured", () => {
    expect(gpuPageOf({ ...results, routes: [software] })).toContain("**No GPU was measured.**");
    expect(gpuPageOf(results)).toContain("**On webgl2 no GPU was measured.**");
    expect(gpuPageOf({ ...results, routes: [real] })).toContain("What was measured is a GPU.");
    expect(gpuPageOf({ ...results, routes: [real] })).not.toContain("no GPU was measured");
  });

  test("has a table a route, of the columns that were timed", () => {
    const page = gpuPageOf(results);
    for (const part of ["2030-01-02", "Chromium 1", "tfjs 1.2.3", "A processor", "some GPU"])
      expect(page).toContain(part);
    expect(page).toContain("| case | moegrad | quickest | rate | of the roof | tfjs-webgl | simd |");
    expect(page).toContain(
      "| moe8 fwd | 20.0 ms | 10.0 ms | 10.0 GFLOP/s | 20 % | 40.0 ms (2.00× 0.500×) | 2.00 ms (0.100× 0.100×) |",
    );
    expect(page).toContain("| moe8 fwd | 20.0 ms | 10.0 ms | 10.0 GFLOP/s | 20 % | failed |");
    expect(page).toContain("Not there when this was measured: webgl (the browser has none).");
  });

  test("the last line tells the worst error", () => {
    expect(gpuLast(results)).toBe("results at most 1.0e-7 of the largest number from the exact ones");
  });
});
