/** Opening the GPU device: what `useDevice("gpu")` loads when it is asked for. */
import { type Device, shared } from "../device/state.ts";
import { show, typeError } from "../errors.ts";
import { Queue } from "./queue.ts";
import { findRoute, type RouteName, routeNames } from "./route.ts";

/** A queue on the first route that works, or why there is none. `only`: the one route to try. */
async function startQueue(only?: RouteName): Promise<Queue | string> {
  const found = await findRoute(only === undefined ? routeNames : [only]);
  return typeof found === "string" ? found : new Queue(found.route, found.info);
}

/** The last opening that was asked for: the next one waits for it, so that two at once do not open two GPUs. */
let opening: Promise<unknown> = Promise.resolve();

/** A GPU as a device, opened once; what `otherwise` gives where there is none. */
export function openGpu(route: RouteName | undefined, otherwise: (why: string) => Device): Promise<Device> {
  const device = opening.then(() => openOne(route, otherwise));
  opening = device.catch(() => null);
  return device;
}

async function openOne(route: RouteName | undefined, otherwise: (why: string) => Device): Promise<Device> {
  if (route !== undefined && !routeNames.includes(route)) {
    throw typeError("useDevice", "route", show(route), routeNames.map(show).join(", "));
  }
  const state = shared();
  const open = state.gpu;
  const reusable = open !== null && open.lost() === null && (route === undefined || open.info.route === route);
  if (!reusable) {
    const found = await startQueue(route);
    if (typeof found === "string") return otherwise(`asked for a GPU, runs on the CPU: ${found}`);
    open?.stop();
    state.gpu = found;
  }
  const queue = state.gpu as Queue;
  const { route: name, adapter, software, passedOver } = queue.info;
  const what = software ? `${adapter}, which is a program on the CPU and no GPU` : adapter;
  const before = passedOver.length > 0 ? `; passed over ${passedOver.join("; ")}` : "";
  return { name: "gpu", threads: 1, why: `${name} on ${what}${before}`, engine: null, queue };
}
