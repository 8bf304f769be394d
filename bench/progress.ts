/** One line that says what runs and how long all of it will still take. */

export interface Output {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

/** How often a plain line is written where lines cannot be written over, in milliseconds. */
const PLAIN_EVERY = 60_000;

export interface Progress {
  /** Before a process: what it is; and for how many of all it stands. */
  step(what: string, processes: number): void;
  clear(): void;
}

/** 90 as "1 min 30 s". */
export function minutes(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Time left, from the mean time of the processes that are done. */
export function progressLine(output: Output, total: number, now: () => number = () => performance.now()): Progress {
  const began = now();
  let [done, running, due] = [0, 0, began + PLAIN_EVERY];
  const clear = (): void => {
    if (output.isTTY) output.write("\r\u001b[K");
  };
  return {
    clear,
    step(what, processes) {
      done += running;
      running = processes;
      const seconds = (now() - began) / 1000;
      const left = done === 0 ? "" : ` | ${minutes((seconds / done) * (total - done))} left`;
      const text = `${done}/${total} ${what}${left}`;
      if (output.isTTY) {
        clear();
        // A line that is wider than the terminal would wrap, and could not be written over.
        output.write(text.slice(0, Math.max(20, (output.columns ?? 80) - 1)));
      } else if (now() >= due) {
        due = now() + PLAIN_EVERY;
        output.write(`${text}\n`);
      }
    },
  };
}
