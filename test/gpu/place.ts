/** Where the suite runs: a browser with tabs, or Node with processes, each with a `globalThis.moegrad` of its own. */
import type { Page } from "./page.ts";

/** What a member of the page gives, called if it is a function. */
export type Given<K extends keyof Page> = Page[K] extends (...args: never[]) => infer T ? Awaited<T> : Page[K];
export type Arguments<K extends keyof Page> = Page[K] extends (...args: infer A) => unknown ? A : [];

export interface Host {
  ask<K extends keyof Page>(name: K, ...args: Arguments<K>): Promise<Given<K>>;
  /** Errors and warnings that it wrote: a fallback of gpu.js is one. */
  readonly complaints: readonly string[];
  close(): Promise<void>;
}

export interface Place {
  /** What it is, for people. */
  readonly name: string;
  open(): Promise<Host>;
  close(): Promise<void>;
}
