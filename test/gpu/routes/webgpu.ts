import { suite } from "../suite.ts";

await suite("webgpu");
