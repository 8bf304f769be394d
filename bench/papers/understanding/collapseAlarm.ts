/**
 * The collapse alarm on loads whose truth is known, as a task: how often it is wrong, and how early it is right.
 *
 * Loads are drawn from shares q_t that change in one of five ways; the alarm sees the loads, the truth is the evenness of q_t.
 */
import { Generator } from "../../../src/index.ts";
import { CollapseAlarm } from "../../../src/report/index.ts";
import type { Task } from "../experiment.ts";

export type Stream = "even" | "skewed" | "wandering" | "settling" | "collapsing";

export interface AlarmParams {
  readonly stream: Stream;
  readonly experts: number;
  /** Slots of a step. */
  readonly slots: number;
  readonly steps: number;
  readonly runs: number;
}

export interface AlarmRecord {
  /** Of all runs together: steps, and how often an alarm began before the truth was below the mark. */
  readonly steps: number;
  readonly falseFalling: number;
  readonly falseCollapsed: number;
  /** Runs in which the truth fell below the mark; of these, how many steps earlier (below 0: later) an alarm was on. */
  readonly collapses: number;
  readonly leads: readonly number[];
  /** Of those that were seen, at which step the truth fell. */
  readonly times: readonly number[];
}

/** The alarm's default `low`. */
const LOW = 0.25;
/** A warning this many steps before the truth is no false one. */
const EARLY = 200;

export const alarmTask: Task<AlarmParams, AlarmRecord> = {
  name: "alarm",
  version: 1,
  run(params, { seed, progress }) {
    const found = {
      steps: 0,
      falseFalling: 0,
      falseCollapsed: 0,
      collapses: 0,
      leads: [] as number[],
      times: [] as number[],
    };
    for (let i = 0; i < params.runs; i++) {
      const { starts, fellAt } = watch(params, new Generator(seed).split(i));
      found.steps += params.steps;
      const early = starts.filter(({ step }) => fellAt === null || step < fellAt - EARLY);
      found.falseFalling += early.filter(({ state }) => state === "falling").length;
      found.falseCollapsed += early.filter(({ state }) => state === "collapsed").length;
      if (fellAt !== null) {
        found.collapses++;
        const first = starts.find(({ step }) => step >= fellAt - EARLY);
        if (first !== undefined) {
          found.leads.push(fellAt - first.step);
          found.times.push(fellAt);
        }
      }
      progress((i + 1) / params.runs);
    }
    return found;
  },
};

interface Start {
  readonly step: number;
  readonly state: "falling" | "collapsed";
}

/** One run: when alarms began, and when the truth fell below the mark. */
function watch(
  { stream, experts: E, slots, steps }: AlarmParams,
  rng: Generator,
): { starts: Start[]; fellAt: number | null } {
  const alarm = new CollapseAlarm();
  const next = streams[stream](E, rng.split("shares"));
  const draws = rng.split("loads");
  const starts: Start[] = [];
  let fellAt: number | null = null;
  for (let step = 0; step < steps; step++) {
    const shares = next(step);
    if (fellAt === null && evennessOf(shares) < LOW) fellAt = step;
    const { state, changed } = alarm.update(loadsOf(shares, slots, draws));
    if (changed && state !== "ok") starts.push({ step, state });
  }
  return { starts, fellAt };
}

/** `slots` draws of an expert by its share. */
function loadsOf(shares: readonly number[], slots: number, rng: Generator): number[] {
  const load = shares.map(() => 0);
  for (let s = 0; s < slots; s++) {
    let left = rng.uniform();
    let e = 0;
    while (e < shares.length - 1 && left >= shares[e]) left -= shares[e++];
    load[e]++;
  }
  return load;
}

function evennessOf(shares: readonly number[]): number {
  const entropy = -shares.reduce((h, q) => h + (q > 0 ? q * Math.log(q) : 0), 0);
  return (Math.exp(entropy) - 1) / (shares.length - 1);
}

function softmax(logits: readonly number[]): number[] {
  const largest = Math.max(...logits);
  const exps = logits.map((x) => Math.exp(x - largest));
  const total = exps.reduce((a, b) => a + b, 0);
  return exps.map((x) => x / total);
}

/** Shares of each step, by kind. */
const streams: Record<Stream, (E: number, rng: Generator) => (step: number) => number[]> = {
  even: (E) => () => softmax(new Array<number>(E).fill(0)),
  skewed(E, rng) {
    const shares = softmax(Array.from({ length: E }, () => 0.7 * rng.normal()));
    return () => shares;
  },
  wandering(E, rng) {
    const logits = Array.from({ length: E }, () => 0.5 * rng.normal());
    return () => {
      for (let e = 0; e < E; e++) logits[e] += 0.1 * rng.normal() - 0.02 * logits[e];
      return softmax(logits);
    };
  },
  // Half of the experts are left after some time, as when there are fewer clusters than experts: no collapse.
  settling(E, rng) {
    const time = 50 + rng.integer(400);
    return (step) =>
      softmax(Array.from({ length: E }, (_, e) => (e % 2 === 0 ? 0 : (-6 * Math.min(step, time)) / time)));
  },
  // The self-fulfilling loop: who has more gets more.
  collapsing(E, rng) {
    const rate = 10 ** (-2 + 1.2 * rng.uniform());
    let logits = Array.from({ length: E }, () => 0.3 * rng.normal());
    return () => {
      const shares = softmax(logits);
      logits = logits.map((x, e) => x + rate * (E * shares[e] - 1));
      return shares;
    };
  },
};
