/** What programs share: counting what the queue does, and catching what is thrown. */
import { gpuCounts } from "../../src/gpu/index.ts";
import { type Tensor, tensor } from "../../src/index.ts";

export const messageOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
    return "no error";
  } catch (error) {
    return (error as Error).message;
  }
};

export const thrown = (fn: () => unknown): string => {
  try {
    fn();
    return "no error";
  } catch (error) {
    return (error as Error).message;
  }
};

export const counted = async (fn: () => Promise<unknown>) => {
  // What programs before this one have left in the queue is not this one's.
  await tensor([0, 0]).add(1).read();
  const before = gpuCounts();
  const result = await fn();
  const after = gpuCounts();
  if (before === null || after === null) throw new Error("no GPU is in use");
  const names = ["launches", "uploads", "readbacks", "fallbacks"] as const;
  return { result, ...Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) };
};

export const list = async (x: Tensor): Promise<number[]> => Array.from(await x.read());

/** For work that the driver announces later. */
export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) =>
    (globalThis as unknown as { setTimeout(f: () => void, ms: number): void }).setTimeout(resolve, ms),
  );
