/**
 * The collapse alarm: says early that a router is sending everything to a few experts.
 *
 * An expert that gets more tokens learns faster, scores higher and gets more tokens still. Left alone that loop ends with a few
 * experts that do everything. By then it is late: experts that got nothing have learned nothing. So the alarm looks at where
 * the load is going, not only at where it is.
 *
 *   q[e]       share of the slots that asked for e, over the last W steps together
 *   effective  exp(H(q)), H = −Σ q ln q: as many experts with even loads would be as spread; from k to E
 *   evenness   (effective − k) / (E − k): 1 = even, 0 = every token asks for the same k experts
 *   trend      slope of the evenness of single steps over the last W, by least squares; its t-value says whether it is chance
 *   projected  where the line is in `horizon` steps
 *
 *   "collapsed"  evenness < low
 *   "falling"    trend with t < −4, and projected < low: a collapse that is on its way
 *   "ok"         neither
 *
 * Slots that were dropped count too: a capacity cuts loads off, and hides a collapse in what was granted.
 */
import { checkInteger, checkNumber, checkOptions, rangeError, show, typeError } from "../errors.ts";
import { entropyOf, sum } from "./information.ts";
import { checkRoutings, type RoutingLike } from "./input.ts";

export interface CollapseAlarmOptions {
  /** Experts per token: no collapse goes below them. Default 1. */
  k?: number | undefined;
  /** W: how many steps are looked at together. Default 16. */
  window?: number | undefined;
  /** How many steps ahead "falling" looks. Default 2 · W. */
  horizon?: number | undefined;
  /** The evenness below which load counts as collapsed. Default 0.25: 2.75 effective experts of 8. */
  low?: number | undefined;
  /** The evenness above which the alarm ends: with a gap to `low`, it does not flicker. Default 0.4. */
  high?: number | undefined;
  /** Steps in a row that a state must hold before it is the state. Default 3. */
  patience?: number | undefined;
}

export type CollapseState = "ok" | "falling" | "collapsed";

/** What the alarm has seen up to a step; plain data. */
export interface CollapseStatus {
  /** Steps with any slots so far. "ok" is all that is said of the first W. */
  steps: number;
  state: CollapseState;
  /** Whether this step changed the state. */
  changed: boolean;
  effectiveExperts: number;
  evenness: number;
  /** Change of evenness per step, and where it leads; null before W steps. */
  trend: number | null;
  projected: number | null;
  /** max load / mean load */
  maxOverMean: number;
  /** Experts below 1 % of the mean load, as a fraction of all. */
  deadShare: number;
}

type Settings = { [K in keyof CollapseAlarmOptions]-?: number };

/** A t-value that chance alone passes about once in ten thousand steps: neighbouring windows share most of their steps. */
const SURE = 4;

/**
 * An alarm for one layer: give it the routing of every step, or the loads.
 *
 *   const alarm = new CollapseAlarm({ k: 2 });
 *   for (…) {
 *     …
 *     const { state, changed, effectiveExperts } = alarm.update(routing);
 *     if (changed && state !== "ok") console.warn(`step ${step}: ${state}, ${effectiveExperts.toFixed(1)} experts in use`);
 *   }
 *
 * A change of state has to hold for `patience` steps, and an alarm ends only above `high`. Expert choice is even by
 * construction: it cannot collapse, and the alarm is silent.
 *
 * Cost     O(S + W + E) a step
 * Throws   RangeError for settings out of bounds, another number of experts than before, or k experts and no more; TypeError
 *          for things of another kind
 */
export class CollapseAlarm {
  readonly #settings: Settings;
  readonly #loads: number[][] = [];
  #steps = 0;
  #state: CollapseState = "ok";
  #candidate: CollapseState = "ok";
  #held = 0;

  constructor(options: CollapseAlarmOptions = {}) {
    this.#settings = checkSettings(options);
  }

  /** One step: the routing of its batch, the routings of its parts, or how many slots asked for each expert. */
  update(step: RoutingLike | readonly RoutingLike[] | ArrayLike<number>): CollapseStatus {
    const { k, window, horizon } = this.#settings;
    const load = loadOfStep(step);
    const E = this.#loads[0]?.length ?? load.length;
    const op = "CollapseAlarm";
    if (load.length !== E)
      throw rangeError(op, "the step", `${load.length} experts`, `${E}`, "those of the steps before");
    if (E <= k) throw rangeError(op, "the step", `${E} experts`, `more than k = ${k}`, "nothing can collapse");
    const counts = sum(load) > 0;
    if (counts) {
      this.#steps++;
      this.#loads.push(load);
      if (this.#loads.length > window) this.#loads.shift();
    }
    // Where nothing has been asked for yet, nothing is uneven.
    const seen = this.#loads.length > 0 ? this.#loads : [load.map(() => 1)];
    const pooled = load.map((_, e) => sum(seen.map((own) => own[e])));
    const mean = sum(pooled) / E;
    const evenness = evennessOf(pooled, k);
    const line = this.#loads.length < window ? null : fitLine(this.#loads.map((own) => evennessOf(own, k)));
    const projected = line === null ? null : line.last + line.slope * horizon;
    const changed = counts && line !== null && this.#decide(evenness, line, projected as number);
    return {
      ...{ steps: this.#steps, state: this.#state, changed, effectiveExperts: Math.exp(entropyOf(pooled)), evenness },
      ...{ trend: line?.slope ?? null, projected },
      maxOverMean: Math.max(...pooled) / mean,
      deadShare: pooled.filter((n) => n < mean / 100).length / E,
    };
  }

  /** Whether the state changes. */
  #decide(evenness: number, line: Line, projected: number): boolean {
    const { low, high, patience } = this.#settings;
    // An alarm that is on ends at the higher mark.
    const mark = this.#state === "ok" ? low : high;
    const falls = line.t < -SURE && projected < mark;
    const collapsed = evenness < (this.#state === "collapsed" ? high : low);
    const found: CollapseState = collapsed ? "collapsed" : falls ? "falling" : "ok";
    this.#held = found === this.#candidate ? this.#held + 1 : 1;
    this.#candidate = found;
    if (found === this.#state || this.#held < patience) return false;
    this.#state = found;
    return true;
  }
}

function checkSettings(options: CollapseAlarmOptions): Settings {
  const op = "CollapseAlarm";
  checkOptions(op, options, ["k", "window", "horizon", "low", "high", "patience"]);
  const { k = 1, window = 16, horizon = 2 * window, low = 0.25, high = 0.4, patience = 3 } = options;
  checkNumber(op, "k", k, "a number of at least 1", (x) => x >= 1);
  checkInteger(op, "window", window, 4, 1e6, "a trend needs some steps");
  checkInteger(op, "horizon", horizon, 0, Infinity);
  checkNumber(op, "low", low, "a number from 0 to 1", (x) => x >= 0 && x <= 1);
  checkNumber(op, "high", high, `a number from low = ${low} to 1`, (x) => x >= low && x <= 1);
  checkInteger(op, "patience", patience, 1, Infinity);
  return { k, window, horizon, low, high, patience };
}

/** How many slots asked for each expert, granted or not. */
function loadOfStep(step: RoutingLike | readonly RoutingLike[] | ArrayLike<number>): number[] {
  const op = "CollapseAlarm";
  const list = step as ArrayLike<unknown> | null;
  const isLoads = typeof list?.length === "number" && typeof step !== "string" && typeof list[0] !== "object";
  if (isLoads) {
    return Array.from(step as ArrayLike<number>, (n, e) => {
      checkNumber(op, `load[${e}]`, n, "a number of at least 0", (x) => x >= 0);
      return n;
    });
  }
  if (step === null || typeof step !== "object") throw typeError(op, "the step", show(step), "a routing, or loads");
  const routings = checkRoutings(op, step as RoutingLike | readonly RoutingLike[]);
  const load = new Array<number>(routings[0].numExperts).fill(0);
  for (const { numSlots, expertOfSlot, slotsOfToken, tokenOffsets, numTokens } of routings) {
    // By token: a router may leave room behind the slots that were asked for.
    const asked = Math.min(numSlots, tokenOffsets.data[numTokens]);
    for (let i = 0; i < asked; i++) load[expertOfSlot.data[slotsOfToken.data[i]]]++;
  }
  return load;
}

/** Of loads: 1 where they are even, 0 where k experts have all. */
function evennessOf(load: readonly number[], k: number): number {
  return Math.min(1, Math.max(0, (Math.exp(entropyOf(load)) - k) / (load.length - k)));
}

interface Line {
  readonly slope: number;
  /** The height of the line at the last value. */
  readonly last: number;
  /** slope / its standard error */
  readonly t: number;
}

/** The line through values at 0, 1, 2, … with the least squares. */
function fitLine(values: readonly number[]): Line {
  const n = values.length;
  const [middle, mean] = [(n - 1) / 2, sum(values) / n];
  const spread = (n * (n * n - 1)) / 12;
  const slope = sum(values.map((y, x) => (x - middle) * (y - mean))) / spread;
  const left = sum(values.map((y, x) => (y - mean - slope * (x - middle)) ** 2));
  const error = Math.sqrt(left / (n - 2) / spread);
  return { slope, last: mean + slope * middle, t: slope === 0 ? 0 : slope / Math.max(error, 1e-12) };
}
