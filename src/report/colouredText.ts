/** Coloured text: a text in which every character shows its expert, as HTML. */
import { checkInteger, checkOptions, rangeError, show, typeError } from "../errors.ts";
import { expertClass } from "./palette.ts";
import { el, escapeHtml, formatNumber, percent } from "./svg.ts";
import { visibleText } from "./words.ts";

/**
 * A text whose characters have the background of their expert, with a legend; `page` has its style.
 *
 * A space shows as ·, a tab as ⇥ and a newline as ¶ before its line break. A pointer shows the expert, and the experts of one
 * hue differ in their underline, so that nothing is told by colour alone.
 *
 * Edges    −1 = no expert: the character stays plain
 * Shapes   chars [N] (characters, words or other tokens), experts [N]: −1 … numExperts−1
 * Throws   RangeError when there is not one expert for every character, or an expert is not there
 */
export function colouredText(
  chars: readonly string[],
  experts: ArrayLike<number>,
  options: { numExperts: number; legend?: boolean | undefined },
): string {
  const op = "colouredText";
  checkOptions(op, options, ["numExperts", "legend"]);
  const { numExperts, legend = true } = options;
  checkInteger(op, "numExperts", numExperts, 1, Number.POSITIVE_INFINITY);
  if (!Array.isArray(chars)) throw typeError(op, "chars", show(chars), "a list of strings");
  if (typeof experts?.length !== "number") throw typeError(op, "experts", show(experts), "a list of experts");
  if (experts.length !== chars.length) {
    throw rangeError(op, "experts", `${experts.length} entries`, `${chars.length}`, "one expert for each character");
  }
  for (let i = 0; i < experts.length; i++) {
    if (typeof chars[i] !== "string") throw typeError(op, `chars[${i}]`, show(chars[i]), "a string");
    checkInteger(op, `experts[${i}]`, experts[i], -1, numExperts - 1, "−1 stands for none");
  }
  const text = el(
    "p",
    { class: "mg-text" },
    runsOf(experts)
      .map(([from, to]) => run(chars, from, to, experts[from]))
      .join(""),
  );
  return (legend ? legendOf(experts, numExperts) : "") + text;
}

/** Where the expert stays the same: one element for all of them keeps a long page small. */
function runsOf(experts: ArrayLike<number>): [from: number, to: number][] {
  const runs: [number, number][] = [];
  for (let i = 0, from = 0; i < experts.length; i++) {
    if (i + 1 < experts.length && experts[i + 1] === experts[from]) continue;
    runs.push([from, i + 1]);
    from = i + 1;
  }
  return runs;
}

function run(chars: readonly string[], from: number, to: number, expert: number): string {
  const shown = chars.slice(from, to).map(showCharacter).join("");
  if (expert < 0) return el("span", { title: "no expert" }, shown);
  return el("span", { class: expertClass(expert), title: `expert ${expert}` }, shown);
}

/** Signs for blanks, each with a place to break the line after it. */
function showCharacter(c: string): string {
  return Array.from(c, (letter) => {
    if (letter === " ") return "·<wbr/>";
    if (letter === "\n") return "¶<br/>";
    if (letter === "\t") return "⇥<wbr/>";
    return escapeHtml(visibleText(letter));
  }).join("");
}

/** Each expert's swatch with its part of the characters. */
function legendOf(experts: ArrayLike<number>, numExperts: number): string {
  const counts = new Array<number>(numExperts + 1).fill(0);
  // Index −1 + 1 = 0 is none.
  for (let i = 0; i < experts.length; i++) counts[experts[i] + 1]++;
  const items = counts.map((count, i) => {
    const name = i === 0 ? "no expert" : `expert ${i - 1}`;
    const part = percent(count / Math.max(1, experts.length));
    const swatch = el("span", { class: `mg-swatch ${i === 0 ? "" : expertClass(i - 1)}`.trim() }, "&#160;");
    return i === 0 && count === 0 ? "" : el("li", { title: formatNumber(count) }, swatch, ` ${name} ${part}`);
  });
  return el("ul", { class: "mg-legend" }, ...items);
}
