import { describe, expect, test, vi } from "vitest";
import { type Job, type ModelRun, type Progress, train } from "../../bench/start/train.ts";

// Other work on the machine can make a second of training many.
vi.setConfig({ testTimeout: 120_000 });

/** Two of the shortest texts that there are, so that a run is a matter of a second. */
const job = (variant: Job["variant"], more: Partial<Job> = {}): Job => ({
  variant,
  languages: ["taj", "tgl_tglg"],
  numExperts: 4,
  steps: 3,
  seed: 1,
  device: "auto",
  ...more,
});

/** Everything but what a clock measured. */
const untimed = ({ trainingSeconds, ...run }: ModelRun) => run;

describe("training", () => {
  test.each(["gshard", "expert-choice"] as const)(
    "%s gives the same numbers again, to the last digit",
    async (variant) => {
      const runs = [await train(job(variant)), await train(job(variant))];
      expect(untimed(runs[0])).toEqual(untimed(runs[1]));
      expect(runs[0].losses).toHaveLength(3);
    },
  );

  test.each(["dense", "top2", "gshard", "expert-choice"] as const)(
    "%s has the losses of the loops on every device, but for rounding",
    async (variant) => {
      const [loops, simd] = [
        await train(job(variant, { device: "loops", steps: 10 })),
        await train(job(variant, { device: "simd", steps: 10 })),
      ];
      for (const [i, bits] of simd.losses.entries()) expect(Math.abs(bits - loops.losses[i])).toBeLessThan(1e-4);
      expect(Math.abs(simd.heldOutBits - loops.heldOutBits)).toBeLessThan(0.02);
    },
  );

  test("another seed gives other numbers", async () => {
    const [a, b] = [await train(job("dense")), await train(job("dense", { seed: 2 }))];
    expect(a.losses).not.toEqual(b.losses);
    expect(a.heldOutBits).not.toBe(b.heldOutBits);
  });

  test("the loss falls, and each step is told", async () => {
    const told: Progress[] = [];
    const run = await train(job("top2", { steps: 60 }), (progress) => told.push(progress));
    expect(told.map(({ step }) => step)).toEqual(run.losses.map((_, i) => i + 1));
    expect(told.map(({ bits }) => bits)).toEqual(run.losses);
    expect(run.losses[59]).toBeLessThan(run.losses[0] - 1);
    expect(run.looks.map(({ step }) => step)).toEqual([6, 12, 18, 24, 30, 36, 42, 48, 54, 60]);
    // Dropless: each of 128 windows has two experts.
    for (const load of run.loads) expect(load.reduce((a, b) => a + b, 0)).toBe(2 * 128);
    expect(run.report?.expertsPerToken).toEqual([0, 0, run.report?.numTokens]);
  });

  test("stops after the step at which it is told to, and still evaluates", async () => {
    let steps = 0;
    const run = await train(
      job("gshard", { steps: 100 }),
      () => steps++,
      () => steps === 2,
    );
    expect(run.losses).toHaveLength(2);
    expect(run.heldOutBits).toBeGreaterThan(0);
    expect(run.pieces.map(({ language }) => language)).toEqual(["Tamang, Eastern", "Tagalog (Tagalog)"]);
    for (const { chars, experts } of run.pieces) expect(experts).toHaveLength(chars.length);
    for (const { prompt, text } of run.written) expect([[...prompt].length, [...text].length]).toEqual([8, 100]);
  });
});
