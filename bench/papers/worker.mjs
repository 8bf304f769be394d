/** Where a worker thread begins: tsx sees to TypeScript in the main thread only, so each other thread asks for it. */
import { register } from "tsx/esm/api";

register();
await import("./worker.ts");
