/** Chromium as a place for the suite: a page that Vite has built and minified, under a policy that allows its scripts alone. */
import { bundle, launch, serve, type Tab, versionOf, watch } from "./browser.ts";
import type { Page } from "./page.ts";
import type { Given, Host, Place } from "./place.ts";

export async function openChromium(): Promise<Place> {
  const { url, server } = await serve(await bundle());
  const browser = await launch();
  return {
    name: `Chromium ${browser.version()}, gpu.js ${versionOf("gpu.js")}`,
    open: async () => {
      const tab = await browser.newPage();
      const complaints = watch(tab);
      await tab.goto(url);
      return hostOf(tab, complaints);
    },
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}

const hostOf = (tab: Tab, complaints: readonly string[]): Host => ({
  complaints,
  ask: async <K extends keyof Page>(name: K, ...args: unknown[]) => {
    // The function is sent to the page as text.
    const given = await tab.evaluate(
      ([member, list]) => {
        const page = (globalThis as unknown as { moegrad: Record<string, unknown> }).moegrad[member];
        return typeof page === "function" ? page(...list) : page;
      },
      [name, args] as const,
    );
    return given as Given<K>;
  },
  close: () => tab.close(),
});
