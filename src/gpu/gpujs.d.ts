// gpu.js is an optional peer, and its own types do not fit what it does: `library.ts` says what is used of it.
declare module "gpu.js";
