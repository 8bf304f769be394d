/** The one suite of the GPU: every kernel's form against its loops, and programs that look at the queue. */
import { afterAll, describe, expect, test } from "vitest";
import type { RouteName } from "../../src/gpu/route.ts";
import { openChromium } from "./chromium.ts";
import { expected } from "./expected.ts";
import { lacking, type Route } from "./machine.ts";
import { openNode } from "./node.ts";
import type { Host, Place } from "./place.ts";

/** Programs that a route cannot run, and why. */
export type Without = Readonly<Record<string, string>>;

/**
 * Declares the suite on a route. That gpu.js runs something else is a failure at every place where it could: the route is
 * asked for by name, `device()` has to name it, every case counts its launches and readbacks, and nothing may be written to
 * the console.
 */
export async function suite(route: Route, without: Without = {}): Promise<void> {
  const needs = lacking(route);
  if (needs.length > 0) throw new Error(`${route} cannot run: ${needs.join("; ")}`);
  const [open, name] = placeOf(route);
  const place = await open();
  try {
    await declare(route, name, place, without);
  } catch (error) {
    await place.close();
    throw error;
  }
}

/** Where a route is, and what the library calls it. */
const placeOf = (route: Route): [open: () => Promise<Place>, name: RouteName] => {
  if (route === "node-webgpu") return [() => openNode("webgpu"), "webgpu"];
  return route === "headlessgl" ? [() => openNode(route), route] : [openChromium, route];
};

async function declare(route: Route, name: RouteName, place: Place, without: Without): Promise<void> {
  const host = await place.open();
  const [kernels, tested] = [await host.ask("kernels"), await host.ask("tested")];
  const programs = await host.ask("programs");
  const device = await host.ask("use", name);
  console.log(`${place.name}\n${device.why}\n${await host.ask("count")} calls of kernels`);
  afterAll(() => place.close());

  describe(route, () => {
    test("is what runs, with nothing passed over", () => {
      expect([device.name, device.gpu?.route, device.gpu?.passedOver], device.why).toEqual(["gpu", name, []]);
    });

    test("every kernel with a form has cases, and every program is looked at", () => {
      expect(kernels.forms.filter((kernel) => !tested.includes(kernel))).toEqual([]);
      expect(programs.toSorted()).toEqual(Object.keys(expected).toSorted());
      expect(Object.keys(without).filter((program) => !programs.includes(program))).toEqual([]);
    });

    test.each(kernels.forms)("%s equals its loops", async (kernel) => {
      expect(await host.ask("testKernel", kernel)).toEqual([]);
    });

    test.each(programs.filter((program) => !(program in without)))("program: %s", async (program) => {
      // What earlier programs left to the collector would change the count.
      const own = program.startsWith("memory") ? await place.open() : host;
      try {
        await own.ask("use", name);
        expected[program](await own.ask("runProgram", program));
      } finally {
        if (own !== host) await closeQuietly(own);
      }
    });

    test("has complained about nothing", () => closeQuietly(host));
  });
}

/** Fails when a host has written something that it should not. */
async function closeQuietly(host: Host): Promise<void> {
  await host.close();
  expect(host.complaints).toEqual([]);
}
