/**
 * Top-k for small k as WebAssembly: four rows at a time, one in each lane, without a branch.
 *
 * Each lane keeps the k best of its row so far, largest first, and their places. A new number v stands behind all that are
 * at least as large, so that equal ones keep their order:
 *
 *   best[s] stays             where v ≤ best[s]
 *   best[s] becomes best[s−1]  where v > best[s−1]: it moves down
 *   best[s] becomes v          else
 *
 * The best begin as NaN, to which nothing is less or equal.
 */
import { type Code, type Func, f32x4, fn, i32, i32x4, type Local, select, v128 } from "../device/assembler.ts";
import type { SimdForm, SimdModule } from "../device/simd.ts";
import { CHUNK } from "./lanes.simd.ts";
import type { TopkAttrs } from "./topk.ts";

/** Above this k the loops are as good: their list rarely changes. */
export const LANE_LIMIT = 4;

/** A function (x, y, rows, n): the places of the k largest of each row. */
const topk = (k: number): Func =>
  fn(`topk${k}`, ["i32", "i32", "i32", "i32"], (f, [x, y, rows, n]) => {
    const [left, j, columns] = f.locals("i32", "i32", "i32");
    const [place, v] = f.locals("v128", "v128");
    const at = f.locals("i32", "i32", "i32", "i32");
    const to = f.locals("i32", "i32", "i32", "i32");
    const row = f.locals("v128", "v128", "v128", "v128");
    const column = f.locals("v128", "v128", "v128", "v128");
    const slots = Array.from({ length: k }, () => {
      const [best, where, stays] = f.locals("v128", "v128", "v128");
      return { best, where, stays };
    });
    const pair = (a: Local, b: Local, lanes: number[]): Code => v128.shuffle(a.get, b.get, lanes);

    const insert = (value: Code): Code => [
      v.set(value),
      slots.map(({ best, stays }) => stays.set(f32x4.le(v.get, best.get))),
      // From the last one up, so that each still sees what the one above it was.
      [...slots.keys()].reverse().map((s) => {
        const { best, where, stays } = slots[s];
        const above = slots[s - 1];
        const moved = (mine: Local, own: Code, theirs?: Local): Code =>
          mine.set(
            v128.bitselect(mine.get, theirs ? v128.bitselect(own, theirs.get, above.stays.get) : own, stays.get),
          );
        return [moved(best, v.get, above?.best), moved(where, place.get, above?.where)];
      }),
      place.set(i32x4.add(place.get, i32x4.const(1))),
    ];

    const fourColumns: Code = [
      row.map((r, i) => r.set(v128.load(at[i].get))),
      column[0].set(pair(row[0], row[1], [0, 4, 1, 5])),
      column[1].set(pair(row[2], row[3], [0, 4, 1, 5])),
      column[2].set(pair(row[0], row[1], [2, 6, 3, 7])),
      column[3].set(pair(row[2], row[3], [2, 6, 3, 7])),
      insert(pair(column[0], column[1], [0, 1, 4, 5])),
      insert(pair(column[0], column[1], [2, 3, 6, 7])),
      insert(pair(column[2], column[3], [0, 1, 4, 5])),
      insert(pair(column[2], column[3], [2, 3, 6, 7])),
      at.map((p) => p.add(16)),
    ];
    const oneColumn: Code = [
      row.map((r, i) => r.set(v128.loadFirst(at[i].get))),
      column[0].set(pair(row[0], row[1], [0, 4, 1, 5])),
      column[1].set(pair(row[2], row[3], [0, 4, 1, 5])),
      insert(pair(column[0], column[1], [0, 1, 4, 5])),
      at.map((p) => p.add(4)),
    ];

    // Where fewer than four rows are left, the last one stands in for the others, and is written more than once.
    const rowAt = (base: Local, i: number, width: Code): Code =>
      i32.add(
        base.get,
        i32.shl(
          i32.mul(select(i32.const(i), i32.sub(left.get, i32.const(1)), i32.lt(i32.const(i), left.get)), width),
          i32.const(2),
        ),
      );
    return [
      left.set(rows.get),
      f.when(
        i32.gt(left.get, i32.const(0)),
        f.loop([
          at.map((p, i) => p.set(rowAt(x, i, n.get))),
          to.map((p, i) => p.set(rowAt(y, i, i32.const(k)))),
          slots.map(({ best }) => best.set(f32x4.const(Number.NaN))),
          place.set(v128.zero),
          j.set(i32.const(0)),
          columns.set(i32.and(n.get, i32.const(-4))),
          f.while(j, columns.get, 4, fourColumns),
          f.while(j, n.get, 1, oneColumn),
          slots.map(({ where }, s) => to.map((p, i) => i32.store(p.get, i32x4.lane(where.get, i), 4 * s))),
          x.add([i32.shl(n.get, i32.const(4))]),
          y.add(16 * k),
          left.add(-4),
          f.again(i32.gt(left.get, i32.const(0))),
        ]),
      ),
    ];
  });

const module: SimdModule = { functions: () => Array.from({ length: LANE_LIMIT }, (_, i) => topk(i + 1)) };

export const topkForm: SimdForm<TopkAttrs> = {
  module,
  makesIntegers: true,
  cost: ({ k }, _, [x]) => (x instanceof Int32Array || k === 0 || k > LANE_LIMIT ? 0 : 0.4 * (1 + k) * x.length),
  run(call, out, [x], { n, k }, length) {
    const rows = length / k;
    const step = 4 * Math.max(1, Math.floor(CHUNK / (4 * n)));
    for (let r = 0; r < rows; r += step) {
      call(`topk${k}`, x.at + 4 * r * n, out + 4 * r * k, Math.min(step, rows - r), n);
    }
  },
};
