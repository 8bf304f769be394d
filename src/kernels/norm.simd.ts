/**
 * Normalisations as WebAssembly, in float64 from the first sum to the last product: a mean that is rounded to float32 is
 * useless where it is large beside what differs from it.
 */
import { type Code, type Func, f64, f64x2, fn, i32, type Local } from "../device/assembler.ts";
import type { Call, SimdForm, SimdModule } from "../device/simd.ts";
import { CHUNK, eachColumn, inDoubles } from "./lanes.simd.ts";
import type { NormAttrs } from "./norm.ts";
import { rowSums } from "./reduce.simd.ts";

/** A sum over D, in two lanes. */
const meanOf = (sum: Local, D: Local): Code => f64x2.splat(f64.div(sum.get, D.get));

/** 1 / √(square / D + eps), in two lanes. */
const scaleOf = (square: Local, D: Local, eps: Local): Code =>
  f64x2.splat(f64.div(f64.const(1), f64.sqrt(f64.add(f64.div(square.get, D.get), eps.get))));

/** y = (x − mean) · scale for rows of D numbers, `bytes` bytes. */
const forwardFunction = (name: string, centre: boolean): Func =>
  fn(name, ["i32", "i32", "i32", "i32", "f64", "f64"], (f, [x, y, rows, bytes, D, eps]) => {
    const [r, d] = f.locals("i32", "i32");
    const [sum, square] = f.locals("f64", "f64");
    const [mean, scale, off, four] = f.locals("v128", "v128", "v128", "v128");
    const centred = (v: Code): Code => (centre ? f64x2.sub(v, mean.get) : v);
    return [
      r.set(i32.const(0)),
      f.while(r, rows.get, 1, [
        centre ? [rowSums(f, [x], bytes.get, 4, [sum], (v) => [v.get]), mean.set(meanOf(sum, D))] : [],
        rowSums(f, [x], bytes.get, 4, [square], (v) => [f64x2.mul(off.tee(centred(v.get)), off.get)]),
        scale.set(scaleOf(square, D, eps)),
        eachColumn(f, d, bytes.get, (load, store) => [
          four.set(load(i32.add(x.get, d.get))),
          store(
            i32.add(y.get, d.get),
            inDoubles([four], (v) => f64x2.mul(centred(v), scale.get)),
          ),
        ]),
        x.add([bytes.get]),
        y.add([bytes.get]),
      ]),
    ];
  });

/** dx = (g − mean(g) − (x − mean) · along) · scale, where along = mean(g · (x − mean)) · scale². */
const backwardFunction = (name: string, centre: boolean): Func =>
  fn(name, ["i32", "i32", "i32", "i32", "i32", "f64", "f64"], (f, [g, x, dx, rows, bytes, D, eps]) => {
    const [r, d] = f.locals("i32", "i32");
    const [first, second] = f.locals("f64", "f64");
    const [meanX, meanG, scale, along, off] = f.locals("v128", "v128", "v128", "v128", "v128");
    const [fourG, fourX] = f.locals("v128", "v128");
    const centred = (v: Code, mean: Local): Code => (centre ? f64x2.sub(v, mean.get) : v);
    return [
      r.set(i32.const(0)),
      f.while(r, rows.get, 1, [
        centre
          ? [
              rowSums(f, [x, g], bytes.get, 2, [first, second], (v, w) => [v.get, w.get]),
              meanX.set(meanOf(first, D)),
              meanG.set(meanOf(second, D)),
            ]
          : [],
        rowSums(f, [x, g], bytes.get, 2, [first, second], (v, w) => [
          f64x2.mul(off.tee(centred(v.get, meanX)), off.get),
          f64x2.mul(w.get, off.get),
        ]),
        scale.set(scaleOf(first, D, eps)),
        along.set(f64x2.mul(meanOf(second, D), f64x2.mul(scale.get, scale.get))),
        eachColumn(f, d, bytes.get, (load, store) => [
          fourG.set(load(i32.add(g.get, d.get))),
          fourX.set(load(i32.add(x.get, d.get))),
          store(
            i32.add(dx.get, d.get),
            inDoubles([fourG, fourX], (w, v) =>
              f64x2.mul(f64x2.sub(centred(w, meanG), f64x2.mul(centred(v, meanX), along.get)), scale.get),
            ),
          ),
        ]),
        [g, x, dx].map((at) => at.add([bytes.get])),
      ]),
    ];
  });

const module: SimdModule = {
  functions: () => [
    forwardFunction("normalize", false),
    forwardFunction("normalizeCentred", true),
    backwardFunction("normalizeBackward", false),
    backwardFunction("normalizeBackwardCentred", true),
  ],
};

/** Asks for a function row by row; `arrays`: the addresses of inputs and output. */
function rowCalls(call: Call, name: string, arrays: readonly number[], attrs: NormAttrs, length: number): void {
  const { D, eps, centre } = attrs;
  const step = D * Math.max(1, Math.floor(CHUNK / D));
  for (let i = 0; i < length; i += step) {
    const rows = Math.min(step, length - i) / D;
    call(centre ? `${name}Centred` : name, ...arrays.map((at) => at + 4 * i), rows, 4 * D, D, eps);
  }
}

/** A row costs divisions and a root, whatever its length. */
const costOf = (ns: number, { D }: NormAttrs, length: number): number => length * (ns + 12 / D);

export const normalizeForm: SimdForm<NormAttrs> = {
  module,
  cost: (attrs, length) => costOf(0.7, attrs, length),
  run: (call, out, [x], attrs, length) => rowCalls(call, "normalize", [x.at, out], attrs, length),
};

export const normalizeBackwardForm: SimdForm<NormAttrs> = {
  module,
  cost: (attrs, length) => costOf(1.2, attrs, length),
  run: (call, out, [g, x], attrs, length) => rowCalls(call, "normalizeBackward", [g.at, x.at, out], attrs, length),
};
