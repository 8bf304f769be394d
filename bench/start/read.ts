/** Reading: the numbers of tensors, wherever they are. On a GPU they come later, and nothing has `.data`. */
import { gpuCounts } from "../../src/gpu/index.ts";
import type { Routing, Tensor } from "../../src/index.ts";
import { type NumbersLike, type RoutingLike, readRouting } from "../../src/report/index.ts";

/** The numbers of a tensor that nobody needs afterwards. */
export async function taken(x: Tensor): Promise<Float32Array | Float64Array | Int32Array> {
  const numbers = await x.read();
  x.dispose();
  return numbers;
}

const PARTS = ["tokenOfSlot", "expertOfSlot", "offsets", "slotsOfToken", "tokenOffsets", "gate", "probs"] as const;
type Part = (typeof PARTS)[number];

/** What reports read of a routing, as tensors that a scope can return … */
export type RoutingParts = Pick<Routing, "numTokens" | "numExperts" | "numSlots" | Part>;

/** … and as numbers on the host. */
export type ReadRouting = RoutingLike & { readonly gate: NumbersLike };

export function partsOf(routing: Routing): RoutingParts {
  const { numTokens, numExperts, numSlots } = routing;
  const parts = Object.fromEntries(PARTS.map((part) => [part, routing[part]])) as Pick<Routing, Part>;
  return { numTokens, numExperts, numSlots, ...parts };
}

/** The parts as numbers; nobody needs the tensors afterwards. */
export async function takenRouting(parts: RoutingParts): Promise<ReadRouting> {
  const read = await readRouting(parts);
  const gate = { data: await parts.gate.read() };
  for (const part of PARTS) parts[part].dispose();
  return { ...read, gate };
}

/** What a GPU did. */
export interface GpuWork {
  launches: number;
  readbacks: number;
  fallbacks: number;
}

/** Adds up what the GPU does during calls; `total` is null where none is in use. */
export function workMeter() {
  const meter = {
    total: null as GpuWork | null,
    async during<T>(fn: () => Promise<T>): Promise<T> {
      const before = gpuCounts();
      const result = await fn();
      const after = gpuCounts();
      if (before === null || after === null) return result;
      meter.total ??= { launches: 0, readbacks: 0, fallbacks: 0 };
      for (const name of ["launches", "readbacks", "fallbacks"] as const) {
        meter.total[name] += after[name] - before[name];
      }
      return result;
    },
  };
  return meter;
}
