/** Cases of what works cell by cell: broadcasts that merge and such that do not, functions near and far from 0. */
import type { DType, Flat, Kernel } from "../device/kernel.ts";
import * as activations from "../kernels/activations.ts";
import * as compare from "../kernels/compare.ts";
import * as elementwise from "../kernels/elementwise.ts";
import * as gelu from "../kernels/gelu.ts";
import * as unary from "../kernels/unary.ts";
import * as update from "../kernels/update.ts";
import { broadcastShapes, sizeOf } from "../shape.ts";
import { type Case, call, Draw, MOST, ULP } from "./case.ts";

const shapePairs: readonly (readonly [readonly number[], readonly number[]])[] = [
  [
    [3, 5],
    [3, 5],
  ],
  [[4, 3], [3]],
  [
    [4, 1],
    [1, 7],
  ],
  [
    [2, 3, 4],
    [3, 1],
  ],
  [
    [2, 1, 3, 1],
    [4, 1, 5],
  ],
  [[6], []],
  [[], [2, 2]],
  [[600], [600]],
  [[3, 8], [8]],
  [
    [3, 8],
    [3, 1],
  ],
  [
    [2, 1, 12],
    [5, 1],
  ],
  [
    [2, 3, 1, 4],
    [2, 1, 5, 4],
  ],
];

type Numbers = (n: number) => Flat;

function binary(
  kernel: Kernel<elementwise.Broadcast>,
  a: Numbers,
  { b = a, dtype = "float32" as DType, bound = 0 } = {},
) {
  return shapePairs.map(([x, y]) => {
    const shape = broadcastShapes("case", x, y);
    const attrs = elementwise.planBroadcast(x, y, shape);
    return call(kernel, [a(sizeOf(x)), b(sizeOf(y))], attrs, sizeOf(shape), dtype, { bound });
  });
}

const SIZES = [1, 7, 8, 300];

function arithmetic({ floats, ints, ties, away, positive }: Draw): Case[] {
  const few: Numbers = (n) => ints(n, 1000);
  const powers: Numbers = (n) => Float32Array.from(ints(n, 7), (x) => x - 3);
  const dtype = "int32";
  return [
    ...binary(elementwise.addKernel, floats, { bound: ULP }),
    ...binary(elementwise.addKernel, few, { dtype }),
    ...binary(elementwise.subKernel, floats, { bound: ULP }),
    ...binary(elementwise.mulKernel, floats, { bound: ULP }),
    ...binary(elementwise.mulKernel, few, { dtype }),
    ...binary(elementwise.divKernel, away, { bound: 3 * ULP }),
    ...binary(elementwise.powKernel, away, { b: powers, bound: 4 * ULP }),
    ...binary(elementwise.powKernel, positive, { b: floats, bound: 4e-6 }),
    ...binary(elementwise.maximumKernel, ties),
    ...binary(elementwise.minimumKernel, ties),
    ...[compare.eqKernel, compare.neKernel, compare.ltKernel, compare.leKernel].flatMap((kernel) => [
      ...binary(kernel, ties, { dtype }),
      ...binary(kernel, (n) => ints(n, 3), { dtype }),
    ]),
  ];
}

/** Where functions have no number to give, and a GPU's own may give one in silence. */
const EDGES = [0, 1, -1, Infinity, -Infinity, Number.NaN, 1e-30, 2e38, -2e38, 88, 89, -100, 1e3, -1e3, 0.5, -3];

function edges(): Case[] {
  const x = Float32Array.from(EDGES);
  const bounded = { bound: MOST, terms: 1 };
  const functions = [
    ...[unary.negKernel, unary.absKernel, unary.signKernel, unary.squareKernel, unary.expKernel, unary.logKernel],
    ...[unary.sqrtKernel, activations.reluKernel, activations.sigmoidKernel, activations.siluKernel],
    ...[activations.softplusKernel, activations.tanhKernel, gelu.normalCdfKernel, gelu.geluKernel, gelu.geluTanhKernel],
  ];
  const shape = [EDGES.length, EDGES.length];
  const attrs = elementwise.planBroadcast([EDGES.length, 1], [EDGES.length], shape);
  const pairs = [
    ...[elementwise.addKernel, elementwise.subKernel, elementwise.mulKernel, elementwise.divKernel],
    ...[elementwise.maximumKernel, elementwise.minimumKernel],
  ];
  const orders = [compare.eqKernel, compare.neKernel, compare.ltKernel, compare.leKernel];
  return [
    ...functions.map((kernel) => call(kernel, [x], {}, x.length, "float32", bounded)),
    ...pairs.map((kernel) => call(kernel, [x, x], attrs, sizeOf(shape), "float32", bounded)),
    ...orders.map((kernel) => call(kernel, [x, x], attrs, sizeOf(shape), "int32")),
    call(compare.clampKernel, [x], { min: -2, max: 2 }, x.length),
  ];
}

/** Where a power has no logarithm to go by. */
function powers(): Case {
  const base = [0, 1, -1, -2, 0.5, -0.5, Infinity, -Infinity, Number.NaN, -7];
  const by = [0, 3, -2, 0.5, 17, -18, 2.5, Infinity, -Infinity, Number.NaN];
  const shape = [base.length, by.length];
  const attrs = elementwise.planBroadcast([base.length, 1], [by.length], shape);
  return call(
    elementwise.powKernel,
    [Float32Array.from(base), Float32Array.from(by)],
    attrs,
    sizeOf(shape),
    "float32",
    {
      bound: 1e-5,
    },
  );
}

function functions({ floats, positive, wide }: Draw): Case[] {
  const cellwise = (kernel: Kernel<object>, inputs: number, numbers: Numbers, bound: number, terms = 0): Case[] =>
    SIZES.map((n) =>
      call(
        kernel,
        Array.from({ length: inputs }, () => numbers(n)),
        {},
        n,
        "float32",
        { bound, terms },
      ),
    );
  const far: Numbers = (n) => floats(n, 1e4);
  return [
    ...[unary.negKernel, unary.absKernel, unary.signKernel].flatMap((k) => cellwise(k, 1, floats, 0)),
    ...cellwise(unary.squareKernel, 1, floats, ULP),
    ...cellwise(unary.expKernel, 1, floats, 7 * ULP),
    ...cellwise(unary.logKernel, 1, positive, 4 * ULP, 1),
    ...cellwise(unary.sqrtKernel, 1, positive, 3 * ULP),
    ...[unary.sinKernel, unary.cosKernel].flatMap((k) => [
      ...cellwise(k, 1, floats, 2 * ULP, 1),
      ...cellwise(k, 1, far, 2 * ULP, 1),
    ]),
    ...[floats, wide].flatMap((x) => [
      ...cellwise(activations.reluKernel, 1, x, 0),
      ...[activations.sigmoidKernel, activations.siluKernel, activations.softplusKernel].flatMap((k) =>
        cellwise(k, 1, x, 8 * ULP, 1),
      ),
      ...cellwise(activations.tanhKernel, 1, x, 64 * ULP, 1),
      ...[gelu.normalCdfKernel, gelu.geluKernel, gelu.geluTanhKernel].flatMap((k) => cellwise(k, 1, x, 16 * ULP, 1)),
    ]),
    ...cellwise(activations.reluBackwardKernel, 2, floats, 0),
    ...[
      activations.sigmoidBackwardKernel,
      activations.tanhBackwardKernel,
      activations.siluBackwardKernel,
      gelu.geluBackwardKernel,
      gelu.geluTanhBackwardKernel,
    ].flatMap((k) => cellwise(k, 2, floats, 16 * ULP, 1)),
  ];
}

function choices({ floats, ints, ties }: Draw): Case[] {
  const steps: readonly [number, number, number][] = [
    [1, 1, 1],
    [1, 0, 1],
    [1, 1, 0],
    [0, 1, 1],
  ];
  return [
    ...steps.map((step) => {
      const [c, a, b] = step.map((s) => (s === 0 ? 1 : 6));
      return call(compare.whereKernel, [ints(c, 2), floats(a), floats(b)], { steps: step }, 6);
    }),
    call(compare.clampKernel, [floats(20)], { min: -0.5, max: 1 }, 20),
    call(compare.clampBackwardKernel, [floats(20), ties(20)], { min: -1, max: 1 }, 20),
    call(unary.negKernel, [ints(6, 90)], {}, 6, "int32"),
    call(unary.castKernel, [ints(6, 90)], { dtype: "float32" }, 6),
  ];
}

function updates({ floats, positive }: Draw): Case[] {
  const step = { keep: 0.99, rate: 1e-2, root: 0.3, eps: 1e-8 };
  return [
    call(update.blendKernel, [floats(9), floats(9)], { p: 0.9, q: -0.1 }, 9, "float32", { bound: 3 * ULP }),
    call(update.secondMomentKernel, [positive(9), floats(9)], { beta: 0.999 }, 9, "float32", { bound: 4 * ULP }),
    call(update.adamStepKernel, [floats(9), floats(9), positive(9)], step, 9, "float32", { bound: 8 * ULP }),
  ];
}

export function pointwiseCases(): Case[] {
  const draw = new Draw(5);
  return [...arithmetic(draw), powers(), ...edges(), ...functions(draw), ...choices(draw), ...updates(draw)];
}
