/** Pages and coloured text: valid, self-contained, and proof against the texts that are put into them. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  colouredText,
  escapeHtml,
  figure,
  page,
  type RoutingReport,
  reportHtml,
  routingReport,
  routingSections,
  table,
} from "../../src/report/index.ts";
import { inlineBar } from "../../src/report/page.ts";
import { type Element, hostile, loadsNothing, named, parse, readChart, textOf, walk, written } from "./markup.ts";
import { labelsFor, recordOf, runs, sheets, topOne, total } from "./record.ts";

const doctype = "<!DOCTYPE html>\n";
/** What may stand within a paragraph. */
const phrasing = ["span", "b", "small", "br", "wbr"];
/** The elements of HTML that have no end; any other that is closed at once would be left open by a browser. */
const voids = ["meta", "br", "wbr"];

/** Markup of HTML: well-formed, and understood by a browser as it is written. */
function readHtml(markup: string): Element {
  const root = parse(markup);
  const visit = (element: Element, within: readonly string[]): void => {
    const inSvg = within.includes("svg");
    if (element.closedAtOnce && !inSvg) expect(voids).toContain(element.name);
    if (within.includes("p")) expect(phrasing).toContain(element.name);
    for (const child of element.children) {
      if (typeof child !== "string") visit(child, [...within, element.name]);
      // Within style nothing is decoded: an entity would stay as it is.
      else if (element.name === "style") expect(child).not.toMatch(/[&<>]/);
    }
  };
  visit(root, []);
  loadsNothing(root);
  return root;
}

/** Reads a page and holds it to what every page promises. */
function readPage(text: string): Element {
  expect(text.startsWith(doctype)).toBe(true);
  const html = readHtml(text.slice(doctype.length).trimEnd());
  expect(html.name).toBe("html");
  expect(html.attributes.get("lang")).toBe("en");
  const [head, body] = html.children as Element[];
  expect([head.name, body.name, html.children.length]).toEqual(["head", "body", 2]);
  const [charset, ...rest] = head.children as Element[];
  expect(charset.attributes.get("charset")).toBe("utf-8");
  expect(rest.map(({ name, attributes }) => attributes.get("name") ?? name)).toEqual([
    "viewport",
    "color-scheme",
    "title",
    "style",
  ]);
  expect((body.children as Element[]).map(({ name }) => name)).toEqual(["main"]);
  const [header, ...sections] = (body.children[0] as Element).children as Element[];
  expect(header.name).toBe("header");
  expect(named(html, "h1")).toEqual([header.children[0]]);
  for (const section of sections) {
    expect(section.name).toBe("section");
    expect((section.children[0] as Element).name).toBe("h2");
  }
  expect(named(html, "h2").length).toBe(sections.length);
  return html;
}

const nbsp = (text: string): string => text.replaceAll(" %", "\u00A0%");

describe("escapeHtml", () => {
  test("a text comes back from element and attribute as it was, but for what XML cannot hold", () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const escaped = escapeHtml(text);
        expect(escaped).not.toMatch(/[<>"']/);
        const element = parse(`<span title="${escaped}">${escaped}</span>`);
        expect(textOf(element)).toBe(written(text));
        expect(element.attributes.get("title")).toBe(written(text));
      }),
    );
  });

  test.each([
    [`<script>alert("1")</script>`, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"],
    ["it's", "it&#39;s"],
    ["a && b", "a &amp;&amp; b"],
    ["&amp;", "&amp;amp;"],
    ["\u0000\u001B\u007F\uD800\uFFFE", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"],
    ["a\tb\nc 😀 é", "a\tb\nc 😀 é"],
  ])("%j is written %j", (text, expected) => {
    expect(escapeHtml(text)).toBe(expected);
  });
});

describe("page", () => {
  const sections = fc.array(
    fc.record({
      title: hostile,
      html: hostile.map((text) => `<p>${escapeHtml(text)}</p>`),
      note: fc.option(hostile, { nil: undefined }),
    }),
    { maxLength: 3 },
  );

  test("is valid and shows its texts as they are", () => {
    fc.assert(
      fc.property(hostile, fc.option(hostile, { nil: undefined }), sections, (title, lead, parts) => {
        const html = readPage(page({ title, lead, sections: parts }));
        expect(textOf(named(html, "title")[0])).toBe(written(title));
        expect(textOf(named(html, "h1")[0])).toBe(nbsp(written(title)));
        expect(named(html, "h2").map(textOf)).toEqual(parts.map((part) => nbsp(written(part.title))));
        const small = (name: string) =>
          named(html, "p")
            .filter(({ attributes }) => attributes.get("class") === name)
            .map(textOf);
        expect(small("mg-lead")).toEqual(lead ? [nbsp(written(lead))] : []);
        expect(small("mg-note")).toEqual(parts.flatMap(({ note }) => (note ? [nbsp(written(note))] : [])));
      }),
      runs(0.3),
    );
  });

  test("takes the html of a section as it is", () => {
    const made = page({ title: "t", sections: [{ title: "s", html: `<b class="x">bold</b>` }] });
    expect(made).toContain(`<section><h2>s</h2><b class="x">bold</b></section>`);
  });

  test("keeps a number with its percent sign", () => {
    expect(page({ title: "100 % of it", sections: [] })).toContain("<h1>100&#160;% of it</h1>");
  });

  const refused: [options: unknown, error: Error][] = [
    [{ sections: [] }, new TypeError("page: title has undefined, expected a string")],
    [{ title: "t" }, new TypeError("page: sections has undefined, expected a list of { title, html }")],
    [
      { title: "t", sections: [{ title: "s", html: "" }, { title: "s" }] },
      new TypeError('page: sections[1] has "s" and undefined, expected a title and html as strings'),
    ],
    [
      { title: "t", sections: [{ title: 1, html: "h" }] },
      new TypeError('page: sections[0] has 1 and "h", expected a title and html as strings'),
    ],
    [
      { title: "t", sections: [], style: "" },
      new TypeError('page: options has the name "style", expected title, lead, sections'),
    ],
    [undefined, new TypeError("page: options has undefined, expected an object with title, lead, sections")],
  ];
  test.each(refused)("refuses %o", (options, error) => {
    expect(() => page(options as never)).toThrow(error);
  });

  test("a table names its columns and rows, and may be empty", () => {
    const cells = table(
      ["", "a"],
      [
        ["x", "<b>1</b>"],
        ["y", "2"],
      ],
    );
    const root = readHtml(cells);
    expect(named(root, "th").map((th) => [th.attributes.get("scope"), textOf(th)])).toEqual([
      ["col", ""],
      ["col", "a"],
      ["row", "x"],
      ["row", "y"],
    ]);
    expect(named(root, "td").map(textOf)).toEqual(["1", "2"]);
    expect(named(readHtml(table([], [])), "td")).toEqual([]);
    expect(figure("<svg></svg>")).toBe(`<figure tabindex="0"><svg></svg></figure>`);
  });

  test.each([
    [0, "0%"],
    [0.12345, "12.3%"],
    [1, "100%"],
    [7, "100%"],
    [-1, "0%"],
  ])("a bar of %d is %s wide", (fraction, width) => {
    expect(inlineBar(fraction)).toContain(`style="width:${width}"`);
  });
});

/** Reports whose label sets and labels are called what nobody should call them. */
const reports: fc.Arbitrary<RoutingReport> = sheets()
  .chain((sheet) => {
    const set = fc.record({ of: labelsFor(sheet.T, 3), names: fc.array(hostile, { minLength: 3, maxLength: 3 }) });
    return fc.record({ sheet: fc.constant(sheet), sets: fc.array(fc.tuple(hostile, set), { maxLength: 2 }) });
  })
  .map(({ sheet, sets }) => routingReport(recordOf(sheet), { labels: Object.fromEntries(sets) }));

describe("reportHtml", () => {
  test("is a valid page of valid charts, whatever its title, label sets and labels are called", () => {
    fc.assert(
      fc.property(reports, hostile, (report, title) => {
        const html = readPage(reportHtml(report, { title }));
        expect(textOf(named(html, "title")[0])).toBe(written(title));
        for (const chart of reportHtml(report, { title }).match(/<svg .*?<\/svg>/gs) ?? []) readChart(chart);
        for (const shown of named(html, "td").map(textOf)) expect(shown).not.toMatch(/NaN|undefined|Infinity/);
        expect(named(html, "svg").length).toBe(2 + (report.granted > 0 ? report.ranked.length : 0));
      }),
      runs(0.3),
    );
  });

  const labels = { language: { of: [0, 0, 1, 1], names: ["English", "中文"] }, "a < b": { of: [0, 1, 0, 1] } };
  const report = routingReport(recordOf(topOne([0, 0, 1, 1], 3)), { labels });

  test("has the label set that explains the routing first, and a map of each set", () => {
    const html = readPage(reportHtml(report));
    expect(textOf(named(html, "h1")[0])).toBe("What the router did");
    expect(named(html, "h2").map(textOf)).toEqual([
      "What the router divides",
      "What each expert took",
      "How the label sets compare",
      "Load",
      "How to read this",
    ]);
    const charts = named(html, "svg").map((svg) => textOf(svg.children[0] as Element));
    expect(charts).toEqual([
      "Where each language went",
      "Where each a < b went",
      "Slots of each expert",
      "Experts per token",
    ]);
    const [took, compared] = named(html, "tbody").map((body) =>
      named(body, "tr").map((row) => (row.children as Element[]).map(textOf)),
    );
    expect(took).toEqual([
      ["\u00A0 expert 0", " 50\u00A0%", "English\u00A0100\u00A0%", "English\u00A0100\u00A0%"],
      ["\u00A0 expert 1", " 50\u00A0%", "中文\u00A0100\u00A0%", "中文\u00A0100\u00A0%"],
      ["\u00A0 expert 2", " 0\u00A0%", "–", "–"],
    ]);
    expect(compared).toEqual([
      ["language", " 100\u00A0%", "18\u00A0%", "0 of 0.693", "1", "1"],
      ["a < b", " 0\u00A0%", "18\u00A0%", "0.693 of 0.693", "0.5", "0"],
    ]);
  });

  test("without label sets, or where nothing was granted, only the load remains", () => {
    const none = [{ token: 0, expert: 0, granted: false }];
    for (const bare of [
      routingReport(recordOf(topOne([0, 1], 2))),
      routingReport(recordOf({ T: 1, E: 2, slots: none }), { labels: { set: { of: [0] } } }),
    ]) {
      expect(routingSections(bare).map(({ title }) => title)).toEqual(["Load"]);
      readPage(reportHtml(bare));
    }
  });

  test("shows drops beside the load, masked tokens, dead experts and the entropy of probs", () => {
    const slots = [0, 1, 1].map((expert, token) => ({ token, expert, granted: token < 2 }));
    const record = { ...recordOf({ T: 4, E: 3, slots }), probs: { data: [1, 0, 0, 0, 1, 0, 0, 0.5, 0.5, 0, 0, 0] } };
    const html = readPage(reportHtml(routingReport(record, { mask: [1, 1, 1, 0] })));
    const facts = named(html, "dt").map((dt, i) => [textOf(dt), textOf(named(html, "dd")[i])]);
    expect(facts).toEqual([
      ["granted slots", "2of 3 asked for"],
      ["dropped slots", "33\u00A0%1"],
      ["tokens without expert", "33\u00A0%1 more masked"],
      ["largest load / mean", "1.51 = balanced"],
      ["spread of load", "0.71standard deviation / mean"],
      ["entropy of load", "63\u00A0%of ln E; 1 bits"],
      ["dead experts", "12"],
      ["entropy of probs", "21\u00A0%of ln E, mean over tokens; low = decided"],
    ]);
    const bars = named(html, "rect").flatMap((rect) => named(rect, "title").map(textOf));
    expect(bars).toContain("expert 1: dropped 1");
    expect(textOf(named(html, "p")[0])).toBe("3 tokens, 3 experts, 2 granted slots.");
  });

  test("refuses titles that are no strings, and unknown options", () => {
    expect(() => reportHtml(report, {} as never)).toThrow(
      new TypeError("page: title has undefined, expected a string"),
    );
    expect(() => reportHtml(report, { title: "t", heading: "x" } as never)).toThrow(
      new TypeError('reportHtml: options has the name "heading", expected title, lead'),
    );
  });
});

describe("colouredText", () => {
  const numExperts = 40;
  const texts = fc
    .array(
      fc.tuple(
        fc.oneof(hostile, fc.constantFrom("a", "b", " ", "\n", "\t", "\r")),
        fc.integer({ min: -1, max: numExperts - 1 }),
      ),
    )
    .map((pairs) => ({ chars: pairs.map(([c]) => c), experts: pairs.map(([, e]) => e) }));
  const paragraph = (chars: readonly string[], experts: readonly number[]): Element =>
    readHtml(colouredText(chars, experts, { numExperts, legend: false }));

  /** A character as it shows. */
  const shown = (text: string): string =>
    Array.from(text, (c) => {
      if (/[\p{Cs}\p{Bidi_Control}\u007F-\u009F\uFFFE\uFFFF]/u.test(c)) return "\uFFFD";
      if (c === " " || c === "\n" || c === "\t") return { " ": "·", "\n": "¶", "\t": "⇥" }[c];
      return c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : c;
    }).join("");

  test("every character is there, in its order, with its expert", () => {
    fc.assert(
      fc.property(texts, ({ chars, experts }) => {
        const spans = named(paragraph(chars, experts), "span");
        // Characters of one expert that follow each other share a span.
        const runs: { expert: number; text: string }[] = [];
        chars.forEach((c, i) => {
          const last = runs.at(-1);
          if (last?.expert === experts[i]) last.text += shown(c);
          else runs.push({ expert: experts[i], text: shown(c) });
        });
        expect(spans.map((span) => ({ title: span.attributes.get("title"), text: textOf(span) }))).toEqual(
          runs.map(({ expert, text }) => ({ title: expert < 0 ? "no expert" : `expert ${expert}`, text })),
        );
        expect(spans.map((span) => span.attributes.get("class"))).toEqual(
          runs.map(({ expert }) => (expert < 0 ? undefined : `mg-x${expert % 32}`)),
        );
      }),
    );
  });

  test("shows blanks as signs: a newline before its break, and after spaces and tabs a place to break", () => {
    const [span] = named(paragraph([..."a b\n\tc\r\n"], new Array(8).fill(0)), "span");
    const inside = span.children.map((child) => (typeof child === "string" ? child : `<${child.name}>`)).join("");
    expect(inside).toBe("a·<wbr>b¶<br>⇥<wbr>c\u240D¶<br>");
  });

  test("the legend has every expert with its part of the characters, and those without an expert if there are any", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1, max: 3 })), (experts) => {
        const [legend] = colouredText(
          experts.map(() => "x"),
          experts,
          { numExperts: 4 },
        ).split("<p ");
        const items = named(readHtml(legend), "li");
        const count = (e: number) => experts.filter((expert) => expert === e).length;
        const listed = [-1, 0, 1, 2, 3].filter((e) => e >= 0 || count(e) > 0);
        expect(items.map((item) => Number(item.attributes.get("title")))).toEqual(listed.map(count));
        items.forEach((item, i) => {
          const [name, part] = [listed[i] < 0 ? "no expert" : `expert ${listed[i]}`, count(listed[i])];
          expect(textOf(item)).toContain(`${name} `);
          const percent = Number(/(\d+(\.\d)?) %$/.exec(textOf(item))?.[1]);
          // One decimal below 10 %, none above.
          expect(Math.abs(percent - (100 * part) / Math.max(1, experts.length))).toBeLessThanOrEqual(
            percent < 10 ? 0.0501 : 0.5001,
          );
        });
        expect(total(items.map((item) => Number(item.attributes.get("title"))))).toBe(experts.length);
      }),
      runs(0.3),
    );
  });

  test("no text is an empty paragraph that is closed", () => {
    expect(colouredText([], [], { numExperts: 1, legend: false })).toBe(`<p class="mg-text"></p>`);
  });

  test("all the classes that it uses are in the style of the page", () => {
    const style = textOf(named(readPage(page({ title: "t", sections: [] })), "style")[0]);
    const made = colouredText(["a", "b"], [31, 8], { numExperts: 33 });
    for (const element of [...walk(parse(`<div>${made}</div>`))]) {
      for (const name of element.attributes.get("class")?.split(" ") ?? [])
        expect(style).toMatch(new RegExp(`\\.${name}[ {,]`));
    }
  });

  const refused: [chars: unknown, experts: unknown, options: unknown, error: Error][] = [
    [
      ["a"],
      [0, 1],
      { numExperts: 2 },
      new RangeError("colouredText: experts has 2 entries, expected 1 (one expert for each character)"),
    ],
    [
      ["a"],
      [2],
      { numExperts: 2 },
      new RangeError("colouredText: experts[0] has 2, expected an integer from -1 to 1 (−1 stands for none)"),
    ],
    [
      ["a"],
      [-2],
      { numExperts: 2 },
      new RangeError("colouredText: experts[0] has -2, expected an integer from -1 to 1 (−1 stands for none)"),
    ],
    [
      ["a"],
      [0.5],
      { numExperts: 2 },
      new RangeError("colouredText: experts[0] has 0.5, expected an integer from -1 to 1 (−1 stands for none)"),
    ],
    [
      ["a"],
      [null],
      { numExperts: 2 },
      new TypeError("colouredText: experts[0] has null, expected an integer from -1 to 1 (−1 stands for none)"),
    ],
    [
      ["a"],
      undefined,
      { numExperts: 2 },
      new TypeError("colouredText: experts has undefined, expected a list of experts"),
    ],
    ["ab", [0, 1], { numExperts: 2 }, new TypeError('colouredText: chars has "ab", expected a list of strings')],
    [["a", 7], [0, 1], { numExperts: 2 }, new TypeError("colouredText: chars[1] has 7, expected a string")],
    [[], [], { numExperts: 0 }, new RangeError("colouredText: numExperts has 0, expected an integer of at least 1")],
    [
      [],
      [],
      { numExperts: 1, key: true },
      new TypeError('colouredText: options has the name "key", expected numExperts, legend'),
    ],
    [
      [],
      [],
      undefined,
      new TypeError("colouredText: options has undefined, expected an object with numExperts, legend"),
    ],
  ];
  test.each(refused)("refuses %o with %o and %o", (chars, experts, options, error) => {
    expect(() => colouredText(chars as string[], experts as number[], options as { numExperts: number })).toThrow(
      error,
    );
  });
});

describe("the reader of markup that these tests rely on", () => {
  test.each([
    ["an element that is not closed", "<p>"],
    ["elements closed in the wrong order", "<p><b></p></b>"],
    ["a bare ampersand", "<p>a & b</p>"],
    ["an entity of HTML alone", "<p>&nbsp;</p>"],
    ["a bare less-than sign", "<p>a < b</p>"],
    ["an attribute without quotes", "<p class=a></p>"],
    ["an attribute that holds a tag", `<p class="<b>"></p>`],
    ["an attribute twice", `<p class="a" class="b"></p>`],
    ["a control character", "<p>\u0007</p>"],
    ["half a surrogate pair", "<p>\uD800</p>"],
    ["two elements", "<p></p><p></p>"],
    ["a comment", "<!-- x --><p></p>"],
  ])("refuses %s", (_, markup) => {
    expect(() => parse(markup)).toThrow();
  });

  test.each([
    [`<svg><script>alert(1)</script></svg>`],
    [`<svg onload="x"></svg>`],
    [`<svg><style>a{background:url(x)}</style></svg>`],
    [`<svg href="#a"></svg>`],
    [`<svg class="//example.org"></svg>`],
  ])("finds what runs or loads in %s", (markup) => {
    expect(() => loadsNothing(parse(markup))).toThrow();
  });
});
