/** The library's own cases, and what has a form on the GPU and so should have some. */
import type { Kernel } from "../../src/device/kernel.ts";
import { allCases, type Case } from "../../src/gpu/cases.ts";
import { formOf } from "../../src/gpu/forms.ts";
import * as activations from "../../src/kernels/activations.ts";
import * as compare from "../../src/kernels/compare.ts";
import { concatKernel } from "../../src/kernels/concat.ts";
import * as loss from "../../src/kernels/crossEntropy.ts";
import * as slots from "../../src/kernels/dispatch.ts";
import * as elementwise from "../../src/kernels/elementwise.ts";
import * as gelu from "../../src/kernels/gelu.ts";
import * as grouped from "../../src/kernels/groupedMatmul.ts";
import { matmulKernel } from "../../src/kernels/matmul.ts";
import * as movement from "../../src/kernels/movement.ts";
import { nextBestKernel } from "../../src/kernels/nextBest.ts";
import * as norm from "../../src/kernels/norm.ts";
import { oneHotKernel } from "../../src/kernels/oneHot.ts";
import * as reduce from "../../src/kernels/reduce.ts";
import * as rows from "../../src/kernels/rows.ts";
import { cumsumKernel } from "../../src/kernels/scan.ts";
import * as softmax from "../../src/kernels/softmax.ts";
import * as sort from "../../src/kernels/sort.ts";
import { topkKernel } from "../../src/kernels/topk.ts";
import * as unary from "../../src/kernels/unary.ts";
import * as update from "../../src/kernels/update.ts";

export type { Case };

export const cases: readonly Case[] = allCases();

const isKernel = (x: unknown): x is Kernel<never> =>
  typeof x === "object" && x !== null && "loops" in x && "reference" in x;

/** Names of the kernels that have a form on the GPU, and of those that the loops run there. */
export function kernelNames(): { forms: string[]; loops: string[] } {
  const modules: readonly object[] = [
    ...[activations, compare, loss, slots, elementwise, gelu, grouped, movement, norm, reduce, rows, softmax, sort],
    ...[unary, update, { concatKernel }, { cumsumKernel }, { matmulKernel }, { nextBestKernel }, { oneHotKernel }],
    { topkKernel },
  ];
  const kernels = modules.flatMap((module) => Object.values(module)).filter(isKernel);
  const names = (wanted: boolean): string[] => [
    ...new Set(kernels.filter((kernel) => (formOf(kernel) !== undefined) === wanted).map(({ name }) => name)),
  ];
  return { forms: names(true), loops: names(false) };
}
