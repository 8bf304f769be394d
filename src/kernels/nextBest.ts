/**
 * Overflow to the next best expert: an assignment that finds its expert full asks for another one.
 *
 *   Rounds as for capacity by position: all first choices in token order, then all second ones. An assignment whose expert
 *   is full takes the best expert with room that the token has neither asked for nor been given; if there is none it
 *   stays with its own, and is dropped.
 *
 * Integers, exact, no gradient.
 */
import { defineOp, type OpFn } from "../autograd.ts";
import type { Flat, Kernel } from "../device/kernel.ts";
import { run } from "../device/run.ts";
import type { Tensor } from "../tensor.ts";

interface NextBestAttrs {
  readonly numExperts: number;
  readonly k: number;
  readonly capacity: number;
}

/** ranking int32 [n, E], each row all experts from best to worst → int32 [K·n], the expert of each assignment. */
export const nextBestKernel: Kernel<NextBestAttrs> = {
  name: "nextBest",
  reference(out, [ranking], { numExperts: E, k, capacity }) {
    const n = ranking.length / E;
    const given: number[][] = Array.from({ length: n }, () => []);
    const load = new Array<number>(E).fill(0);
    for (let c = 0; c < k; c++) {
      for (let t = 0; t < n; t++) {
        const row = Array.from(ranking.subarray(t * E, (t + 1) * E));
        const candidates = [row[c], ...row.slice(k).filter((e) => !given[t].includes(e))];
        const found = candidates.find((e) => load[e] < capacity);
        if (found !== undefined) {
          given[t].push(found);
          load[found]++;
        }
        out[c * n + t] = found ?? row[c];
      }
    }
  },
  loops: fillNextBest,
};

/** Loads only grow, so an expert that was full for a token stays full: its search goes on where it stopped. */
function fillNextBest(out: Flat, [ranking]: readonly Flat[], { numExperts: E, k, capacity }: NextBestAttrs): void {
  const n = E === 0 ? 0 : ranking.length / E;
  const load = new Int32Array(E);
  const next = new Int32Array(n).fill(k);
  for (let c = 0; c < k; c++) {
    for (let t = 0; t < n; t++) {
      let e = ranking[t * E + c];
      if (load[e] >= capacity) {
        while (next[t] < E && load[ranking[t * E + next[t]]] >= capacity) next[t]++;
        if (next[t] < E) e = ranking[t * E + next[t]++];
      }
      if (load[e] < capacity) load[e]++;
      out[c * n + t] = e;
    }
  }
}

/** See nextBestKernel. */
export const nextBest: OpFn<[ranking: Tensor], [k: number, capacity: number]> = defineOp({
  name: "nextBest",
  inputs: ["ranking"],
  forward([ranking], k, capacity) {
    const [n, E] = ranking.shape;
    return run(nextBestKernel, [ranking], { numExperts: E, k, capacity }, [k * n], "int32");
  },
  vjp: () => [null],
});
