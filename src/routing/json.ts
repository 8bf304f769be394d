/** A routing as plain data: written down, and read again. */
import { tensor } from "../create.ts";
import { checkInteger, checkOptions, checkShape, show, typeError } from "../errors.ts";
import { checkRouting } from "../kernels/dispatch.ts";
import type { Tensor } from "../tensor.ts";
import { addLosses } from "./losses.ts";
import { type Decided, type Routing, type SlotMaps, withLogits } from "./record.ts";

const MAPS = ["tokenOfSlot", "expertOfSlot", "offsets", "slotsOfToken", "tokenOffsets"] as const;

/** A routing as plain data: its integers and its rule, and the logits that it was made from. */
export type RoutingJSON = Pick<Routing, "router" | "numTokens" | "numExperts" | "capacity" | "rule"> & {
  readonly keptTokens: number[] | null;
  /** JSON has no −Infinity, so it is a string here. */
  readonly logits: (number | string)[];
  readonly noise: (number | string)[] | null;
  readonly dtype: "float32" | "float64";
  /** The values of losses that do not follow from the rest, when the router has such (noisy top-k). */
  readonly losses?: { readonly importance?: number | string; readonly load?: number | string } | undefined;
} & { readonly [K in keyof SlotMaps]: number[] };

const OWN_LOSSES = ["importance", "load"] as const;

/**
 * The routing as plain data, for JSON.stringify. The numbers are exact. Losses that a router adds are written down as values,
 * since its weights, which the routing does not have, are needed to make them again.
 */
export function routingToJSON(routing: Routing): RoutingJSON {
  checkRouting("routingToJSON", "routing", routing);
  const list = (x: Tensor): number[] => Array.from(x.data);
  const floats = (x: Tensor): (number | string)[] => list(x).map((v) => (Number.isFinite(v) ? v : String(v)));
  const { router, numTokens, numExperts, capacity, rule, keptTokens, noise, logits } = routing;
  const losses = OWN_LOSSES.flatMap((name) => {
    const loss = routing.losses[name];
    return loss === undefined ? [] : [[name, floats(loss)[0]]];
  });
  return {
    ...{ router, numTokens, numExperts, capacity, rule },
    keptTokens: keptTokens === null ? null : list(keptTokens),
    logits: floats(logits),
    noise: noise === null ? null : floats(noise),
    dtype: logits.dtype as "float32" | "float64",
    ...(losses.length > 0 && { losses: Object.fromEntries(losses) }),
    ...(Object.fromEntries(MAPS.map((name) => [name, list(routing[name])])) as { [K in keyof SlotMaps]: number[] }),
  };
}

/**
 * The routing that routingToJSON wrote down: the same integers, gates and losses, without a graph. Replayed by its layer, all
 * of them follow the new input; edited, it has balance and z alone, until it is.
 *
 * Throws   TypeError or RangeError when a field is missing or does not fit the others
 */
export function routingFromJSON(json: RoutingJSON): Routing {
  const op = "routingFromJSON";
  if (json === null || typeof json !== "object") throw typeError(op, "json", show(json), "an object of routingToJSON");
  const { router, numTokens, numExperts, capacity, rule, dtype } = json;
  checkInteger(op, "numTokens", numTokens, 0, Infinity);
  checkInteger(op, "numExperts", numExperts, 1, Infinity);
  const read = (name: keyof RoutingJSON, length: number | null): number[] => {
    const list = json[name] as unknown;
    if (!Array.isArray(list)) throw typeError(op, name, show(list), "a list of numbers");
    if (length !== null) checkShape(op, name, [list.length], [length]);
    return list;
  };
  const S = read("tokenOfSlot", null).length;
  const lengths = {
    tokenOfSlot: S,
    expertOfSlot: S,
    offsets: numExperts + 1,
    slotsOfToken: S,
    tokenOffsets: numTokens + 1,
  };
  const ints = (list: number[]): Tensor => tensor(list, { dtype: "int32" });
  const floats = (list: number[]): Tensor => tensor(list.map(Number), { dtype }).reshape([numTokens, numExperts]);
  const size = numTokens * numExperts;
  const maps = Object.fromEntries(MAPS.map((name) => [name, ints(read(name, lengths[name]))]));
  const decided: Decided = {
    ...{ router, capacity, rule },
    keptTokens: json.keptTokens === null ? null : ints(read("keptTokens", null)),
    noise: json.noise === null ? null : floats(read("noise", size)),
    ...(maps as unknown as SlotMaps),
  };
  const routing = withLogits(decided, floats(read("logits", size)));
  const { losses = {} } = json;
  checkOptions(op, losses, OWN_LOSSES, "losses");
  const values = Object.entries(losses).map(([name, value]) => [name, tensor(Number(value), { dtype })]);
  return { ...routing, losses: addLosses(routing.losses, Object.fromEntries(values)) };
}
