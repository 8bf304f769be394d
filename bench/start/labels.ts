/** Labels: what the router could have gone by. Each window has a previous character, a language and a next character. */
import type { LabelSets } from "../../src/report/index.ts";
import type { Corpus, Windows } from "./data.ts";

/** Characters below this share of all windows are counted as one, "rare": too few to say anything about each of them. */
const RARE = 1 / 1000;

/** Label sets over the windows in a given order. */
export function labelSets({ characters, languages }: Corpus, windows: Windows, order: Int32Array): LabelSets {
  const { text, at, language } = windows;
  const previous = order.map((w) => text[at[w] - 1]);
  const next = order.map((w) => text[at[w]]);
  return {
    "previous character": characterLabels(previous, characters),
    language: { of: order.map((w) => language[w]), names: languages.map(({ name }) => name) },
    "next character": characterLabels(next, characters),
  };
}

/** A label for each frequent character, and one for all rare ones. */
function characterLabels(ids: Int32Array, characters: readonly string[]): { of: Int32Array; names: string[] } {
  const counts = characters.map(() => 0);
  for (const id of ids) counts[id]++;
  const frequent = counts.flatMap((n, id) => (n >= RARE * ids.length && n > 0 ? [id] : []));
  const labelOf = characters.map((_, id) => (frequent.includes(id) ? frequent.indexOf(id) : frequent.length));
  const names = frequent.map((id) => characters[id]);
  const rare = ids.some((id) => labelOf[id] === frequent.length);
  return { of: ids.map((id) => labelOf[id]), names: rare ? [...names, "rare"] : names };
}
