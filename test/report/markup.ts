/** A small reader of markup that forgives nothing: what it reads is well-formed XML, and so are the charts and pages. */
import fc from "fast-check";
import { expect } from "vitest";

export interface Element {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly (Element | string)[];
  /** written as <name/> */
  readonly closedAtOnce: boolean;
}

const entities: ReadonlyMap<string, string> = new Map([
  ["&amp;", "&"],
  ["&lt;", "<"],
  ["&gt;", ">"],
  ["&quot;", '"'],
  ["&#39;", "'"],
  ["&#160;", "\u00A0"],
]);

const forbidden = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;
const tag = /<(?:(\/)([a-z]+\d?)|([a-z]+\d?)((?: [a-zA-Z-]+="[^"<]*")*)(\/?))>/y;
const attribute = / ([a-zA-Z-]+)="([^"<]*)"/g;

/** Throws unless the markup is one element, well-formed, with the entities above and no others. */
export function parse(markup: string): Element {
  const wrong = forbidden.exec(markup);
  if (wrong) throw new Error(`U+${wrong[0].codePointAt(0)?.toString(16)} is no character of XML`);
  const top: (Element | string)[] = [];
  const open: { name: string; attributes: Map<string, string>; children: (Element | string)[] }[] = [];
  const add = (child: Element | string) => (open.at(-1)?.children ?? top).push(child);
  for (let at = 0; at < markup.length; ) {
    if (markup[at] !== "<") {
      const end = markup.indexOf("<", at);
      const text = markup.slice(at, end < 0 ? undefined : end);
      add(decode(text));
      at += text.length;
      continue;
    }
    tag.lastIndex = at;
    const found = tag.exec(markup);
    if (!found) throw new Error(`no tag: ${markup.slice(at, at + 60)}`);
    const [whole, closing, closed, name, attributes, slash] = found;
    at += whole.length;
    if (closing) {
      const last = open.pop();
      if (last?.name !== closed) throw new Error(`</${closed}> closes ${last?.name}`);
      add({ ...last, closedAtOnce: false });
    } else if (slash) add({ name, attributes: attributesOf(attributes), children: [], closedAtOnce: true });
    else open.push({ name, attributes: attributesOf(attributes), children: [] });
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)?.name}> is never closed`);
  const [root, ...rest] = top;
  if (root === undefined || typeof root === "string" || rest.length > 0)
    throw new Error("more or less than one element");
  return root;
}

function attributesOf(text: string): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const [, name, value] of text.matchAll(attribute)) {
    if (attributes.has(name)) throw new Error(`two attributes ${name}`);
    attributes.set(name, decode(value));
  }
  return attributes;
}

function decode(text: string): string {
  return text.replace(/&[^&;]*;?/g, (entity) => {
    const known = entities.get(entity);
    if (known === undefined) throw new Error(`no entity: ${entity}`);
    return known;
  });
}

/** The element and all below it, in the order in which they begin. */
export function walk(root: Element): Element[] {
  return [root, ...root.children.flatMap((child) => (typeof child === "string" ? [] : walk(child)))];
}

export const named = (root: Element, name: string): Element[] => walk(root).filter((element) => element.name === name);

/** The text within an element, that of its children too. */
export const textOf = (element: Element): string =>
  element.children.map((child) => (typeof child === "string" ? child : textOf(child))).join("");

/** What is left of a text in markup: the characters that XML forbids become U+FFFD. */
export const written = (text: string): string =>
  Array.from(text, (c) => (forbidden.test(c) || /[\x7F-\x9F]/.test(c) ? "\uFFFD" : c)).join("");

const chartElements = ["svg", "title", "desc", "style", "text", "path", "rect", "circle"];
const places = ["x", "y", "width", "height", "cx", "cy", "r", "rx", "d", "viewBox", "transform"];
const sizes = ["width", "height", "r"];

/**
 * Reads a chart and holds it to what every chart promises: well-formed, all places finite and no size negative, a title and
 * a description for screen readers, nothing that runs and nothing to load.
 */
export function readChart(svg: string): Element {
  const root = parse(svg);
  expect(root.name).toBe("svg");
  expect(root.attributes.get("xmlns")).toBe("http://www.w3.org/2000/svg");
  expect(root.attributes.get("role")).toBe("img");
  expect(root.children.slice(0, 2).map((child) => (child as Element).name)).toEqual(["title", "desc"]);
  const misplaced = walk(root).filter(
    ({ name, attributes }) =>
      !chartElements.includes(name) ||
      places.some((place) => /NaN|Infinity|undefined|null|\de/.test(attributes.get(place) ?? "")) ||
      sizes.some((size) => attributes.has(size) && !(Number(attributes.get(size)) >= 0)),
  );
  expect(misplaced).toEqual([]);
  loadsNothing(root);
  return root;
}

const loaders = ["script", "link", "iframe", "img", "image", "use", "object", "embed", "base", "a"];

/** No attribute or style points anywhere, and nothing runs; only the name of the SVG namespace looks like an address. */
export function loadsNothing(root: Element): void {
  const loading = walk(root).filter(
    ({ name, attributes, children }) =>
      loaders.includes(name) ||
      (name === "style" && /url\(|@import|\/\//.test(children.join(""))) ||
      [...attributes].some(
        ([key, value]) =>
          /^on|href|src/.test(key) ||
          (key === "style" && /url|@/.test(value)) ||
          (key !== "xmlns" && key !== "title" && value.includes("//")),
      ),
  );
  expect(loading).toEqual([]);
}

/** Texts that try to leave their place, cannot be written as they are, or are just unusual. */
export const hostile: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</style><script>",
    "</title></svg></section></body>",
    "&amp; &lt; &#60;script&#62; &bogus;",
    "<!-- --> ]]> <![CDATA[",
    "https://example.org/?a=1&b=2",
    "\u0000\u0007\u001B[31mred",
    "\uD800 alone \uDC00",
    "\u202Eabc \uFFFE\uFFFF",
    "語言 😀 e\u0301 עברית",
    "  blanks\tand\nlines\r ",
    "",
  ),
  fc.string({
    unit: fc.constantFrom("<", ">", "&", '"', "'", "/", "=", ";", "#", "x", "\n", "\u0000", "\uDBFF", "é", "😀"),
  }),
);
