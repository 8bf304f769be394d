/** The suite: every case on every side, checked and timed, one process after the other. */
import { join } from "node:path";
import { type Case, type Work, workOf } from "./cases.ts";
import type { Children } from "./children.ts";
import type { Roof } from "./roof.ts";
import { type Peer, peers } from "./sides/peers.ts";
import type { Settings } from "./sides/side.ts";
import { type Time, timeOf } from "./statistics.ts";
import type { Clock, Timing } from "./timing.ts";

/** A side's time, or why there is none. */
export type Cell = (Time & { readonly error: number; readonly how: string }) | { readonly failed: string };

export interface Row {
  readonly name: string;
  readonly work: Work;
  /** By name of the side: moegrad, and the peers that can do it. */
  readonly sides: Readonly<Record<string, Cell>>;
}

/** Everything that a run found out: what --json writes, and what the page is made of. */
export interface Results {
  readonly date: string;
  readonly node: string;
  readonly processor: string;
  /** Programs that wanted a core, on average over a minute: before and after. */
  readonly load: readonly [number, number];
  readonly device: string;
  readonly clock: Clock;
  readonly roof: Roof;
  readonly versions: Readonly<Record<string, string>>;
  readonly missing: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

export interface Plan {
  readonly cases: readonly Case[];
  /** The peers that are there. */
  readonly peers: readonly string[];
  readonly python: string;
  readonly settings: Settings;
  readonly clock: Clock;
  readonly quick: boolean;
  /** Where problems are written. */
  readonly folder: string;
}

/** How many processes each side gets, and how long each of them times. */
const EFFORT = {
  full: { own: 5, peers: 3, seconds: 0.35 },
  quick: { own: 2, peers: 1, seconds: 0.2 },
};

/** From here on one process says enough. */
const SLOW_MS = 1000;

export const OWN = "moegrad";

interface Side {
  readonly name: string;
  readonly module: string;
  readonly processes: number;
}

/** The sides of a case. Cases of the plot are moegrad's alone. */
export function sidesOf({ task, growth }: Case, { peers: present, quick }: Pick<Plan, "peers" | "quick">): Side[] {
  const effort = EFFORT[quick ? "quick" : "full"];
  const able = peers.filter(({ name, lacks }) => !growth && present.includes(name) && lacks(task) === null);
  return [
    { name: OWN, module: "./sides/moegrad.ts", processes: effort.own },
    ...able.map(({ name, module }: Peer) => ({
      name,
      module: module.endsWith(".py") ? module : `./peers/${module}`,
      processes: effort.peers,
    })),
  ];
}

/** How many processes the plan has, the ones that make problems included. */
export const processesOf = (plan: Plan): number =>
  plan.cases.reduce((n, c) => n + 1 + sidesOf(c, plan).reduce((m, { processes }) => m + processes, 0), 0);

/** `step`: called before each process, with what it is and how many it stands for. */
export async function* runSuite(
  plan: Plan,
  children: Children,
  step: (what: string, processes: number) => void,
): AsyncGenerator<Row> {
  for (const [i, c] of plan.cases.entries()) {
    const folder = join(plan.folder, String(i));
    step(`${c.name}: exact results`, 1);
    await children.ask({ do: "problem", name: c.name, folder });
    yield { name: c.name, work: workOf(c.task), sides: await timeSides(c, folder, plan, children, step) };
  }
}

/** In rounds, so that what slows the machine for a while slows all sides. */
async function timeSides(
  c: Case,
  folder: string,
  { settings, python, clock, ...plan }: Plan,
  children: Children,
  step: (what: string, processes: number) => void,
): Promise<Row["sides"]> {
  const sides = sidesOf(c, plan);
  const { seconds } = EFFORT[plan.quick ? "quick" : "full"];
  const timings = new Map(sides.map(({ name }) => [name, [] as (Timing & { how: string })[]]));
  const failures = new Map<string, string>();
  const open = new Set(sides);
  for (let round = 0; open.size > 0; round++) {
    for (const side of [...open]) {
      const { name, module, processes } = side;
      const done = timings.get(name) as (Timing & { how: string })[];
      const slow = done.length > 0 && done[0].ms > SLOW_MS;
      if (round === processes || slow || failures.has(name)) {
        open.delete(side);
        step(c.name, processes - round);
        continue;
      }
      step(`${c.name}: ${name}`, 1);
      try {
        done.push(await children.ask({ do: "time", module, folder, seconds, clock, ...settings }, python));
      } catch (error) {
        if (children.stopped) throw error;
        // A traceback ends with what it is about.
        failures.set(name, (error as Error).message.split("\n").at(-1) as string);
      }
    }
  }
  return Object.fromEntries(
    sides.map(({ name }) => {
      const failed = failures.get(name);
      return [name, failed === undefined ? cellOf(timings.get(name) as (Timing & { how: string })[]) : { failed }];
    }),
  );
}

function cellOf(timings: readonly (Timing & { readonly how: string })[]): Cell {
  const { ms, highest, processes } = timeOf(timings.map((timing) => timing.ms));
  const error = Math.max(...timings.map((timing) => timing.error));
  return { ms, highest, processes, error, how: timings[0].how };
}
