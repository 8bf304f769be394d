/** docs/gpu-performance.md, from the results of a run on GPUs. */
import { writeFileSync } from "node:fs";
import { duration, rate, shareOfRoof } from "../table.ts";
import type { Column, GpuCell, GpuResults, GpuRow, RouteResult } from "./results.ts";
import { COLUMNS, gpuRatio, routeWords } from "./table.ts";

const PAGE = new URL("../../docs/gpu-performance.md", import.meta.url);

export const writeGpuPage = (results: GpuResults): void => writeFileSync(PAGE, gpuPageOf(results));

/** The page as Markdown. */
export function gpuPageOf(results: GpuResults): string {
  const { routes, missing } = results;
  const absent = Object.entries(missing).map(([name, why]) => `${name} (${why})`);
  const sections = [
    intro(results),
    ...routes.flatMap((route) => [`## ${route.route}`, `${routeWords(route)}.`, routeTable(results, route)]),
    PEER_WORDS,
    ...(absent.length > 0 ? [`Not there when this was measured: ${absent.join(", ")}.`] : []),
  ];
  return `${sections.join("\n\n")}\n`;
}

function intro({ date, browser, processor, load, versions, routes }: GpuResults): string {
  const names = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `# Performance on a GPU

Written by \`npm run bench -- --device gpu --write\` on ${date}: ${browser}, ${names.join(", ")}, on ${processor}. Other
programs wanted ${load.map((x) => x.toFixed(1)).join(" cores before and ")} after.

${groundWords(routes)}

Each case is first checked against exact results: plain loops in float64 that share nothing with the library (those of large
cases against the library's CPU device). moegrad and tfjs then take turns in one page, on the same numbers; a turn is as many calls
as fit into some tenths of a second. A call ends when one number of each result is on the host. Times are the median of the rounds, and
the quickest call of all; after each peer's time stands by how much moegrad is faster, by medians and by the quickest calls: below
1, it is slower. "simd" is moegrad on the CPU in one thread, in Node, on the same numbers.

**The roof** is what a kernel of gpu.js can do on that route: multiplications and additions in eight chains a thread, and a copy in
fours, read and written. Layers: small T = 512, D = 64, F = 256, E = 8; else T = 1024, D = 128, F = 512, E = 8; large T = 4096, D = 512,
F = 1024, E = 16. moe: top-2, dropless; choice: expert choice, two experts per token. "launch" is one of a hundred small
additions in a chain.`;
}

/** What was measured, said plainly. */
function groundWords(routes: readonly RouteResult[]): string {
  const programs = routes.filter(({ software }) => software);
  if (programs.length === 0) return "What was measured is a GPU.";
  const which =
    programs.length === routes.length ? "**No GPU was measured.**" : `**On ${programs[0].route} no GPU was measured.**`;
  return `${which} The browser ran shaders on a software rasterizer, a program on the CPU. The ratios say how much work the
kernels of either library are to such a program; they say nothing about the speed of a GPU.`;
}

const PEER_WORDS = `## How tfjs was used

Its WebGL backend packs two by two numbers a texel; matMul takes transposed operands as they are. It has no dispatch, so the host
reads the router's numbers, chooses, and uploads the map and its inverse: rows go by \`gather\` both ways, in \`customGrad\`. Experts
run one after the other, or in one product of batches that are filled up to the largest, or densely; each case has the quickest
of these, and its gradients are those of \`tf.grads\`. gelu is \`x · σ(u)\` with a gradient written out. Its Adam has no decay, so
the weights are scaled before. Numbers are read by \`data()\`, on WebGL by \`dataSync()\`, which is the quicker one there.`;

function routeTable({ rows }: GpuResults, { route, roof }: RouteResult): string {
  const mine = rows.filter((row) => row.route === route);
  const columns = COLUMNS.filter((column) => mine.some(({ sides }) => column in sides));
  const head = ["case", "moegrad", "quickest", "rate", "of the roof", ...columns];
  const rule = head.map((_, i) => (i === 0 ? "---" : "---:"));
  const lines = mine.map((row) => rowCells(row, columns, roof));
  return [head, rule, ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function rowCells({ name, work, sides }: GpuRow, columns: readonly Column[], roof: RouteResult["roof"]): string[] {
  const own = sides.moegrad;
  const times =
    own === undefined || "failed" in own
      ? ["failed", "", "", ""]
      : [duration(own.median), duration(own.least), rate(work, own.median), shareOfRoof(work, own.median, roof)];
  return [name, ...times, ...columns.map((column) => peerText(own, sides[column]))];
}

function peerText(own: GpuCell | undefined, cell: GpuCell | undefined): string {
  if (cell === undefined) return "–";
  if ("failed" in cell) return "failed";
  const ratio = gpuRatio(own, cell);
  return `${duration(cell.median)}${ratio === "" ? "" : ` (${ratio})`}`;
}
