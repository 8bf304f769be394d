/** Which cases a command line asks for. */
import { namedLike } from "../choice.ts";
import { type GpuCase, gpuCases } from "./cases.ts";

/** By name; else the small ones when it should be quick, the usual ones, and the large ones on a GPU that is no program. */
export function chosenGpuCases(
  { only, quick }: { readonly only: string | null; readonly quick: boolean },
  isGpu: boolean,
): readonly GpuCase[] {
  if (only !== null) return namedLike(gpuCases, only);
  const sizes: readonly GpuCase["size"][] = [
    "any",
    quick ? "small" : "standard",
    ...(isGpu && !quick ? ["large" as const] : []),
  ];
  return gpuCases.filter(({ size }) => sizes.includes(size));
}
