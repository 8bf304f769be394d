import { device, useDevice } from "moegrad";
import { gpuCounts } from "moegrad/gpu";
import { train } from "./train.js";

const show = (id, text) => {
  document.getElementById(id).textContent = text;
};

// A route can be asked for: ?route=webgl2
const route = new URLSearchParams(location.search).get("route") ?? undefined;
await useDevice("gpu", { route });
show("device", device().why);

const losses = [];
await train(30, (loss) => {
  losses.push(loss);
  show("losses", losses.join("\n"));
});
show("counts", JSON.stringify(gpuCounts()));
