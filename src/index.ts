/** moegrad: the public names, in teaching order. */

export type { BackwardOptions, GradOptions } from "./autograd.ts";
// Gradients
export { grad, noGrad, valueAndGrad, vjp } from "./autograd.ts";
export type { CreateOptions, RandomOptions, TypedArray } from "./create.ts";
export { arange, eye, full, manualSeed, ones, rand, randint, randn, tensor, zeros } from "./create.ts";
export type { DType } from "./device/kernel.ts";
export { clamp, eq, ge, gt, le, lt, ne, where } from "./kernels/compare.ts";
export { crossEntropy, mseLoss, nllLoss } from "./kernels/crossEntropy.ts";
// Mixture of Experts: moving rows to their experts and back
export { combine, dispatch } from "./kernels/dispatch.ts";
export { einsum } from "./kernels/einsum.ts";
// Ops
export { add, div, maximum, minimum, mul, pow, sub } from "./kernels/elementwise.ts";
export { gelu } from "./kernels/gelu.ts";
export { groupedMatmul } from "./kernels/groupedMatmul.ts";
export { matmul } from "./kernels/matmul.ts";
export { concat, expand, permute, reshape, slice, stack, transpose } from "./kernels/movement.ts";
export { layerNorm, rmsNorm } from "./kernels/norm.ts";
export { oneHot } from "./kernels/oneHot.ts";
export type { ExtremeOptions, ReduceOptions, ValuesAndIndices } from "./kernels/reduce.ts";
export { argmax, max, mean, min, sum } from "./kernels/reduce.ts";
export { gather, indexAdd, indexSelect, scatterAdd, segmentSum } from "./kernels/rows.ts";
export { cumsum } from "./kernels/scan.ts";
export { logSoftmax, logsumexp, softmax } from "./kernels/softmax.ts";
export { bincount } from "./kernels/sort.ts";
export { argsort, sort, topk } from "./kernels/topk.ts";
export { abs, cos, exp, log, neg, relu, sigmoid, sign, silu, sin, sqrt, square, tanh, to } from "./kernels/unary.ts";
export type { GradcheckOptions, GradcheckReport, JacobianEntry } from "./laws/gradcheck.ts";
export { gradcheck } from "./laws/gradcheck.ts";
export type { Activation } from "./nn/activation.ts";
export type { FeedForwardOptions, InitOptions, Layer, Routed } from "./nn/layers.ts";
export { Embedding, FeedForward, LayerNorm, Linear, Sequential } from "./nn/layers.ts";
// Modules
export { Module } from "./nn/module.ts";
export type { AuxLossOptions, ExpertsOptions, MoEForwardOptions, MoEOptions, MoEOutput } from "./nn/moe.ts";
export { auxLoss, Experts, MoE } from "./nn/moe.ts";
export type { AdamOptions } from "./optim/adam.ts";
export { Adam, AdamW } from "./optim/adam.ts";
export type { ParameterGroup, ParameterList } from "./optim/optimizer.ts";
export { Optimizer } from "./optim/optimizer.ts";
export type { Schedule } from "./optim/schedule.ts";
export { clipGradNorm, constant, LRScheduler, linearWarmup, warmupCosine } from "./optim/schedule.ts";
export type { SGDOptions } from "./optim/sgd.ts";
// Optimisers
export { SGD } from "./optim/sgd.ts";
// Tensors
export { Generator } from "./random.ts";
export { expertChoiceCapacity, tokenChoiceCapacity } from "./routing/capacity.ts";
export type { ExpertChoiceRouterOptions } from "./routing/expertChoice.ts";
export { expertChoiceRouter } from "./routing/expertChoice.ts";
export type { RoutingLosses } from "./routing/losses.ts";
export type { GateRule, Mask, Router, RouterContext, Routing, SlotMaps } from "./routing/record.ts";
export type { GShardRouterOptions, TopKRouterOptions } from "./routing/tokenChoice.ts";
// Routing
export { gshardRouter, topKRouter } from "./routing/tokenChoice.ts";
export type { Shape } from "./shape.ts";
export { type Logits, type NestedArray, type Operand, type Probs, Tensor } from "./tensor.ts";
