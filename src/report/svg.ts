/** SVG: elements as strings, nice numbers on axes, and the frame that every chart is drawn in. */
import { chartCss } from "./palette.ts";

/**
 * Text as it can stand in HTML and XML, in elements and in quoted attributes.
 *
 * Edges    characters that XML forbids (most control characters, lone surrogates) become U+FFFD
 */
export function escapeHtml(text: string): string {
  return String(text).replace(special, (c) => entities[c] ?? "\uFFFD");
}

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
// In a pattern with the u flag, \p{Cs} is a surrogate without its other half.
const special = /[&<>"'\p{Cs}\uFFFE\uFFFF]|(?![\t\n\r])\p{Cc}/gu;

type Attributes = Record<string, string | number | undefined>;

/** Elements that have no content: HTML would leave any other one open that is written `<name/>`. */
const empty = ["meta", "path", "rect", "circle"];

/** An element with escaped attributes; children are markup already. */
export function el(name: string, attributes: Attributes = {}, ...children: string[]): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === "number" ? short(value) : escapeHtml(value as string)}"`)
    .join("");
  const closed = children.length === 0 && empty.includes(name);
  return closed ? `<${name}${written}/>` : `<${name}${written}>${children.join("")}</${name}>`;
}

/** A line of text with its left end, middle or right end at x; the text is escaped. */
export function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return el("text", { x, y, ...attributes }, escapeHtml(text));
}

/** What a pointer shows over an element; the text is escaped. */
export const tooltip = (text: string): string => el("title", {}, escapeHtml(text));

/** A coordinate with two decimals at most. */
const short = (x: number): string => String(Math.round(x * 100) / 100);

/** Two coordinates as they stand in a path. */
export const point = (x: number, y: number): string => `${short(x)} ${short(y)}`;

/**
 * The frame of a chart: role and texts for screen readers, the style, the title, and a size that follows the page.
 *
 * A chart shrinks with its box until its smallest text is 11 px high, then the box has to scroll.
 */
export function chart(title: string, description: string, width: number, height: number, ...body: string[]): string {
  const readable = Math.ceil((width * 11) / 12);
  return el(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      class: "mg-chart",
      role: "img",
      viewBox: `0 0 ${short(width)} ${short(height)}`,
      width,
      height,
      style: `width:100%;max-width:${short(width)}px;min-width:${readable}px;height:auto`,
    },
    tooltip(title),
    el("desc", {}, escapeHtml(description)),
    el("style", {}, chartCss),
    label(0, 17, title, { class: "mg-t" }),
    ...body,
  );
}

/** About how wide a text is at 13 px; systems differ in their fonts, so it errs on the wide side. */
export const textWidth = (text: string): number => [...text].length * 7.2;

/** The text, or its beginning and an ellipsis if it is wider than that. */
export function fitText(text: string, width: number): string {
  const room = Math.max(1, Math.floor(width / 7.2));
  const letters = [...text];
  return letters.length <= room ? text : `${letters.slice(0, room - 1).join("")}…`;
}

/**
 * Nice numbers that cover an interval: steps of 1, 2 or 5 times a power of ten.
 *
 * Edges    min = max is widened, by 1 around 0 and by 10 % elsewhere; so is what differs by rounding only
 * Shapes   about `count` numbers, ascending; the first ≤ min, the last ≥ max
 */
export function niceTicks(min: number, max: number, count = 5): number[] {
  const largest = Math.max(Math.abs(min), Math.abs(max));
  if (largest < 1e-300) return niceTicks(0, 1, count);
  // Ticks are written with twelve digits: closer together they would all be one number.
  if (max - min <= largest * 1e-9) return niceTicks(min - largest * 0.1, max + largest * 0.1, count);
  const rough = (max - min) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const [from, to] = [Math.floor(min / step + 1e-9), Math.ceil(max / step - 1e-9)];
  return Array.from({ length: to - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)));
}

/** A number for people: thousands apart, no more decimals than asked for, very large and small ones as powers of ten. */
export function formatNumber(x: number, decimals = 2): string {
  if (!Number.isFinite(x)) return String(x);
  if (x !== 0 && (Math.abs(x) >= 1e7 || Math.abs(x) < 0.5 * 10 ** -decimals)) {
    return x.toExponential(1).replace(".0e", "e").replace("e+", "e");
  }
  const [whole, part = ""] = Math.abs(x).toFixed(decimals).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const rest = part.replace(/0+$/, "");
  const sign = x < 0 && Number(x.toFixed(decimals)) !== 0 ? "−" : "";
  return `${sign}${grouped}${rest ? `.${rest}` : ""}`;
}

/** Ticks as texts, with the decimals that their step needs. */
export function formatTicks(ticks: readonly number[]): string[] {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(ticks[0]) || 1;
  const decimals = Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return ticks.map((tick) => formatNumber(tick, decimals));
}

/** A fraction as percent: one decimal below 10 %, none where it says nothing. */
export function percent(fraction: number): string {
  const hundredths = fraction * 100;
  if (hundredths > 0 && hundredths < 0.05) return "< 0.1 %";
  return `${formatNumber(hundredths, Math.abs(hundredths) < 9.95 ? 1 : 0)} %`;
}

/** A straight scale from an interval of values to an interval of pixels. */
export const linear =
  (from: readonly [number, number], to: readonly [number, number]) =>
  (x: number): number =>
    to[0] + ((x - from[0]) / (from[1] - from[0])) * (to[1] - to[0]);
