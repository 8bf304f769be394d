/** docs/performance.md and its plot, from the results of a run. */
import { writeFileSync } from "node:fs";
import { lineChart } from "../src/report/index.ts";
import { cases } from "./cases.ts";
import { type Peer, peers } from "./sides/peers.ts";
import { type Cell, OWN, type Results, type Row } from "./suite.ts";
import { digits, duration, rate, ratio, shareOfRoof } from "./table.ts";

const PAGE = new URL("../docs/performance.md", import.meta.url);
const PLOT = new URL("../docs/performance.svg", import.meta.url);

export function writePage(results: Results): void {
  writeFileSync(PAGE, pageOf(results));
  writeFileSync(PLOT, `${plotOf(results.rows)}\n`);
}

/** The page as Markdown. */
export function pageOf(results: Results): string {
  const { rows, missing } = results;
  const grown = new Set(cases.flatMap(({ name, growth }) => (growth ? [name] : [])));
  const main = rows.filter(({ name }) => !grown.has(name));
  const sections = [
    intro(results),
    "## What the library does",
    OWN_WORDS,
    table(
      ["case", "time", "slowest process", "rate", "of the roof"],
      main.map((row) => ownCells(row, results)),
    ),
    "## Beside other libraries",
    PEER_WORDS,
    table(
      ["case", OWN, ...namesOf(results)],
      main.filter(isShared).map((row) => peerCells(row, namesOf(results))),
    ),
    "### How each was used",
    peers
      .filter(({ name }) => name in results.versions)
      .map((peer) => peerText(peer, results))
      .join("\n"),
    ...(Object.keys(missing).length > 0
      ? [
          `Not there when this was measured: ${Object.entries(missing)
            .map(([name, why]) => `${name} (${why})`)
            .join(", ")}.`,
        ]
      : []),
    "## Time follows the work that is active",
    growthWords(rows),
    "![Time of the layer as tokens, width or experts grow](performance.svg)",
    table(
      ["grown", ...TIMES.map((times) => `× ${times}`)],
      AXES.map((axis) => [AXIS_NAMES[axis], ...TIMES.map((times) => cellText(grownCell(rows, axis, times)))]),
    ),
  ];
  return `${sections.join("\n\n")}\n`;
}

const intro = ({ date, node, processor, device, load, clock, roof }: Results): string => `# Performance

Written by \`npm run bench -- --write\` on ${date}: Node ${node.slice(1)} on one core of ${processor}, moegrad on ${device}. Other
programs wanted ${load.map((x) => x.toFixed(1)).join(" cores before and ")} after. Times depend on the machine; what holds elsewhere are
ratios, more or less.

Each case is first checked against exact results: plain loops in float64 that share nothing with the library. It is then timed
in processes of its own, in rounds, one side after the other, by [tinybench](https://github.com/tinylibs/tinybench) after a
warm-up. A time is the median of the quickest process's calls: what else runs on a machine, or a kernel that a process has compiled
badly, only ever slows.${clock === "cpu" ? " Times are processor times, as other programs ran beside." : ""}

**The roof** is what one core could do at best with WebAssembly's vectors of four floats, measured in the same run: ${digits(roof.gflops)}
GFLOP/s in multiplications and additions that wait for nothing, and ${digits(roof.gbytes)} GB/s copied, read and written. A share of it
is of the first where flops are counted, else of the second.`;

const OWN_WORDS = `Flops are those of the products that are needed: of a layer, the router's and those of the experts that were
chosen; a backward pass counts twice its forward one. Times are of calls by public names, with the memory of their results and,
where there is a backward pass, the graph. Layers have T = 1024, D = 128; moe8: E = 8, F = 512, top-2 with tanh's gelu; exact:
the exact form; choice8: expert choice, two experts per token; moe64: E = 64, F = 256. "step" is a training step of the model of
\`npm start\` with AdamW, "tiny add" the sum of two numbers with its record.`;

const PEER_WORDS = `Time, and in brackets how many times faster moegrad is: below 1, it is slower. The same numbers went in and the
same came out, to one part in a hundred thousand. All have one thread.`;

/** What the plot shows, in numbers: prose that was written once could be wrong of a later run. */
function growthWords(rows: readonly Row[]): string {
  const grown = AXES.flatMap((axis) => {
    const times = TIMES.findLast((n) => multiple(rows, axis, n) !== null);
    if (times === undefined) return [];
    return [`${times} times ${WORDS[axis]} took ${digits(multiple(rows, axis, times) as number)} times the time`];
  });
  return `The layer forward and backward, from T = 256, D = 64, F = 256, E = 8, top-2. Twice the tokens or twice the width are
twice the work; twice the experts are the same work for each token, but for the router, gradients of more weights and smaller
groups. Here ${grown.join(", ") || "nothing was timed"}.`;
}

const namesOf = ({ versions }: Results): string[] => peers.map(({ name }) => name).filter((name) => name in versions);
const isShared = ({ sides }: Row): boolean => Object.keys(sides).length > 1;

function ownCells({ name, work, sides }: Row, { roof }: Results): string[] {
  const own = sides[OWN];
  if ("failed" in own) return [name, "failed", "", "", ""];
  const { ms, highest } = own;
  return [name, duration(ms), duration(highest), rate(work, ms), shareOfRoof(work, ms, roof)];
}

function peerCells({ name, sides }: Row, names: readonly string[]): string[] {
  return [name, cellText(sides[OWN]), ...names.map((peer) => cellText(sides[peer], ratio(sides[OWN], sides[peer])))];
}

function cellText(cell: Cell | undefined, bracket = ""): string {
  if (cell === undefined) return "–";
  if ("failed" in cell) return "failed";
  return `${duration(cell.ms)}${bracket ? ` (${bracket})` : ""}`;
}

/** How a peer was used, and what it was not asked to do. */
function peerText({ name, package: packageName, says, lacks }: Peer, { versions }: Results): string {
  const casesOf = new Map<string, string[]>();
  for (const { name: caseName, task, growth } of cases) {
    const why = task.kind === "step" || growth ? null : lacks(task);
    if (why !== null) casesOf.set(why, [...(casesOf.get(why) ?? []), caseName]);
  }
  const gaps = [...casesOf].map(([why, names]) => `${why} (${names.join(", ")})`).join("; ");
  const title = packageName === null ? name : `\`${packageName}\``;
  return `- **${title} ${versions[name]}**: ${says}${gaps ? ` Left out: ${gaps}.` : ""}`;
}

/** A Markdown table; columns after the first are numbers, to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const rule = head.map((_, i) => (i === 0 ? "---" : "---:"));
  return [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

const AXES = ["T", "D", "E"] as const;
const TIMES = [1, 2, 4, 8];
const AXIS_NAMES = { T: "T, tokens", D: "D, width", E: "E, experts" };
const WORDS = { T: "the tokens", D: "the width", E: "the experts" };

function grownCell(rows: readonly Row[], axis: (typeof AXES)[number], times: number): Cell | undefined {
  const found = cases.find(({ growth }) => growth?.axis === axis && growth.times === times);
  return rows.find(({ name }) => name === found?.name)?.sides[OWN];
}

/** A time as a multiple of that of the smallest size; null where either is missing. */
function multiple(rows: readonly Row[], axis: (typeof AXES)[number], times: number): number | null {
  const [small, large] = [grownCell(rows, axis, 1), grownCell(rows, axis, times)];
  return small && large && "ms" in small && "ms" in large ? large.ms / small.ms : null;
}

/** Time as a multiple of the smallest size's, over how much each letter has grown. */
export const plotOf = (rows: readonly Row[]): string =>
  lineChart({
    title: "Time of a MoE layer, forward and backward",
    xLabel: "how many times T, D or E has grown",
    yLabel: "times the time of the smallest",
    x: TIMES,
    yMin: 0,
    series: AXES.map((axis) => ({ name: AXIS_NAMES[axis], values: TIMES.map((n) => multiple(rows, axis, n)) })),
  });
