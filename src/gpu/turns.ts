/** Giving others a turn of the event loop. */

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

interface Platform {
  readonly performance: { now(): number };
  readonly MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
}

const { performance, MessageChannel } = globalThis as unknown as Platform;

/** Milliseconds between turns. */
const PAUSE = 10;
let last = 0;

/**
 * WebGL answers at once: a loop that waits for nothing but reads would never let the page draw, nor the collector's
 * callbacks run, which give back what nobody holds. A message to oneself is the shortest wait for which both run.
 */
export async function letOthersRun(): Promise<void> {
  if (performance.now() - last < PAUSE) return;
  const { port1, port2 } = new MessageChannel();
  await new Promise<void>((resolve) => {
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  });
  port1.close();
  last = performance.now();
}
