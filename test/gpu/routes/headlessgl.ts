import { suite } from "../suite.ts";

await suite("headlessgl", { lost: "headless-gl cannot lose its context: it has no WEBGL_lose_context" });
