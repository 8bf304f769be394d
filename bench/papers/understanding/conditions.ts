/** Conditions that several experiments share, so that their trials are the same ones. */
import { type Plan, type Trial, trialsOf } from "../experiment.ts";
import { SAMPLES, type SettingName } from "./data.ts";
import type { ExpertActivation, ModelForm } from "./model.ts";
import { type MoeParams, type MoeRecord, moeTask, usual } from "./moe.ts";
import { SINGLE_STEPS, type SingleActivation, type SingleParams, type SingleRecord, singleTask } from "./single.ts";

export const SETTINGS: readonly SettingName[] = ["1", "2", "3", "4", "same"];
export const KINDS: readonly ExpertActivation[] = ["cubic", "linear"];

/** Samples with --quick: as few as keep the verdicts what they are. */
const QUICK_SAMPLES = 4000;

export const samplesOf = ({ quick }: Plan): number => (quick ? QUICK_SAMPLES : SAMPLES);

export type MoeTrial = Trial<MoeParams, MoeRecord>;

/** Trials of a training that differs from the usual one in what is given. */
export function moeTrials(plan: Plan, label: string, changes: Partial<MoeParams>, seeds = plan.seeds): MoeTrial[] {
  const samples = samplesOf(plan);
  const params: MoeParams = { ...usual, samples, steps: plan.steps ?? usual.steps, ...changes };
  const work = (params.steps * params.samples * params.experts * params.filters * 22) / (501 * 16_000 * 8 * 16);
  return trialsOf(moeTask, label, params, { seeds: Math.min(seeds, plan.seeds), work });
}

/** The paper's own training: a setting, one kind of experts, one form. The paper's form knows no early stop. */
export function paperTrials(
  plan: Plan,
  setting: SettingName,
  activation: ExpertActivation,
  form: ModelForm,
): MoeTrial[] {
  const label = `setting ${setting}, ${activation} experts, ${form === "official" ? "authors' code" : "as written"}`;
  return moeTrials(plan, label, { setting, activation, form, earlyStop: form === "official" });
}

export type SingleTrial = Trial<SingleParams, SingleRecord>;

/** Single networks are run once, as in the paper. */
export function single(plan: Plan, setting: SettingName, activation: SingleActivation, filters: number): SingleTrial {
  const samples = samplesOf(plan);
  const steps = Math.min(SINGLE_STEPS, plan.steps ?? SINGLE_STEPS);
  const params: SingleParams = { setting, samples, activation, filters, steps };
  const work = (activation === "linear" ? 5 : filters) * (samples / 16_000) * (steps / SINGLE_STEPS);
  const label = `setting ${setting}, single ${activation} network of ${filters} filters`;
  return trialsOf(singleTask, label, params, { seeds: 1, work })[0];
}
