/**
 * Calls of every kernel that has a form on the GPU, with the awkward among them. The loops are right by the tests of the
 * library; what is tried here is whether a device agrees with them.
 */
import type { Case } from "./case.ts";
import { pointwiseCases } from "./casesPointwise.ts";
import { routingCases } from "./casesRouting.ts";
import { rowCases } from "./casesRows.ts";

export type { Case } from "./case.ts";

export const allCases = (): Case[] => [...pointwiseCases(), ...rowCases(), ...routingCases()];
