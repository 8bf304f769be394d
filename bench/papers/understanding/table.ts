/** Experiment: the paper's Table 1, in both forms of the model, beside what was published. */
import type { Experiment, Plan, Records, Verdict } from "../experiment.ts";
import { mean, spread, table } from "../markdown.ts";
import { scatter } from "../scatter.ts";
import { KINDS, type MoeTrial, paperTrials, SETTINGS, type SingleTrial, single } from "./conditions.ts";
import { CLUSTERS, type SettingName } from "./data.ts";
import type { ModelForm } from "./model.ts";
import type { MoeRecord } from "./moe.ts";
import { type Published, paper, rerun, singles, singlesOfSame } from "./published.ts";
import type { SingleActivation, SingleRecord } from "./single.ts";
import { moeVerdicts, singleVerdicts } from "./verdicts.ts";

const WIDTHS: readonly number[] = [80, 128, 512];
const ACTIVATIONS: readonly SingleActivation[] = ["linear", "cubic", "relu", "celu", "gelu", "tanh"];
const ACTIVATIONS_WIDTH = 128;

/** The settings that a form is run in. */
const settingsOf = (form: ModelForm, { quick }: Plan): readonly SettingName[] =>
  quick ? (form === "official" ? SETTINGS.slice(0, 4) : ["1"]) : form === "official" ? SETTINGS : SETTINGS.slice(0, 4);

function moes(plan: Plan): MoeTrial[] {
  return (["official", "paper"] as const).flatMap((form) =>
    settingsOf(form, plan).flatMap((setting) => KINDS.flatMap((kind) => paperTrials(plan, setting, kind, form))),
  );
}

const widthsOf = ({ quick }: Plan): readonly number[] => (quick ? WIDTHS.slice(0, 1) : WIDTHS);

function singlesOf(plan: Plan): SingleTrial[] {
  const settings: readonly SettingName[] = plan.quick ? ["1", "same"] : SETTINGS;
  const byWidth = widthsOf(plan).flatMap((width) =>
    settings.flatMap((setting) => KINDS.map((kind) => single(plan, setting, kind, width))),
  );
  const byActivation = plan.quick ? [] : ACTIVATIONS.map((name) => single(plan, "same", name, ACTIVATIONS_WIDTH));
  return [...byWidth, ...byActivation];
}

export const tableExperiment: Experiment = {
  name: "table",
  title: "The table: who solves the task, and do the experts share out the clusters?",
  trials: (plan) => [...moes(plan), ...singlesOf(plan)],
  report(plan, records) {
    const verdicts: Verdict[] = [...moeVerdicts(plan, records), ...singleVerdicts(plan, records)];
    return {
      verdicts,
      lines: linesOf(plan, records),
      markdown: markdownOf(plan, records),
      plots: plotsOf(plan, records),
    };
  },
};

const ours = (records: readonly MoeRecord[]): [accuracy: string, entropy: string] => [
  spread(
    records.map(({ accuracy }) => accuracy),
    2,
    100,
  ),
  spread(records.map(entropyOf), 3),
];

export const entropyOf = ({ entropies }: MoeRecord): number => entropies[entropies.length - 1];

function linesOf(plan: Plan, records: Records): string[] {
  return settingsOf("official", plan).flatMap((setting) =>
    KINDS.map((kind) => {
      const found = records.all(paperTrials(plan, setting, kind, "official"));
      const [accuracy, entropy] = ours(found);
      return `setting ${setting}, ${kind.padEnd(6)} ${accuracy.padStart(13)} %, entropy ${entropy} (${found.length} runs)`;
    }),
  );
}

function markdownOf(plan: Plan, records: Records): string {
  return [
    WORDS,
    "![Accuracy over dispatch entropy, one dot a run](understanding/table.svg)",
    "### As the authors' code has it",
    moeTable(plan, records, "official"),
    differences(plan, records),
    "### As the paper writes it",
    FORM_WORDS,
    moeTable(plan, records, "paper"),
    "### One network instead of eight experts",
    SINGLE_WORDS,
    singleTable(plan, records),
    ...(plan.quick ? [] : [ACTIVATION_WORDS, activationTable(plan, records)]),
  ].join("\n\n");
}

const WORDS = `Eight experts of 16 filters are trained on 16,000 samples for at most 501 steps of all samples at once, and tested on as many.
The *dispatch entropy* H(cluster | expert) is what is left to know of a sample's cluster once its expert is known: ln 4 = 1.386 when the expert says
nothing, 0 when every expert has one cluster only. The paper's claim: with cubic experts the mixture solves the task and its experts share out the
clusters; with linear ones they do not.`;

const FORM_WORDS = `The gate is the softmax of the logits without noise, the loss ln(1 + exp(−y·π·f)), and nothing stops early. This loss has no
floor: cubic experts keep growing by steps of one length, which can end a run far from where it had been, in setting 2 above all. The accuracies of cubic and linear
experts come close in setting 1, so it is the entropy that tells them apart.`;

const SINGLE_WORDS = `One network of as many filters as the mixture has, fewer and more, trained by Adam; one run each, as in the paper.
Where signal and feature noise have one distribution (settings 3, 4 and "same") no sum over patches can be right on more than 87.5 %.
Cubic networks overfit: their accuracy on what they were trained on stands in brackets.`;

const ACTIVATION_WORDS = `By activation, ${ACTIVATIONS_WIDTH} filters, on the data of Theorem 4.1:`;

function moeTable(plan: Plan, records: Records, form: ModelForm): string {
  const rows = settingsOf(form, plan).flatMap((setting) =>
    KINDS.map((kind) => {
      const found = records.all(paperTrials(plan, setting, kind, form));
      const others =
        form === "official" ? [...published(paper[setting]?.[kind]), ...published(rerun[setting]?.[kind])] : [];
      const clean = spread(
        found.map((record) => record.accuracyWithoutNoise),
        2,
        100,
      );
      return [`${setting}, ${kind}`, String(found.length), ...ours(found), clean, ...others];
    }),
  );
  const head = ["setting, experts", "runs", "accuracy, %", "entropy", "accuracy without noise, %"];
  const others = ["paper: accuracy", "entropy", "their code again: accuracy", "entropy"];
  return table(form === "official" ? [...head, ...others] : head, rows);
}

/** Where the mean of our runs is further from the paper's than its standard deviation. */
function differences(plan: Plan, records: Records): string {
  const far = SETTINGS.flatMap((setting) =>
    KINDS.flatMap((kind) => {
      const [found, theirs] = [records.all(paperTrials(plan, setting, kind, "official")), paper[setting]?.[kind]];
      if (theirs === undefined || found.length === 0) return [];
      const apart = (name: string, values: number[], [m, deviation]: readonly [number, number], decimals: number) =>
        Math.abs(mean(values) - m) > deviation
          ? [`setting ${setting}, ${kind}: ${name} ${mean(values).toFixed(decimals)} beside ${m} ± ${deviation}`]
          : [];
      return [
        ...apart(
          "accuracy",
          found.map(({ accuracy }) => 100 * accuracy),
          theirs.accuracy,
          2,
        ),
        ...apart("entropy", found.map(entropyOf), theirs.entropy, 3),
      ];
    }),
  );
  if (far.length === 0) return "Where there are runs, their means are within one standard deviation of the paper's.";
  return `Further from the paper's mean than its standard deviation: ${far.join("; ")}. ${WHY}`;
}

const WHY = `The data are another draw (other directions, other samples) from the same distribution, and so is every start: the paper's ten seeds,
those of the authors' code run again and ours differ by as much from one another. Linear experts have no state in which they would settle, so how
far they have drifted apart by the last step depends on the draw; and where nearly every run is perfect, one that is not moves the mean by several deviations.`;

function published(one: Published | undefined): [string, string] {
  if (one === undefined) return ["–", "–"];
  const [accuracy, entropy] = [one.accuracy, one.entropy];
  return [
    `${accuracy[0].toFixed(2)} ± ${accuracy[1].toFixed(2)}`,
    `${entropy[0].toFixed(3)} ± ${entropy[1].toFixed(3)}`,
  ];
}

const percentOf = (share: number): string => (100 * share).toFixed(2);

function singleCell(record: SingleRecord | undefined): string {
  return record === undefined ? "–" : `${percentOf(record.accuracy)} (${percentOf(record.trainAccuracy)})`;
}

function singleTable(plan: Plan, records: Records): string {
  const widths = widthsOf(plan);
  const rows = SETTINGS.flatMap((setting) =>
    KINDS.map((kind) => {
      const cells = widths.map((width) => singleCell(records.of(single(plan, setting, kind, width))));
      const others = singles[setting]?.[kind].map((x) => x.toFixed(2)) ?? [];
      return [`${setting}, ${kind}`, ...cells, others.slice(0, widths.length).join(" / ") || "–"];
    }),
  );
  return table(["setting, network", ...widths.map((width) => `${width} filters`), "their notebooks"], rows);
}

function activationTable(plan: Plan, records: Records): string {
  const rows = ACTIVATIONS.map((name) => {
    const found = records.of(single(plan, "same", name, ACTIVATIONS_WIDTH));
    return [name, singleCell(found), singlesOfSame[name].toFixed(2)];
  });
  return table(["activation", "accuracy (in training), %", "their notebooks"], rows);
}

/** A dot a run: how well it does, over how well its experts share out the clusters. */
function plotsOf(plan: Plan, records: Records): Record<string, string> {
  const panels = settingsOf("official", plan).map((setting) => ({
    title: setting === "same" ? "D_α = D_γ" : `setting ${setting}`,
    groups: KINDS.map((kind) => ({
      name: `${kind} experts`,
      points: records
        .all(paperTrials(plan, setting, kind, "official"))
        .map((record): [number, number] => [entropyOf(record), 100 * record.accuracy]),
    })),
  }));
  const chart = scatter({
    title: "Accuracy over dispatch entropy, one dot a run",
    description:
      "Runs with cubic experts lie at high accuracy and entropies next to 0, those with linear experts lower and next to ln 4.",
    ...{
      panels,
      columns: 3,
      xLabel: "dispatch entropy",
      yLabel: "accuracy, %",
      xCovers: [0, Math.log(CLUSTERS)],
      radius: 4,
    },
  });
  return { "table.svg": chart };
}
