/** Page: one self-contained HTML page, without scripts and without anything that it would have to load. */
import { checkOptions, show, typeError } from "../errors.ts";
import { expertCss, inkVariables } from "./palette.ts";
import { el, escapeHtml } from "./svg.ts";

/** A part of a page. */
export interface Section {
  title: string;
  /** markup, taken as it is: `escapeHtml` what comes from elsewhere */
  html: string;
  /** plain text below */
  note?: string | undefined;
}

/**
 * One HTML page in a string: opens from a file, follows the reader's light or dark, and fits screens from 400 px.
 *
 * Titles, lead and notes are plain text and escaped; `html` is taken as it is. Wide tables and charts scroll within their box.
 *
 * Throws   TypeError for a section without title or html
 */
export function page(options: { title: string; lead?: string | undefined; sections: readonly Section[] }): string {
  checkOptions("page", options, ["title", "lead", "sections"]);
  const { title, lead, sections } = options;
  if (typeof title !== "string") throw typeError("page", "title", show(title), "a string");
  if (!Array.isArray(sections)) throw typeError("page", "sections", show(sections), "a list of { title, html }");
  const header = el("header", {}, el("h1", {}, prose(title)), lead ? el("p", { class: "mg-lead" }, prose(lead)) : "");
  const head = el(
    "head",
    {},
    el("meta", { charset: "utf-8" }),
    el("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    el("meta", { name: "color-scheme", content: "light dark" }),
    el("title", {}, escapeHtml(title)),
    el("style", {}, css),
  );
  const body = el("body", {}, el("main", {}, header, ...sections.map(sectionHtml)));
  return `<!DOCTYPE html>\n${el("html", { lang: "en" }, head, body)}\n`;
}

function sectionHtml({ title, html, note }: Section, i: number): string {
  if (typeof title !== "string" || typeof html !== "string") {
    throw typeError("page", `sections[${i}]`, `${show(title)} and ${show(html)}`, "a title and html as strings");
  }
  return el("section", {}, el("h2", {}, prose(title)), html, note ? el("p", { class: "mg-note" }, prose(note)) : "");
}

/** Escaped text in which a number stays with its percent sign. */
export const prose = (text: string): string => escapeHtml(text).replaceAll(" %", "&#160;%");

/** A chart in a box of its own, which scrolls when the chart is wider. */
export const figure = (svg: string): string => el("figure", { tabindex: 0 }, svg);

/** A table from escaped cells; the first cell of a row names it. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = el("tr", {}, ...head.map((cell) => el("th", { scope: "col" }, cell)));
  const body = rows.map(([name, ...cells]) =>
    el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", {}, cell))),
  );
  return el(
    "div",
    { class: "mg-scroll", tabindex: 0 },
    el("table", {}, el("thead", {}, columns), el("tbody", {}, body.join(""))),
  );
}

/** A bar within a line of text, as wide as the fraction says. */
export function inlineBar(fraction: number): string {
  const width = Math.round(Math.min(1, Math.max(0, fraction)) * 1000) / 10;
  return el("span", { class: "mg-bar" }, el("span", { style: `width:${width}%` }, ""));
}

const css = `
:root{color-scheme:light dark;${inkVariables("light")}}
@media (prefers-color-scheme:dark){:root{${inkVariables("dark")}}}
*{box-sizing:border-box}
body{margin:0;background:var(--mg-page);color:var(--mg-ink);font:16px/1.55 system-ui,sans-serif;overflow-wrap:break-word}
main{max-width:60rem;margin:0 auto;padding:clamp(1rem,4vw,3rem) clamp(.75rem,3vw,2rem) 4rem}
h1{font-size:clamp(1.5rem,5vw,2.1rem);line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 .75rem}
section{margin-top:2.75rem}
p{margin:.6rem 0;max-width:46rem}
.mg-lead{font-size:1.1rem;color:var(--mg-soft)}
.mg-verdict{font-size:1.15rem;border-left:4px solid var(--mg-c0);padding-left:.9rem;margin:0 0 1rem}
.mg-note,.mg-notes{color:var(--mg-soft);font-size:.9rem}
.mg-notes{padding-left:1.2rem;max-width:46rem}
figure,.mg-scroll{margin:1rem 0;overflow-x:auto;border:1px solid var(--mg-line);border-radius:8px}
figure{padding:1rem}
figure svg{display:block}
.mg-figures{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.mg-figures figure{flex:1 1 20rem;min-width:0;margin:0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;padding:.45rem .8rem;border-top:1px solid var(--mg-line);vertical-align:top;font-weight:400}
thead th{border-top:0;color:var(--mg-soft);font-size:.83rem;background:var(--mg-panel)}
tbody th{font-weight:600;white-space:nowrap}
td{min-width:6.5rem;font-variant-numeric:tabular-nums}
.mg-bar{display:inline-block;width:5.5rem;height:.7rem;margin-right:.5rem;background:var(--mg-line);border-radius:2px}
.mg-bar span{display:block;height:100%;background:var(--mg-c0);border-radius:2px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0}
dl div{background:var(--mg-panel);border-radius:8px;padding:.6rem .8rem}
dt{color:var(--mg-soft);font-size:.83rem;line-height:1.3}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
dd small{display:block;color:var(--mg-soft);font-size:.78rem;line-height:1.3}
.mg-legend{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;padding:0;margin:.75rem 0;font-size:.87rem}
.mg-swatch{display:inline-block;width:1.6em;line-height:1.2;border-radius:3px}
.mg-text{font:15px/1.9 ui-monospace,Menlo,Consolas,monospace;max-width:none;overflow-wrap:anywhere}
.mg-text span{padding:.12em 0}
${expertCss}
`;
