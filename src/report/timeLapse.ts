/**
 * Time-lapse: the same tokens, routed at several checkpoints of a training. How load and specialisation came about, and how early
 * the router knew what it would do in the end.
 */
import { checkNumber, checkOptions, rangeError, show, typeError } from "../errors.ts";
import { heatMap } from "./heatMap.ts";
import { entropyOf, sum } from "./information.ts";
import { checkRoutings, type LabelSets, type RoutingLike, type TokenMask } from "./input.ts";
import { lineChart } from "./lineChart.ts";
import { figure, type Section } from "./page.ts";
import { routingReport } from "./statistics.ts";
import { formatNumber } from "./svg.ts";

/** How one layer routed some tokens at a step of its training. */
export interface Snapshot {
  readonly step: number;
  /** One or several batches; the same tokens in every snapshot. */
  readonly routing: RoutingLike | readonly RoutingLike[];
}

/** What changed from checkpoint to checkpoint; plain data, one entry a checkpoint. */
export interface TimeLapse {
  steps: number[];
  /** share of the granted slots of each expert, [checkpoints][E] */
  load: number[][];
  /** exp(H) of the load: as many experts with even loads would be as spread */
  effectiveExperts: number[];
  /** of each label set: H(label | expert) in nats, and the part of the router's choice that it explains */
  labels: Record<string, { dispatchEntropy: number[]; share: number[] }>;
  /** the part of the last checkpoint's choices that was there already */
  saturation: number[];
  /** what the saturation would be if the choices had nothing to do with the last ones: mean experts per token / E */
  saturationByChance: number;
}

/**
 * Router saturation: how much of what a router will ask for in the end it asks for already.
 *
 *   Sat = Σ_t |A[t] ∩ Z[t]| / Σ_t |Z[t]|        A, Z: the experts that token t asks for before and in the end, granted or not
 *
 * With k experts for each token this is the mean of |A ∩ Z| / k; 1 for the last router itself, k/E for one that has nothing to do
 * with it.
 *
 * Edges    1 where nothing is asked for in the end
 * Throws   RangeError for routings of other tokens or experts; TypeError for things of another kind
 * Source   Muennighoff et al. 2024, "OLMoE", Eq. 5
 */
export function routerSaturation(
  before: RoutingLike | readonly RoutingLike[],
  last: RoutingLike | readonly RoutingLike[],
): number {
  const op = "routerSaturation";
  const [a, z] = [checkRoutings(op, before), checkRoutings(op, last)];
  checkSame(op, "before", a, z);
  const [earlier, final] = [choicesOf(a), choicesOf(z)];
  const asked = sum(final.map((own) => own.size));
  const kept = sum(final.map((own, t) => [...own].filter((e) => earlier[t].has(e)).length));
  return asked === 0 ? 1 : kept / asked;
}

/** The experts that each token asks for, over all routings one after the other. */
function choicesOf(routings: readonly RoutingLike[]): Set<number>[] {
  return routings.flatMap(({ numTokens, slotsOfToken, tokenOffsets, expertOfSlot }) =>
    Array.from({ length: numTokens }, (_, t) => {
      const own = new Set<number>();
      for (let i = tokenOffsets.data[t]; i < tokenOffsets.data[t + 1]; i++) {
        own.add(expertOfSlot.data[slotsOfToken.data[i]]);
      }
      return own;
    }),
  );
}

const tokensIn = (routings: readonly RoutingLike[]): number => sum(routings.map(({ numTokens }) => numTokens));

function checkSame(op: string, argument: string, a: readonly RoutingLike[], z: readonly RoutingLike[]): void {
  const sizes = (list: readonly RoutingLike[]): string => `${tokensIn(list)} tokens and ${list[0].numExperts} experts`;
  if (sizes(a) !== sizes(z)) throw rangeError(op, argument, sizes(a), sizes(z), "those of the last routing");
}

/**
 * What changed over a training: load, specialisation and saturation at each checkpoint, against the last one.
 *
 * Take snapshots in evaluation, of tokens that were not trained on: a router's noise would look like change. Labels and mask are
 * those of routingReport, the same for all checkpoints.
 *
 * Throws   RangeError for fewer than two snapshots, steps that do not rise, or routings of different tokens or experts; and as
 *          routingReport
 */
export function timeLapse(
  snapshots: readonly Snapshot[],
  options: { labels?: LabelSets | undefined; mask?: TokenMask | undefined } = {},
): TimeLapse {
  const op = "timeLapse";
  checkOptions(op, options, ["labels", "mask"]);
  checkSnapshots(op, snapshots);
  const last = snapshots[snapshots.length - 1].routing;
  const reports = snapshots.map(({ routing }) => routingReport(routing, options));
  const names = Object.keys(reports[0].labels);
  const choices = choicesOf(checkRoutings(op, last));
  const asking = choices.filter((own) => own.size > 0).length;
  return {
    steps: snapshots.map(({ step }) => step),
    load: reports.map(({ load, granted }) => load.map((n) => (granted > 0 ? n / granted : 0))),
    effectiveExperts: reports.map(({ load }) => Math.exp(entropyOf(load))),
    labels: Object.fromEntries(
      names.map((name) => {
        const of = reports.map(({ labels }) => labels[name]);
        return [name, { dispatchEntropy: of.map((one) => one.dispatchEntropy), share: of.map((one) => one.share) }];
      }),
    ),
    saturation: snapshots.map(({ routing }) => routerSaturation(routing, last)),
    saturationByChance: asking === 0 ? 1 : sum(choices.map((own) => own.size)) / asking / reports[0].numExperts,
  };
}

function checkSnapshots(op: string, snapshots: readonly Snapshot[]): void {
  if (!Array.isArray(snapshots)) throw typeError(op, "snapshots", show(snapshots), "a list of { step, routing }");
  if (snapshots.length < 2) throw rangeError(op, "snapshots", `${snapshots.length} entries`, "at least 2");
  for (const [i, snapshot] of snapshots.entries()) {
    if (snapshot === null || typeof snapshot !== "object") {
      throw typeError(op, `snapshots[${i}]`, show(snapshot), "{ step, routing }");
    }
    const after = i === 0 ? -Infinity : snapshots[i - 1].step;
    checkNumber(op, `snapshots[${i}].step`, snapshot.step, "a number above the one before", (step) => step > after);
  }
  const last = checkRoutings(op, snapshots[snapshots.length - 1].routing);
  for (const [i, { routing }] of snapshots.entries()) {
    checkSame(op, `snapshots[${i}].routing`, checkRoutings(op, routing), last);
  }
}

/** How the experts' shares changed: a row an expert, a column a checkpoint, as SVG in a string. */
export function loadOverTime({ steps, load }: TimeLapse): string {
  const experts = load[0].map((_, e) => e);
  return heatMap({
    title: "Share of each expert over training",
    rows: experts.map((e) => `expert ${e}`),
    cols: steps.map((step) => formatNumber(step)),
    values: experts.map((e) => load.map((shares) => shares[e])),
    colLabel: "step",
  });
}

/** The part of the router's choice that each label set explains, over training, as SVG in a string. Needs a label set. */
export function specializationOverTime({ steps, labels }: TimeLapse): string {
  return lineChart({
    title: "What explains the router's choice, over training",
    series: Object.entries(labels).map(([name, { share }]) => ({ name, values: share })),
    ...{ x: steps, yMin: 0, xLabel: "step", yLabel: "share of H(expert)" },
  });
}

/** Router saturation over training, beside that of chance, as SVG in a string. */
export function saturationOverTime({ steps, saturation, saturationByChance }: TimeLapse): string {
  return lineChart({
    title: "How much of the last routing was there already",
    series: [{ name: "saturation", values: saturation }],
    mark: { value: saturationByChance, label: "chance" },
    ...{ x: steps, yMin: 0, yMax: 1, xLabel: "step", yLabel: "router saturation" },
  });
}

/** A time-lapse as sections of a page: load, specialisation where there are labels, saturation. */
export function timeLapseSections(lapse: TimeLapse): Section[] {
  const labelled = Object.keys(lapse.labels).length > 0;
  const early = lapse.saturation[0];
  const note = `At step ${formatNumber(lapse.steps[0])} ${formatNumber(100 * early, 0)} % of the last choices were there already, by chance it would be ${formatNumber(100 * lapse.saturationByChance, 0)} %.`;
  return [
    { title: "Load over training", html: figure(loadOverTime(lapse)) },
    ...(labelled ? [{ title: "Specialisation over training", html: figure(specializationOverTime(lapse)) }] : []),
    { title: "Router saturation", html: figure(saturationOverTime(lapse)), note },
  ];
}
