/** Small pictures of cases, for reports of broken laws. */
import { show } from "../errors.ts";
import type { Routing } from "../routing/record.ts";
import type { Tensor } from "../tensor.ts";

const short = (x: number): string => (Number.isInteger(x) ? String(x) : x.toPrecision(3));

/** Tokens × experts: logits, with ● where a slot was granted and ○ where it was dropped. */
export function drawLogits(logits: Tensor, routing: Routing | null): string {
  const [T, E] = logits.shape;
  const marks = Array.from({ length: T * E }, () => " ");
  if (routing !== null) {
    const end = routing.offsets.data[E];
    routing.tokenOfSlot.data.forEach((t: number, s: number) => {
      marks[t * E + routing.expertOfSlot.data[s]] = s < end ? "●" : "○";
    });
  }
  const cells = Array.from({ length: T * E }, (_, i) => `${short(logits.data[i])} ${marks[i]}`);
  const width = Math.max(9, ...cells.map((cell) => cell.length));
  const header = ["", ...Array.from({ length: E }, (_, e) => `expert ${e}`)];
  const rows = Array.from({ length: T }, (_, t) => [`token ${t}`, ...cells.slice(t * E, (t + 1) * E)]);
  const lines = [header, ...rows].map((row) => row.map((cell) => cell.padStart(width)).join(" "));
  const legend = routing === null ? [] : [`● granted  ○ dropped  capacity ${routing.capacity}`];
  return [...lines, ...legend].join("\n");
}

/** A tensor with its shape, lists line by line, records field by field. */
export function drawValue(x: unknown): string {
  if (isTensor(x)) return `[${x.shape.join(", ")}] ${x}`;
  if (Array.isArray(x) && x.some(isTensor)) return x.map(drawValue).join("\n");
  if (x === null || typeof x !== "object" || Array.isArray(x)) return show(x);
  return Object.entries(x)
    .map(([name, value]) => `${name}: ${drawValue(value)}`)
    .join("\n");
}

const isTensor = (x: unknown): x is Tensor => typeof (x as Tensor | null)?.toArray === "function";
