import { describe, expect, test } from "vitest";
import { duration, progressLine } from "../../bench/start/progress.ts";
import { BATCH, type Job } from "../../bench/start/train.ts";

const job = (variant: Job["variant"], steps: number): Job => ({
  variant,
  languages: [],
  numExperts: 8,
  steps,
  seed: 1,
  device: "auto",
});

/** A progress line whose clock goes one second a step. */
function watch(isTTY: boolean, columns: number, steps: number) {
  let text = "";
  let ms = 0;
  const output = { isTTY, columns, write: (part: string) => (text += part) };
  const line = progressLine(output, [job("dense", steps), job("expert-choice", steps)], () => ms);
  for (let step = 1; step <= steps; step++) {
    line.update({ variant: "dense", step, bits: 3 });
    line.update({ variant: "expert-choice", step, bits: 2 });
    ms += 1000;
  }
  return text;
}

describe("progress", () => {
  test("in a terminal it is one line, written over, never wider than the terminal", () => {
    const text = watch(true, 60, 30);
    expect(text).not.toContain("\n");
    const lines = text.split("\r\u001b[K").slice(1);
    expect(lines.length).toBeGreaterThan(20);
    for (const line of lines) expect(line.length).toBeLessThan(60);
    expect(lines[0]).toMatch(/^step 3\/60 \| dense 3\.00, expert choice 2\.00 bits \|/);
  });

  test("elsewhere it is a plain line now and then, with what there is to know", () => {
    const lines = watch(false, 80, 30).trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines.join("")).not.toContain("\u001b");
    const rate = (2 * BATCH).toString();
    expect(lines[1]).toBe(`step 23/60 | dense 3.00, expert choice 2.00 bits | ${rate} char/s | 19 s left`);
    expect(lines[3]).toContain("step 60/60");
    expect(lines[3]).toContain("evaluating");
  });

  test("durations", () => {
    expect([0.4, 59.4, 60, 125].map(duration)).toEqual(["0 s", "59 s", "1 min 0 s", "2 min 5 s"]);
  });
});
