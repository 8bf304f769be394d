/**
 * Palette: the colours of charts and of coloured text, as CSS, for light and dark.
 *
 * Nothing is told by colour alone: lines are labelled, cells have values or tooltips, and experts that share a hue differ in
 * their underline. Lightness rises or falls along the ramp, so that it also reads without colour.
 */

/** Backgrounds of experts, after Tol's "light" scheme, whose hues stay apart in the common kinds of colour blindness. */
export const expertHues = [
  "#77aadd",
  "#ee8866",
  "#eedd88",
  "#44bb99",
  "#ffaabb",
  "#bbcc33",
  "#99ddff",
  "#d2a8e0",
] as const;
/** Underlines that tell experts of one hue apart: 0–7 have none, 8–15 the first, and so on; 32 looks in all. */
const underlines = ["none", "2px solid", "2px dotted", "3px double"] as const;
/** Text on an expert's background, in light and dark. */
export const expertInk = "#16181d";

/** Lines and bars: dark enough for text on white, and light enough for text on the dark page. */
export const seriesColours = {
  light: ["#0b69ad", "#b54708", "#08765a", "#9c3f82", "#7d6000", "#555a64", "#007486", "#7a3b12"],
  dark: ["#62b5f2", "#ff9d66", "#52d3a8", "#e596d1", "#e3c253", "#b4b9c2", "#63d5e6", "#dda585"],
} as const;

/** Page and chart colours that are not data. */
export const inks = {
  light: { page: "#ffffff", ink: "#1b1f27", soft: "#5a6270", line: "#dfe3ea", panel: "#f6f7f9" },
  dark: { page: "#14171c", ink: "#e8eaee", soft: "#a3abb8", line: "#333943", panel: "#1c2027" },
} as const;

/** Number of steps of the ramp: class h0 (nothing) to h15 (most). */
export const rampSteps = 16;
const rampStops = {
  light: ["#f1f4f9", "#cfe0f0", "#8fbfe0", "#4590c8", "#1560a0", "#08306b"],
  dark: ["#20252e", "#1d3d63", "#22649c", "#3f93c9", "#8cc8e6", "#f0f8ff"],
} as const;

/** Colour of one step of the ramp. */
export function rampColour(mode: "light" | "dark", step: number): string {
  const stops = rampStops[mode];
  const at = (step / (rampSteps - 1)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  return mix(stops[i], stops[i + 1], at - i);
}

/** Black or white, whichever reads better on a background: the contrast is at least √21 = 4.58. */
export function textOn(background: string): string {
  const [dark, light] = ["#000000", "#ffffff"];
  return contrast(background, dark) >= contrast(background, light) ? dark : light;
}

/** Contrast of two colours, 1 to 21. Source: WCAG 2, contrast ratio */
export function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** The class of an expert in coloured text and legends. */
export const expertClass = (expert: number): string => `mg-x${expert % (expertHues.length * underlines.length)}`;

/** The style of charts: every chart carries it, so that it can also stand alone as a file. */
export const chartCss = [
  rules(".mg-chart", inkVariables("light")),
  ".mg-chart text{font:13px system-ui,sans-serif;fill:var(--mg-ink)}",
  ".mg-chart .mg-t{font-size:15px;font-weight:600}",
  ".mg-chart .mg-s{font-size:12px;fill:var(--mg-soft)}",
  ".mg-chart .mg-v{font-size:12px}",
  ".mg-chart .mg-g{stroke:var(--mg-line);stroke-width:1;fill:none}",
  ".mg-chart .mg-m{stroke:var(--mg-soft);stroke-width:1.5;stroke-dasharray:2 3;fill:none}",
  ".mg-chart .mg-l{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}",
  ...seriesColours.light.map(
    (_, i) => `.mg-chart .mg-f${i}{fill:var(--mg-c${i})}.mg-chart .mg-k${i}{stroke:var(--mg-c${i})}`,
  ),
  ...rampRules("light"),
  `@media (prefers-color-scheme:dark){${rules(".mg-chart", inkVariables("dark"))}${rampRules("dark").join("")}}`,
].join("\n");

/** The style of coloured text and of expert swatches. */
export const expertCss = Array.from({ length: expertHues.length * underlines.length }, (_, e) => {
  const underline = underlines[Math.floor(e / expertHues.length)];
  const border = underline === "none" ? "" : `;border-bottom:${underline} ${expertInk}`;
  return `.mg-x${e}{background:${expertHues[e % expertHues.length]};color:${expertInk}${border}}`;
}).join("\n");

/** The colours that are not data and those of series, as declarations of CSS variables. */
export function inkVariables(mode: "light" | "dark"): string {
  const named = Object.entries(inks[mode]).map(([name, colour]) => `--mg-${name}:${colour}`);
  return [...named, ...seriesColours[mode].map((colour, i) => `--mg-c${i}:${colour}`)].join(";");
}

function rampRules(mode: "light" | "dark"): string[] {
  return Array.from({ length: rampSteps }, (_, step) => {
    const colour = rampColour(mode, step);
    return `.mg-chart .mg-h${step}{fill:${colour}}.mg-chart .mg-i${step}{fill:${textOn(colour)}}`;
  });
}

function rules(selector: string, declarations: string): string {
  return `${selector}{${declarations}}`;
}

function channels(colour: string): number[] {
  return [1, 3, 5].map((i) => Number.parseInt(colour.slice(i, i + 2), 16));
}

function mix(a: string, b: string, part: number): string {
  const to = channels(b);
  const mixed = channels(a).map((from, i) => Math.round(from + (to[i] - from) * part));
  return `#${mixed.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

function luminance(colour: string): number {
  const [r, g, b] = channels(colour).map((channel) => {
    const x = channel / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
