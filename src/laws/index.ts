/**
 * moegrad/laws: what must hold of routers, ops, kernels and losses, to try on ours and on your own.
 *
 * Needs the package fast-check.
 */
export { distinctTensor, dyadic, general, groupSizes, logit, permutation, tensorOf } from "./arbitraries.ts";
export { type GradcheckOptions, type GradcheckReport, gradcheck, type JacobianEntry } from "./gradcheck.ts";
export { type CheckKernelOptions, checkKernel, type KernelCase, kernelLaws } from "./kernels.ts";
export { type CheckOptions, type Law, type LawResult, lawsTable } from "./law.ts";
export { type CheckLossOptions, checkLoss, lossLaws, type RoutingLoss } from "./losses.ts";
export { type CheckOpOptions, checkOp, type OpUnderTest, opLaws } from "./ops.ts";
export { checkRouter, routerLaws } from "./routers.ts";
export type { CheckRouterOptions } from "./subject.ts";
