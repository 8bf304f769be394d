/** Progress: one line that is written over in a terminal, and a line now and then elsewhere. */
import { variants } from "./model.ts";
import type { GpuWork } from "./read.ts";
import { BATCH, type Job, type ModelRun, type Progress } from "./train.ts";

/** Where lines go: process.stdout, or what looks like it. */
export interface Output {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

export interface ProgressLine {
  update(progress: Progress): void;
  done(run: ModelRun): void;
  /** In a terminal, puts a remark in its place, where it stays. */
  say(text: string): void;
  /** Takes the line away, so that other text can follow. */
  clear(): void;
}

/** When the line is first written, and how often from then on, in milliseconds. */
const FIRST = 1000;
const TERMINAL_EVERY = 100;
const PLAIN_EVERY = 10_000;

/** One line for all models, however many are trained at a time. */
export function progressLine(
  output: Output,
  jobs: readonly Job[],
  now: () => number = () => performance.now(),
): ProgressLine {
  const total = jobs.reduce((n, { steps }) => n + steps, 0);
  const bitsOf = new Map<Progress["variant"], number>();
  const every = output.isTTY ? TERMINAL_EVERY : PLAIN_EVERY;
  // The clock starts with the first step: before it, threads and texts are loaded.
  let began: number | null = null;
  let due = 0;
  let steps = 0;

  const text = (seconds: number): string => {
    const bits = [...bitsOf].map(([variant, x]) => `${variants[variant].title} ${x.toFixed(2)}`).join(", ");
    const rate = (steps - 1) / Math.max(seconds, 1e-9);
    const left = steps === total ? "evaluating" : `${duration((total - steps) / rate)} left`;
    return `step ${steps}/${total} | ${bits} bits | ${grouped(rate * BATCH)} char/s | ${left}`;
  };
  const clear = (): void => {
    if (output.isTTY) output.write("\r\u001b[K");
  };
  const show = (text: string): void => {
    clear();
    // A line that is wider than the terminal would wrap, and could not be written over.
    if (output.isTTY) output.write(text.slice(0, Math.max(20, (output.columns ?? 80) - 1)));
  };
  return {
    update({ variant, bits }: Progress): void {
      steps++;
      const before = bitsOf.get(variant);
      // A single batch is noisy: the line shows a running mean.
      bitsOf.set(variant, before === undefined ? bits : 0.95 * before + 0.05 * bits);
      began ??= now();
      due ||= began + FIRST;
      if (now() < due && steps < total) return;
      due = now() + every;
      const line = text((now() - began) / 1000);
      if (output.isTTY) show(line);
      else output.write(`${line}\n`);
    },
    done({ variant, losses, heldOutBits, trainingSeconds, gpu }: ModelRun): void {
      bitsOf.delete(variant);
      clear();
      const { title } = variants[variant];
      const after = `after ${grouped(losses.length)} steps in ${duration(trainingSeconds)}`;
      output.write(`${title}: ${heldOutBits.toFixed(3)} bits per held-out character ${after}\n`);
      if (gpu !== null) output.write(`  ${perStep(gpu, losses.length)}\n`);
    },
    say(text: string): void {
      due = Infinity;
      show(text);
    },
    clear,
  };
}

/** What the GPU did in a step, on average. */
function perStep({ launches, readbacks, fallbacks }: GpuWork, steps: number): string {
  const [a, b, c] = [launches, readbacks, fallbacks].map((n) => (n / Math.max(1, steps)).toFixed(0));
  return `a step takes ${a} launches, ${b} readbacks, and ${c} calls of kernels that the loops run`;
}

/** 90 as "1 min 30 s". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** An integer with its thousands apart. */
export const grouped = (x: number): string => Math.round(x).toLocaleString("en-US");
