/** Curves: what changed in the course of the training, as charts. */
import { heatMap, lineChart } from "../../src/report/index.ts";
import { type Results, titleOf } from "./results.ts";
import type { ModelRun } from "./train.ts";

/** A stretch of steps: from the first one, up to but not including the other. */
interface Bin {
  from: number;
  to: number;
}

/** Single steps are noisy: a chart shows means over at most `count` stretches of equal length. */
function binsOf(steps: number, count: number): Bin[] {
  const width = Math.max(1, Math.ceil(steps / count));
  return Array.from({ length: Math.ceil(steps / width) }, (_, i) => ({
    from: i * width,
    to: Math.min(steps, (i + 1) * width),
  }));
}

/** Mean of the values in each bin, null where there are none. */
function meansOf(values: readonly number[], bins: readonly Bin[]): (number | null)[] {
  return bins.map(({ from, to }) => {
    const inside = values.slice(from, to);
    return inside.length > 0 ? inside.reduce((a, b) => a + b, 0) / inside.length : null;
  });
}

const longest = (lists: readonly (readonly unknown[])[]): number => Math.max(0, ...lists.map(({ length }) => length));

/** Training loss and, once it was looked at, the held-out loss. */
export function lossCharts({ models, unigramEntropy }: Results): string[] {
  const bins = binsOf(longest(models.map(({ losses }) => losses)), 100);
  const axes = { xLabel: "step", yLabel: "bits per character", width: 760 };
  const mark = { value: unigramEntropy, label: "character frequencies alone" };
  const training = lineChart({
    ...axes,
    title: "Training loss",
    x: bins.map(({ to }) => to),
    series: models.map((run) => ({ name: titleOf(run), values: meansOf(run.losses, bins) })),
    mark,
  });
  const most = models.reduce((a, b) => (b.looks.length > a.looks.length ? b : a)).looks;
  if (most.length === 0) return [training];
  const heldOut = lineChart({
    ...axes,
    title: "Held-out loss, on a sample of the windows",
    x: most.map(({ step }) => step),
    series: models.map((run) => ({ name: titleOf(run), values: most.map((_, i) => run.looks[i]?.bits ?? null) })),
    mark,
  });
  return [training, heldOut];
}

const largestOverMean = (load: readonly number[]): number =>
  (Math.max(...load) * load.length) /
  Math.max(
    1,
    load.reduce((a, b) => a + b, 0),
  );

/** How uneven the load of a batch is, over the steps. A model without a router has no line, but keeps its colour free. */
export function largestLoads(runs: readonly ModelRun[]): string {
  const bins = binsOf(longest(runs.map(({ loads }) => loads)), 100);
  return lineChart({
    title: "Largest load / mean load of a training batch",
    x: bins.map(({ to }) => to),
    series: runs.map((run) => ({ name: titleOf(run), values: meansOf(run.loads.map(largestOverMean), bins) })),
    xLabel: "step",
    yMin: 1,
    width: 760,
  });
}

/** The load of each expert over the steps; nothing where it never differs. */
export function loadOverTime(run: ModelRun): string[] {
  if (run.loads.every((load) => load.every((n) => n === load[0]))) return [];
  const bins = binsOf(run.loads.length, 20);
  const experts = run.loads[0].map((_, e) => run.loads.map((load) => load[e]));
  const chart = heatMap({
    title: `${titleOf(run)}: load of each expert in training`,
    rows: experts.map((_, e) => `expert ${e}`),
    cols: bins.map(({ to }) => String(to)),
    values: experts.map((loads) => meansOf(loads, bins).map((mean) => mean ?? 0)),
    normalize: "column",
    colLabel: "up to step",
  });
  return [chart];
}
