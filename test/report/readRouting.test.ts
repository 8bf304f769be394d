import { expect, test } from "vitest";
import { Generator, randn, topKRouter } from "../../src/index.ts";
import { type ReadableRouting, readRouting, routingReport } from "../../src/report/index.ts";

const routing = topKRouter({ k: 2, capacityFactor: 1 })(randn([12, 4], { rng: new Generator(3) }));

test("a routing that was read gives the report of the routing itself", async () => {
  expect(routingReport(await readRouting(routing))).toEqual(routingReport(routing));
});

test("without probs there are none", async () => {
  const { probs: _, ...rest } = routing;
  expect((await readRouting(rest)).probs).toBeNull();
});

test("what cannot be read is named", async () => {
  const { offsets: _, ...rest } = routing;
  await expect(readRouting(rest as unknown as ReadableRouting)).rejects.toThrow(
    "readRouting: offsets has undefined, expected a tensor",
  );
});
