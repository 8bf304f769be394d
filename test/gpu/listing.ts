/** Last lines of `npm test`: the routes to a GPU that this machine could not run, and how to get them. */
import { listLacking } from "./machine.ts";

export default function setup(): () => void {
  // Who runs a single file has not asked.
  const asked = process.env.npm_lifecycle_event === "test";
  return () => {
    if (!asked) return;
    console.log(["", "GPU routes that did not run, and what they need:", ...listLacking(), ""].join("\n"));
  };
}
