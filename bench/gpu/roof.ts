/**
 * The roof of a GPU as a kernel of gpu.js meets it.
 *
 *   peak        multiplications and additions in eight chains a thread that do not wait for each other
 *   bandwidth   a copy of an array in fours; bytes read and bytes written both count
 */
import { findRoute, type Route, type RouteName } from "../../src/gpu/route.ts";
import type { Layout } from "../../src/gpu/texels.ts";
import type { Roof } from "../roof.ts";

const CHAINS = 8;
const THREADS = 2 ** 18;
/** gpu.js cuts longer loops off. */
const MOST_TURNS = 2 ** 15;
/** Groups of four that are copied. */
const COPIED = 2 ** 22;
/** A call that is shorter says more of its launch. */
const LONG_MS = 100;

const each = (text: (chain: string) => string): string =>
  Array.from({ length: CHAINS }, (_, c) => text(`x${c}`)).join(" ");

const CELL = "const i = this.thread.y * this.output.x + this.thread.x;";

/** x ← x · ½ + 1, so many turns. */
const CHAINED = `function (turns, half, one) {
  ${CELL}
  ${each((x) => `let ${x} = i + ${x.slice(1)};`)}
  for (let k = 0; k < turns; k += 1) {
    ${each((x) => `${x} = ${x} * half + one;`)}
  }
  return ${each((x) => x).replaceAll(" ", " + ")};
}`;
const FILL = `function () {\n  ${CELL}\n  return [i, i, i, i];\n}`;
const FIRST = `function (y) {\n  ${CELL}\n  return y[i];\n}`;
/** Textures are read in fours, buffers one by one. */
const COPY: Readonly<Record<Layout, string>> = {
  texels: `function (y) {\n  ${CELL}\n  const v = y[i];\n  return [v[0], v[1], v[2], v[3]];\n}`,
  buffers: `function (y) {\n  ${CELL}\n  const j = 4 * i;\n  return [y[j], y[j + 1], y[j + 2], y[j + 3]];\n}`,
};
const FIRST_OF_FOUR: Readonly<Record<Layout, string>> = {
  texels: `function (y) {\n  ${CELL}\n  const v = y[i];\n  return v[0];\n}`,
  buffers: FIRST,
};

/** Time of a launch until the first number that it made is on the host. */
async function launchMs(
  route: Route,
  text: string,
  args: readonly unknown[],
  threads: number,
  first: string,
): Promise<number> {
  const start = performance.now();
  const made = await route.launch(text, args, threads);
  const few = await route.launch(first, [made], 1);
  await route.read(few, 1);
  const ms = performance.now() - start;
  few.delete();
  made.delete();
  return ms;
}

async function best(tries: number, call: () => Promise<number>): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < tries; i++) least = Math.min(least, await call());
  return least;
}

/** Measures a route in a page of its own. Throws with the reason where it is not there. */
export async function measureGpuRoof(name: RouteName): Promise<Roof> {
  const found = await findRoute([name]);
  if (typeof found === "string") throw new Error(found);
  const { route } = found;
  const chained = (turns: number) => launchMs(route, CHAINED, [turns, 0.5, 1], THREADS, FIRST);
  let turns = 16;
  // The first call compiles.
  await chained(turns);
  while (turns < MOST_TURNS && (await chained(turns)) < LONG_MS) turns *= 2;
  const peak = await best(5, () => chained(turns));
  const source = await route.launch(FILL, [], COPIED);
  const copying = () => launchMs(route, COPY[route.layout], [source], COPIED, FIRST_OF_FOUR[route.layout]);
  await copying();
  const copied = await best(5, copying);
  source.delete();
  route.stop();
  return { gflops: (2 * CHAINS * THREADS * turns) / peak / 1e6, gbytes: (2 * 16 * COPIED) / copied / 1e6 };
}
