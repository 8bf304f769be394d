/**
 * Next-best choice as gathers, though each assignment depends on all that came before it.
 *
 * What an assignment needs to know is when each expert became full, and that happens at most E times. So two launches take
 * turns: the choices that follow from the times known so far, and the times that follow from those choices. Times start at
 * "never". They are then never too early: an expert that is taken to have room for too long draws to itself what is another
 * one's, and no expert gets more than it should before its true time. Hence the first time that is still wrong is right
 * after the next turn, since all choices before it were, and after as many turns as experts can become full all are.
 */
import type { Gather, GpuForm, Source, Stage } from "../gpu/form.ts";
import { divide } from "./gather.gpu.ts";

interface Attrs {
  readonly numExperts: number;
  readonly k: number;
  readonly capacity: number;
}

/** The choice of assignment i = c · n + t: its token's rounds up to c, with `full` the times, or null for none. */
function choice(ranking: Source, full: Source | null, { numExperts: E, k }: Attrs): Gather {
  const n = ranking.length / E;
  const cell = divide("c", "t", "i", "n");
  if (full === null) {
    return { numbers: { n, E }, body: `${cell}\n  return ${ranking.at("t * E + c")};` };
  }
  return {
    numbers: { n, E, k },
    turns: Math.max(E, k),
    body: `${cell}
  let next = k;
  let e = 0;
  for (let round = 0; round < k; round += 1) {
    if (round <= c) {
      let now = round * n + t;
      e = ${ranking.at("t * E + round")};
      if (${full.at("e")} <= now) {
        let found = 0;
        for (let j = 0; j < E; j += 1) {
          let other = ${ranking.at("t * E + j")};
          if (j >= next && found < 0.5 && ${full.at("other")} > now) {
            found = 1;
            e = other;
            next = j + 1;
          }
        }
      }
    }
  }
  return e;`,
  };
}

/** How many assignments come before expert i is full, given all choices. */
function fillTime(choices: (at: string) => string, numbers: Record<string, number>, turns: number): Gather {
  return {
    numbers: { ...numbers, turns },
    turns,
    body: `
  let count = 0;
  let time = turns;
  for (let a = 0; a < turns; a += 1) {
    if (${choices("a")} === i) {
      count += 1;
      if (count === capacity) {
        time = a + 1;
      }
    }
  }
  return time;`,
  };
}

/** Error    exact */
export const nextBestGather: GpuForm<Attrs> = {
  stages({ attrs, inputs: [ranking], length }) {
    const { numExperts: E, capacity } = attrs;
    const turns = Math.min(E, Math.floor(length / Math.max(1, capacity)));
    const choices = (): Stage<Attrs> => ({
      length,
      gather: ({ inputs: [x], stages }) => choice(x, stages[stages.length - 1] ?? null, attrs),
    });
    const times: Stage<Attrs> = {
      length: E,
      gather: ({ stages }) => fillTime((a) => stages[stages.length - 1].at(a), { capacity }, length),
    };
    return ranking.length === 0 || capacity === 0 ? [] : Array.from({ length: turns }, () => [choices(), times]).flat();
  },
  gather: ({ attrs, inputs: [ranking], stages }) =>
    attrs.capacity === 0 ? null : choice(ranking, stages[stages.length - 1] ?? null, attrs),
  range: ({ attrs: { numExperts } }) => [0, numExperts - 1],
};
