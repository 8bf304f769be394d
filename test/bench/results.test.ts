import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { cases, type Task } from "../../bench/cases.ts";
import { inputsOf, loadProblem, saveProblem } from "../../bench/data.ts";
import { pageOf, plotOf } from "../../bench/page.ts";
import { progressLine } from "../../bench/progress.ts";
import { peers } from "../../bench/sides/peers.ts";
import { median, timeOf } from "../../bench/statistics.ts";
import { type Cell, OWN, type Plan, processesOf, type Results, type Row, sidesOf } from "../../bench/suite.ts";
import { duration, failures, header, line, rate, ratio, shareOfRoof } from "../../bench/table.ts";

const folder = mkdtempSync(join(tmpdir(), "moegrad-"));
afterAll(() => rmSync(folder, { recursive: true }));

const cell = (ms: number): Cell => ({ ms, highest: 2 * ms, processes: 5, error: 1e-7, how: "simd" });
const roof = { gflops: 50, gbytes: 20 };

describe("statistics", () => {
  test("the median does not care about order or outliers", () => {
    expect(median([3, 1, 1000])).toBe(3);
    expect(median([4, 1, 2, 9])).toBe(3);
    expect(median([])).toBeNaN();
  });

  test("a time is that of the quickest process, with how far the slowest is from it", () => {
    expect(timeOf([19.6, 12.6, 12.4])).toEqual({ ms: 12.4, highest: 19.6, processes: 3 });
  });
});

describe("the table", () => {
  test("durations and rates have the unit in which they read best", () => {
    expect([4123, 12.34, 0.1, 0.0123, 5e-6].map(duration)).toEqual([
      "4123 ms",
      "12.3 ms",
      "0.100 ms",
      "12.3 µs",
      "5.00 ns",
    ]);
    expect(rate({ flops: 2e9 }, 100)).toBe("20.0 GFLOP/s");
    expect(rate({ elements: 1e6, bytes: 8e6 }, 1.5)).toBe("1.50 ns/el");
    expect(rate({ bytes: 8e6 }, 1)).toBe("8.00 GB/s");
    expect(rate({}, 1)).toBe("");
  });

  test("the share is of the roof that the work meets", () => {
    expect(shareOfRoof({ flops: 2e9 }, 100, roof)).toBe("40 %");
    expect(shareOfRoof({ elements: 1e6, bytes: 8e6 }, 1, roof)).toBe("40 %");
    expect(shareOfRoof({ elements: 1e6 }, 1, roof)).toBe("");
  });

  test("a ratio above 1 says that moegrad is faster", () => {
    expect(ratio(cell(2), cell(5))).toBe("2.50×");
    expect(ratio(cell(4), cell(1))).toBe("0.250×");
    expect(ratio(cell(4), undefined)).toBe("");
    expect(ratio(cell(4), { failed: "why" })).toBe("failed");
  });

  test("a line has as many columns as the header, and failures are named", () => {
    const row: Row = { name: "exp", work: { elements: 1e6, bytes: 8e6 }, sides: { [OWN]: cell(1), tfjs: cell(3) } };
    expect(header(["jax-js", "tfjs"])).toMatch(/^case +time +of roof +jax-js +tfjs$/);
    expect(line(row, roof, ["jax-js", "tfjs"])).toMatch(/^exp +1\.00 ms +1\.00 ns\/el +40 % +3\.00×$/);
    expect(line(row, roof, ["jax-js", "tfjs"])).toHaveLength(header(["jax-js", "tfjs"]).length);
    expect(failures(row)).toEqual([]);
    expect(failures({ ...row, sides: { [OWN]: { failed: "y differs" } } })).toEqual(["  exp: moegrad: y differs"]);
    expect(line({ ...row, sides: { [OWN]: { failed: "y differs" } } }, roof, [])).toMatch(/^exp +failed: y differs$/);
  });
});

describe("the plan", () => {
  const plan: Plan = {
    ...{ cases, peers: peers.map(({ name }) => name), python: "", quick: true, clock: "wall", folder },
    settings: { device: "auto", threads: 1 },
  };
  const named = (name: string) => cases.filter((c) => c.name === name)[0];

  test("a side is asked for what it can do, and only when it is there", () => {
    const names = (name: string, present = plan.peers) =>
      sidesOf(named(name), { ...plan, peers: present }).map((side) => side.name);
    expect(names("moe8 fwd")).toEqual([OWN, "jax-js", "tfjs", "ort-web", "js-pytorch", "PyTorch"]);
    expect(names("moe8 fwd+bwd")).toEqual([OWN, "jax-js", "tfjs", "js-pytorch", "PyTorch"]);
    expect(names("moe8 fwd", ["tfjs"])).toEqual([OWN, "tfjs"]);
    expect(names("growth T=256")).toEqual([OWN]);
    expect(names("step top-2")).toEqual([OWN]);
  });

  test("its processes are counted, those that make problems included", () => {
    const few = { ...plan, cases: [named("moe8 fwd"), named("step top-2")] };
    expect(processesOf(few)).toBe(1 + 2 + 5 + (1 + 2));
    expect(processesOf({ ...few, quick: false })).toBe(1 + 5 + 5 * 3 + (1 + 5));
  });
});

test("a problem is read as it was written", () => {
  const task: Task = { kind: "gather", rows: 5, width: 3 };
  const problem = { task, inputs: inputsOf(task), expected: { y: Float32Array.of(0.5, -1) } };
  saveProblem(join(folder, "problem"), problem);
  expect(loadProblem(join(folder, "problem"))).toEqual(problem);
});

test("progress is one line, written over, with the time that is left", () => {
  let [text, ms] = ["", 0];
  const output = { isTTY: true, columns: 60, write: (part: string) => (text += part) };
  const progress = progressLine(output, 5, () => ms);
  progress.step("exp: exact results", 1);
  ms = 30_000;
  progress.step("exp: moegrad", 3);
  ms = 90_000;
  progress.step("exp: tfjs", 1);
  progress.clear();
  const lines = text.split("\r\u001b[K");
  expect(lines.slice(1)).toEqual([
    "0/5 exp: exact results",
    "1/5 exp: moegrad | 2 min 0 s left",
    "4/5 exp: tfjs | 23 s left",
    "",
  ]);
});

describe("the page", () => {
  const rows = cases.map(({ name, task, growth }): Row => {
    const able = growth ? [] : peers.filter(({ lacks }) => lacks(task) === null);
    const ms = growth && growth.axis !== "E" ? growth.times : 1;
    const others = able.map((peer) => [peer.name, cell(3)]);
    return { name, work: { flops: 1e9 }, sides: { [OWN]: cell(ms), ...Object.fromEntries(others) } };
  });
  const results: Results = {
    ...{ date: "2030-01-02", node: "v20.0.0", processor: "A processor", load: [0.1, 0.2], device: "simd, 1 thread" },
    ...{ clock: "wall", roof, rows, versions: { tfjs: "1.2.3" }, missing: { PyTorch: "no python3" } },
  };
  const page = pageOf(results);

  test("says where, when and beside what", () => {
    for (const part of ["2030-01-02", "A processor", "Node 20.0.0", "simd, 1 thread", "50.0\nGFLOP/s", "1.2.3"]) {
      expect(page).toContain(part);
    }
    expect(page).toContain("Not there when this was measured: PyTorch (no python3).");
    expect(page).not.toContain("jax-js");
  });

  test("has every case, once alone and once beside others where it has been", () => {
    for (const { name, growth } of cases.filter((c) => c.task.kind !== "step" && c.task.kind !== "tiny")) {
      const lines = page.split("\n").filter((text) => text.startsWith(`| ${name} |`));
      expect(lines).toHaveLength(growth ? 0 : 2);
    }
    expect(page).toContain("| moe8 fwd | 1.00 ms | 3.00 ms (3.00×) |");
    expect(page).toContain("| D, width | 1.00 ms | 2.00 ms | 4.00 ms | 8.00 ms |");
  });

  test("the plot has a line for each letter", () => {
    const plot = plotOf(rows);
    for (const text of ["T, tokens: 8 at 8", "D, width: 8 at 8", "E, experts: 1 at 8"]) expect(plot).toContain(text);
  });

  test("what was not timed leaves gaps", () => {
    expect(pageOf({ ...results, rows: [] })).toContain("| E, experts | – | – | – | – |");
    expect(plotOf([])).toContain("E, experts has no values");
  });
});
