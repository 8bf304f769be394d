/** One line that says which trials run, how far all are, and how long the rest will take. */
import { minutes, type Output } from "../progress.ts";
import type { Trial } from "./experiment.ts";

export interface ProgressLine {
  update(trial: Trial, share: number): void;
  done(trial: Trial, note: string): void;
  /** In a terminal, puts a remark in its place. */
  say(text: string): void;
  clear(): void;
}

/** When the line is first written, by when it can say something of the time, and how often from then on, in milliseconds. */
const FIRST = 3000;
const TERMINAL_EVERY = 200;
const PLAIN_EVERY = 30_000;

/** `kept`: how many more trials had their records already. */
export function progressLine(
  output: Output,
  trials: readonly Trial[],
  kept: number,
  now: () => number = () => performance.now(),
): ProgressLine {
  const work = trials.reduce((sum, trial) => sum + trial.work, 0);
  const running = new Map<Trial, number>();
  const began = now();
  let [finished, finishedWork, due] = [0, 0, began + FIRST];
  const clear = (): void => {
    if (output.isTTY) output.write("\r\u001b[K");
  };
  const show = (text: string): void => {
    clear();
    // A line that is wider than the terminal would wrap, and could not be written over.
    output.write(output.isTTY ? text.slice(0, Math.max(20, (output.columns ?? 80) - 1)) : `${text}\n`);
  };
  const text = (): string => {
    const doing = [...running].reduce((sum, [trial, share]) => sum + trial.work * share, 0);
    const part = (finishedWork + doing) / work;
    const left = part > 0 ? ` | ${minutes((((now() - began) / 1000) * (1 - part)) / part)} left` : "";
    const names = [...running.keys()].map(({ label, seed }) => `${label} #${seed}`).join("; ");
    return `${kept + finished}/${kept + trials.length} runs${left} | ${names}`;
  };
  return {
    update(trial, share) {
      running.set(trial, share);
      if (now() < due) return;
      due = now() + (output.isTTY ? TERMINAL_EVERY : PLAIN_EVERY);
      show(text());
    },
    done(trial, note) {
      running.delete(trial);
      finished++;
      finishedWork += trial.work;
      clear();
      output.write(`${trial.label}, seed ${trial.seed}: ${note}\n`);
    },
    say(remark) {
      due = Infinity;
      show(remark);
    },
    clear,
  };
}
