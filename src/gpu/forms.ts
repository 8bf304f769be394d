/**
 * The GPU forms of the kernels, by name. They stand apart from them, since a page that never asks for a GPU need not load
 * their text.
 */

import type { Kernel } from "../device/kernel.ts";
import {
  countGather,
  crossEntropyBackwardGather,
  crossEntropyGather,
  targetsGather,
} from "../kernels/crossEntropy.gpu.ts";
import {
  combineSlotsGather,
  gatherSlotsGather,
  slotDotGather,
  spreadSlotsGather,
  sumSlotsGather,
  zeroTailGather,
} from "../kernels/dispatch.gpu.ts";
import {
  activationForms,
  binaryForms,
  clampBackwardGather,
  clampGather,
  unaryForms,
  updateForms,
  whereGather,
} from "../kernels/elementwise.gpu.ts";
import {
  groupedMatmulGather,
  groupedOuterGather,
  groupRowsGather,
  groupSumsGather,
} from "../kernels/groupedMatmul.gpu.ts";
import { matmulGather } from "../kernels/matmul.gpu.ts";
import { nextBestGather } from "../kernels/nextBest.gpu.ts";
import { powGather } from "../kernels/pow.gpu.ts";
import { argmaxGather, cumsumGather, sumGather } from "../kernels/reduce.gpu.ts";
import {
  concatGather,
  gatherGather,
  indexAddGather,
  indexAddToGather,
  indexSelectGather,
  oneHotGather,
  placeGather,
  scatterAddGather,
  stridedGather,
} from "../kernels/rows.gpu.ts";
import { sineForms } from "../kernels/sine.gpu.ts";
import {
  logSoftmaxBackwardGather,
  logSoftmaxGather,
  logsumexpGather,
  normalizeBackwardGather,
  normalizeGather,
  softmaxBackwardGather,
  softmaxGather,
} from "../kernels/softmax.gpu.ts";
import {
  bincountGather,
  countingSortGather,
  invertGather,
  offsetsGather,
  slotKeysGather,
  topkGather,
} from "../kernels/sort.gpu.ts";
import type { GpuForm } from "./form.ts";

const forms = {
  sigmoid: activationForms.sigmoid,
  tanh: activationForms.tanh,
  relu: activationForms.relu,
  silu: activationForms.silu,
  softplus: activationForms.softplus,
  sigmoidBackward: activationForms.sigmoidBackward,
  tanhBackward: activationForms.tanhBackward,
  reluBackward: activationForms.reluBackward,
  siluBackward: activationForms.siluBackward,
  where: whereGather,
  clamp: clampGather,
  clampBackward: clampBackwardGather,
  eq: binaryForms.eq,
  ne: binaryForms.ne,
  lt: binaryForms.lt,
  le: binaryForms.le,
  concat: concatGather,
  count: countGather,
  crossEntropy: crossEntropyGather,
  crossEntropyBackward: crossEntropyBackwardGather,
  dispatch: gatherSlotsGather,
  sumSlots: sumSlotsGather,
  combine: combineSlotsGather,
  spreadSlots: spreadSlotsGather,
  slotDot: slotDotGather,
  zeroTail: zeroTailGather,
  add: binaryForms.add,
  sub: binaryForms.sub,
  mul: binaryForms.mul,
  div: binaryForms.div,
  pow: powGather,
  maximum: binaryForms.maximum,
  minimum: binaryForms.minimum,
  normalCdf: activationForms.normalCdf,
  gelu: activationForms.gelu,
  geluTanh: activationForms.geluTanh,
  geluBackward: activationForms.geluBackward,
  geluTanhBackward: activationForms.geluTanhBackward,
  groupedMatmul: groupedMatmulGather,
  groupedOuter: groupedOuterGather,
  groupRows: groupRowsGather,
  groupSums: groupSumsGather,
  groupOffsets: { ...offsetsGather, checksRange: false },
  matmul: matmulGather,
  strided: stridedGather,
  place: placeGather,
  nextBest: nextBestGather,
  normalize: normalizeGather,
  normalizeBackward: normalizeBackwardGather,
  oneHot: oneHotGather,
  sum: sumGather,
  argmax: argmaxGather,
  indexSelect: indexSelectGather,
  indexAdd: indexAddGather,
  indexAddTo: indexAddToGather,
  gather: gatherGather,
  scatterAdd: scatterAddGather,
  cumsum: cumsumGather,
  softmax: softmaxGather,
  logSoftmax: logSoftmaxGather,
  logsumexp: logsumexpGather,
  softmaxBackward: softmaxBackwardGather,
  logSoftmaxBackward: logSoftmaxBackwardGather,
  targets: targetsGather,
  bincount: bincountGather,
  offsets: offsetsGather,
  countingSort: countingSortGather,
  slotKeys: slotKeysGather,
  invert: invertGather,
  topk: topkGather,
  square: unaryForms.square,
  sin: sineForms.sin,
  cos: sineForms.cos,
  to: unaryForms.to,
  neg: unaryForms.neg,
  exp: unaryForms.exp,
  log: unaryForms.log,
  sqrt: unaryForms.sqrt,
  abs: unaryForms.abs,
  sign: unaryForms.sign,
  blend: updateForms.blend,
  secondMoment: updateForms.secondMoment,
  adamStep: updateForms.adamStep,
};

/** The form of a kernel: its own, if it brings one, else that of the library's kernel of its name. */
export const formOf = <A>(kernel: Kernel<A>): GpuForm<A> | undefined =>
  kernel.gpu ?? (forms as unknown as Readonly<Record<string, GpuForm<A> | undefined>>)[kernel.name];
