/** Page: the results as one HTML file, first what came out and what each expert took, then how it came to that. */
import { escapeHtml, figure, page, type Section, table } from "../../src/report/index.ts";
import { lossCharts } from "./curves.ts";
import { CONTEXT } from "./data.ts";
import { DIM, EMBED, HIDDEN } from "./model.ts";
import { grouped } from "./progress.ts";
import { flopSpread, isRouted, type Results, type RoutedRun, titleOf } from "./results.ts";
import { divided, folded, list, load, paragraph, percent, took } from "./sections.ts";
import { LEARNING_RATE, WEIGHT_DECAY } from "./train.ts";
import { TEMPERATURE } from "./write.ts";

export function resultsPage(results: Results): string {
  const { models, experts } = results;
  const routed = models.filter(isRouted);
  const trained = models.some(({ losses }) => losses.length > 0);
  return page({
    title: "What a small Mixture of Experts learns from real text",
    lead: leadOf(results),
    sections: [
      inShort(results, routed),
      ...(routed.length > 0 ? [divided(routed)] : []),
      ...routed.map((run) => took(run, experts)),
      ...(trained ? [curves(results)] : []),
      ...(routed.length > 0 ? [load(models)] : []),
      ...(models.length > 0 ? [writing(results)] : []),
      again(results),
    ],
  });
}

function leadOf({ models, languages, experts, interrupted }: Results): string {
  const names = languages.length === 1 ? languages[0].name : `${languages.length} languages`;
  const stop = interrupted ? " The run was interrupted: this page shows what ran." : "";
  return (
    `${models.length} small language models (${list(models.map(titleOf))}) learn to predict the next character of the ` +
    `Universal Declaration of Human Rights in ${names}. Those with a router have ${experts} experts. ` +
    `What does each of them take?${stop}`
  );
}

function inShort(results: Results, routed: readonly RoutedRun[]): Section {
  const { models, unigramEntropy, steps } = results;
  const rows = models.map(({ report, ...run }) => [
    escapeHtml(titleOf(run)) + (run.losses.length < steps ? ` (${grouped(run.losses.length)} of ${steps} steps)` : ""),
    run.heldOutBits.toFixed(3),
    (unigramEntropy - run.heldOutBits).toFixed(3),
    grouped(run.flopsPerCharacter),
    grouped(run.numParameters),
    report ? percent(report.dropRate) : "–",
    report ? report.maxOverMean.toFixed(2) : "–",
    run.losses.length > 0 ? (run.trainingSeconds / run.losses.length).toFixed(3) : "–",
  ]);
  const head = ["model", "held-out bits per character", "below unigram", "FLOP per character", "weights"];
  const more = ["dropped slots", "largest load / mean", "seconds per step"];
  return {
    title: "In short",
    html: [...findings(results, routed).map(paragraph), table([...head, ...more], rows)].join(""),
    note:
      `A model that only knows how frequent each character is needs ${unigramEntropy.toFixed(3)} bits: the unigram entropy. ` +
      `FLOP are those of the matrix products for one character, forward, with two experts and the router; the models are ` +
      `${percent(flopSpread(models))} apart.`,
  };
}

function findings({ models, unigramEntropy }: Results, routed: readonly RoutedRun[]): string[] {
  const dense = models.find(({ report }) => report === null);
  const best = [...routed].sort((a, b) => a.heldOutBits - b.heldOutBits)[0];
  const found: string[] = [];
  if (best && dense) {
    const gain = dense.heldOutBits - best.heldOutBits;
    const than = gain > 0 ? `${gain.toFixed(3)} fewer than` : `${(-gain).toFixed(3)} more than`;
    found.push(
      `At the same cost per character, ${titleOf(best)} needs ${best.heldOutBits.toFixed(3)} bits per character, ${than} the ` +
        `dense model. Character frequencies alone need ${unigramEntropy.toFixed(3)}.`,
    );
  }
  if (best?.report.ranked[0] === "previous character") {
    const share = (name: string) => percent(best.report.labels[name].share);
    found.push(
      `The experts divide characters, not languages: in ${titleOf(best)}, the previous character accounts for ` +
        `${share("previous character")} of the entropy of the expert, the language for ${share("language")}.`,
    );
  }
  return found;
}

const curves = (results: Results): Section => ({
  title: "Loss",
  html: lossCharts(results).map(figure).join(""),
  note: "All models see the same batches in the same order. The training loss is without the balance loss.",
});

function writing({ models }: Results): Section {
  const best = [...models].sort((a, b) => a.heldOutBits - b.heldOutBits)[0];
  const tables = models.map((run) => {
    const rows = run.written.map(({ language, prompt, text }) => [
      escapeHtml(language),
      `<b>${spelled(prompt)}</b>${spelled(text)}`,
    ]);
    return folded(titleOf(run), table(["language", "text"], rows), run === best);
  });
  return {
    title: "What the models write",
    html: tables.join(""),
    note:
      `Bold are ${CONTEXT} characters of held-out text, the same for every model; the rest is drawn from what the model ` +
      `predicts, at temperature ${TEMPERATURE}. A model that sees ${CONTEXT} characters writes words at best, and soon ` +
      "forgets its language. Expert choice compares the windows of a batch, so a whole batch of texts is written at once, each independent of the others, " +
      "and one in each language is shown: no text is told of its own future. Held-out text is measured in the same spirit: " +
      "no window of a batch holds a character that another one has to predict.",
  };
}

/** Line breaks as signs, so that a text stays in its row. */
const spelled = (text: string): string => escapeHtml(text.replaceAll("\n", " ¶ "));

function again(results: Results): Section {
  const { command, seed, batch, languages, numCharacters, experts, seconds } = results;
  const rows = languages.map(({ code, name, trainCharacters, heldOutCharacters }) => [
    escapeHtml(code),
    escapeHtml(name),
    grouped(trainCharacters),
    grouped(heldOutCharacters),
  ]);
  const how = [
    `Seed ${seed} decides the weights, the batches, the noise and the texts: the same command gives the same losses, to the ` +
      "last digit.",
    `Each character has ${EMBED} numbers; the ${CONTEXT} before the next one are joined and mapped to ${DIM}: h. Then ` +
      `h + mix(norm(h)), where mix is one feed-forward layer, or ${experts} experts of ${DIM} → ${HIDDEN} → ${DIM} and a router; ` +
      `then a norm and a map to ${numCharacters} characters.`,
    `AdamW at ${LEARNING_RATE} with weight decay ${WEIGHT_DECAY}, warm-up and cosine; ${batch} windows in a step, each drawn ` +
      `independently. The last fifth of every language is held out. All in all this took ${Math.round(seconds)} seconds.`,
  ];
  const text = folded("The text", table(["code", "language", "characters for training", "held out"], rows));
  return {
    title: "To run it again",
    html: `<pre style="white-space:pre-wrap"><code>${escapeHtml(command)}</code></pre>${how.map(paragraph).join("")}${text}`,
  };
}
