/** Reading a routing that lives on a device. */
import { show, typeError } from "../errors.ts";
import { type NumbersLike, parts, type RoutingLike } from "./input.ts";

/** A tensor wherever it is: its numbers can be read, and later they are there. */
export interface ReadableLike {
  read(): Promise<ArrayLike<number>>;
}

type Part = (typeof parts)[number];

/** A Routing of any device. */
export type ReadableRouting = Pick<RoutingLike, "numTokens" | "numExperts" | "numSlots"> &
  Readonly<Record<Part, ReadableLike>> & { readonly probs?: ReadableLike | null | undefined };

/**
 * The part of a routing that reports read, as numbers on the host: on a GPU, whose tensors have no `data`, what every report
 * is given.
 *
 *   routingReport(await readRouting(routing));
 *
 * Reads six arrays one after the other; what the routing's tensors are freed by does not matter afterwards.
 *
 * Throws   TypeError when a part cannot be read
 */
export async function readRouting(routing: ReadableRouting): Promise<RoutingLike> {
  const numbersOf = async (name: Part | "probs"): Promise<NumbersLike> => {
    const part = routing?.[name];
    if (typeof part?.read !== "function") throw typeError("readRouting", name, show(part), "a tensor");
    return { data: await part.read() };
  };
  const read = {} as Record<Part, NumbersLike>;
  for (const name of parts) read[name] = await numbersOf(name);
  const { numTokens, numExperts, numSlots } = routing;
  const probs = routing.probs ? await numbersOf("probs") : null;
  return { numTokens, numExperts, numSlots, ...read, probs };
}
