/** Evaluation: held-out bits per character, and what the router did with each window. */
import { noGrad, scope } from "../../src/index.ts";
import { type RoutingReport, routingReport } from "../../src/report/index.ts";
import { batchOf, type Corpus, dealBatches, type Windows } from "./data.ts";
import { labelSets } from "./labels.ts";
import type { CharModel } from "./model.ts";
import { partsOf, type ReadRouting, taken, takenRouting } from "./read.ts";

/** Characters in a coloured piece. */
const PIECE = 100;

/** A piece of held-out text; experts[i] took the window that ends with chars[i], −1 for none. */
export interface ColouredPiece {
  language: string;
  chars: string[];
  experts: number[];
}

/** Cross entropy in bits per character, and the routing of every batch. */
export async function evaluate(model: CharModel, windows: Windows, batches: readonly Int32Array[]) {
  const routings: ReadRouting[] = [];
  let nats = 0;
  let count = 0;
  model.eval();
  const lookAt = (chosen: Int32Array) => {
    const { contexts, targets } = batchOf(windows, chosen);
    const { output, routings: made } = model.forward(contexts);
    return { sum: output.crossEntropy(targets, { reduction: "sum" }), made: made.map(partsOf) };
  };
  for (const chosen of batches) {
    const { sum, made } = noGrad(() => scope(() => lookAt(chosen)));
    nats += (await taken(sum))[0];
    count += chosen.length;
    for (const parts of made) routings.push(await takenRouting(parts));
  }
  model.train();
  return { bits: nats / Math.LN2 / count, routings };
}

/** All held-out windows: bits, what the router did, and coloured pieces; without a router the bits alone. */
export async function evaluateAll(model: CharModel, corpus: Corpus, windows: Windows, batchSize: number) {
  const batches = dealBatches(windows, batchSize);
  const { bits, routings } = await evaluate(model, windows, batches);
  if (routings.length === 0) return { bits, report: null, pieces: [] };
  const order = Int32Array.from(batches.flatMap((chosen) => [...chosen]));
  const report: RoutingReport = routingReport(routings, { labels: labelSets(corpus, windows, order) });
  const expertOf = new Int32Array(order.length);
  const inOrder = routings.flatMap(strongestExperts);
  for (let i = 0; i < order.length; i++) expertOf[order[i]] = inOrder[i];
  return { bits, report, pieces: colouredPieces(corpus, windows, expertOf) };
}

/** The expert with the largest gate among those that took each token, −1 for none. */
function strongestExperts({ numTokens, numExperts, ...routing }: ReadRouting): number[] {
  const [slots, ends, experts] = [routing.slotsOfToken.data, routing.tokenOffsets.data, routing.expertOfSlot.data];
  const [gate, granted] = [routing.gate.data, routing.offsets.data[numExperts]];
  return Array.from({ length: numTokens }, (_, t) => {
    let best = -1;
    for (let i = ends[t]; i < ends[t + 1]; i++) {
      const s = slots[i];
      if (s < granted && (best < 0 || gate[s] > gate[best])) best = s;
    }
    return best < 0 ? -1 : experts[best];
  });
}

/** The same few words of each language for every model: from the first line that begins in its held-out part. */
function colouredPieces({ languages, characters }: Corpus, windows: Windows, expertOf: Int32Array): ColouredPiece[] {
  const { text, at } = windows;
  return languages.map(({ name }, l) => {
    const first = windows.language.indexOf(l);
    const end = windows.language.lastIndexOf(l) + 1;
    let from = first;
    while (from + 1 < end && characters[text[at[from] - 2]] !== "\n") from++;
    const shown = Array.from({ length: Math.min(PIECE, end - from) }, (_, i) => from + i);
    return {
      language: name,
      chars: shown.map((w) => characters[text[at[w] - 1]]),
      experts: shown.map((w) => expertOf[w]),
    };
  });
}
