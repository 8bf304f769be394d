/**
 * moegrad/routers: routers of later papers. They fill the same record as those of `moegrad`, and work wherever those do.
 */
export { DeepSeekV3Router, type DeepSeekV3RouterOptions, deepSeekV3Router } from "./deepSeekV3.ts";
export { sequenceBalance } from "./sequenceBalance.ts";
