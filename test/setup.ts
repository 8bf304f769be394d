import fc from "fast-check";

/**
 * Every property draws from one fixed seed, so that a run can be repeated. To look further than CI does:
 *
 *   MOEGRAD_SEED=7 MOEGRAD_RUNS=10000 npm test
 *
 * A failing property prints its seed and the path to the shrunk example.
 */
fc.configureGlobal({
  seed: readInteger("MOEGRAD_SEED", 20260101),
  numRuns: readInteger("MOEGRAD_RUNS", 100),
});

function readInteger(name: string, fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${name} is ${text}, expected an integer`);
  return value;
}
