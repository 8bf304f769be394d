/** PyTorch's numbers (test/gpu/vectors.py) on the host devices; test/gpu replays them on every route to a GPU. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { useDevice } from "../src/index.ts";
import { vectorFaults, vectorNames } from "./gpu/vectors.ts";

describe.each(["loops", "simd"] as const)("%s gives what PyTorch gives", (name) => {
  beforeAll(() => useDevice(name));
  afterAll(() => useDevice("auto"));

  test.each(vectorNames)("%s", async (vector) => {
    expect(await vectorFaults(vector)).toEqual([]);
  });
});
