/** moegrad: the public names, in teaching order. */

// Tensors
export { type Logits, type NestedArray, type Operand, type Probs, Tensor } from "./tensor.ts";
export { arange, eye, full, manualSeed, ones, rand, randint, randn, tensor, zeros } from "./create.ts";
export type { CreateOptions, RandomOptions, TypedArray } from "./create.ts";
export { Generator } from "./random.ts";
export type { DType } from "./device/kernel.ts";
export type { Shape } from "./shape.ts";

// Ops
export { add, div, maximum, minimum, mul, pow, sub } from "./kernels/elementwise.ts";
export { clamp, eq, ge, gt, le, lt, ne, where } from "./kernels/compare.ts";
export { abs, cos, exp, log, neg, relu, sigmoid, sign, silu, sin } from "./kernels/unary.ts";
export { softplus, sqrt, square, tanh, to } from "./kernels/unary.ts";
export { gelu, normalCdf } from "./kernels/gelu.ts";
export { argmax, max, mean, min, sum } from "./kernels/reduce.ts";
export type { ExtremeOptions, ReduceOptions, ValuesAndIndices } from "./kernels/reduce.ts";
export { cumsum, type CumsumOptions } from "./kernels/scan.ts";
export { logSoftmax, logsumexp, softmax } from "./kernels/softmax.ts";
export { expand, permute, reshape, slice, transpose } from "./kernels/movement.ts";
export type { SliceOptions } from "./kernels/movement.ts";
export { concat, stack } from "./kernels/concat.ts";
export { matmul } from "./kernels/matmul.ts";
export { einsum } from "./kernels/einsum.ts";
export { gather, indexAdd, indexSelect, scatterAdd, segmentSum } from "./kernels/rows.ts";
export { argsort, sort, type SortOptions, topk } from "./kernels/topk.ts";
export { bincount } from "./kernels/sort.ts";
export { oneHot } from "./kernels/oneHot.ts";
export { layerNorm, rmsNorm } from "./kernels/norm.ts";
export { crossEntropy, type CrossEntropyOptions, mseLoss, nllLoss } from "./kernels/crossEntropy.ts";

// Gradients
export { type BackwardOptions, noGrad } from "./autograd.ts";
export { customOp, type CustomOp, detectAnomaly } from "./transforms.ts";
export { checkpoint } from "./checkpoint.ts";
export { grad, type GradOptions, valueAndGrad, vjp } from "./transforms.ts";
export { gradcheck, type GradcheckOptions, type GradcheckReport, type JacobianEntry } from "./laws/gradcheck.ts";

// Mixture of Experts: moving rows to their experts and back
export { combine, dispatch } from "./kernels/dispatch.ts";
export { groupedMatmul } from "./kernels/groupedMatmul.ts";

// Routing
export { gshardRouter, switchRouter, topKRouter } from "./routing/tokenChoice.ts";
export type { CapacityOptions, DropPolicy, GShardRouterOptions } from "./routing/tokenChoice.ts";
export type { SwitchRouterOptions, TopKRouterOptions } from "./routing/tokenChoice.ts";
export type { RouterNoise } from "./routing/noise.ts";
export { hashRouter, type HashRouterOptions, randomRouter } from "./routing/baselines.ts";
export { expertChoiceRouter, type ExpertChoiceRouterOptions } from "./routing/expertChoice.ts";
export { expertChoiceCapacity, tokenChoiceCapacity } from "./routing/capacity.ts";
export { routerInput, type RouterInput } from "./routing/input.ts";
export { slotMaps, withLogits } from "./routing/record.ts";
export type {
  Assignments,
  Decided,
  GateRule,
  Mask,
  Router,
  RouterContext,
  Routing,
  SlotMaps,
} from "./routing/record.ts";
export { compareRoutings, type RoutingComparison } from "./routing/edit.ts";
export { sendToken, withCapacity, withoutExpert, withTopK } from "./routing/edit.ts";
export { routingFromJSON, type RoutingJSON, routingToJSON } from "./routing/json.ts";
export { type RoutingLosses, squaredVariation } from "./routing/losses.ts";

// Modules
export { Module } from "./nn/module.ts";
export { Embedding, FeedForward, LayerNorm, Linear, Sequential } from "./nn/layers.ts";
export type { FeedForwardOptions, InitOptions, Layer, Routed } from "./nn/layers.ts";
export type { Activation } from "./nn/activation.ts";
export { Experts, MoE } from "./nn/moe.ts";
export type { ExpertsOptions, MoEForwardOptions, MoEOptions, MoEOutput } from "./nn/moe.ts";
export { auxLoss, type AuxLossOptions } from "./nn/auxLoss.ts";
export { RouterModule } from "./nn/router.ts";
export { NoisyTopKRouter, noisyTopKRouter, type NoisyTopKRouterOptions } from "./nn/noisyTopK.ts";
export { ledger, type MoELedger } from "./nn/ledger.ts";
export { Dropout } from "./nn/dropout.ts";
export { type AttentionOptions, MultiHeadAttention, type PaddingMask, rotate } from "./nn/attention.ts";
export { RMSNorm, Transformer, type TransformerMoE, type TransformerOptions } from "./nn/transformer.ts";

// Optimisers
export { Optimizer, type ParameterGroup, type ParameterList, type ParameterState } from "./optim/optimizer.ts";
export { SGD, type SGDOptions } from "./optim/sgd.ts";
export { NormalizedGD, type NormalizedGDOptions } from "./optim/normalizedGD.ts";
export { Adam, type AdamOptions, AdamW } from "./optim/adam.ts";
export { clipGradNorm, constant, linearWarmup, LRScheduler, type Schedule, warmupCosine } from "./optim/schedule.ts";

// Where ops run
export { device, useDevice } from "./device/device.ts";
export { scope } from "./region.ts";
export type { DeviceInfo, DeviceName } from "./device/device.ts";
