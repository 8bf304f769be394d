/** What a page and a worker both do: the app's training for some steps, and what the driver and the queue counted. */
import { useDevice } from "moegrad";
import { gpuCounts } from "moegrad/gpu";
import { train } from "../app/train.js";
import { driver, watchDriver } from "../driver.ts";

watchDriver();

export async function run(route, steps) {
  const { name, why, gpu } = await useDevice("gpu", { route });
  const before = driver.launches;
  const losses = [];
  await train(steps, (loss) => losses.push(loss));
  const counts = gpuCounts();
  return { name, why, route: gpu?.route, losses, launches: driver.launches - before, counts };
}
