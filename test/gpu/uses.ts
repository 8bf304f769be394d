/** What else the library offers, on tensors of the device: it works there, or says that it is for the host. */
import {
  AdamW,
  auxLoss,
  checkpoint,
  clipGradNorm,
  compareRoutings,
  customOp,
  detectAnomaly,
  Generator,
  grad,
  gradcheck,
  ledger,
  MoE,
  noGrad,
  type Routing,
  type RoutingJSON,
  randn,
  routingFromJSON,
  routingToJSON,
  scope,
  type Tensor,
  tensor,
  topKRouter,
  useDevice,
  valueAndGrad,
  vjp,
  withoutExpert,
} from "../../src/index.ts";
import { routingReport } from "../../src/report/index.ts";
import { counted, list, messageOf, thrown } from "./parts.ts";

const [DIM, TOKENS] = [4, 7];

/** A layer, always the same one, and tokens for it. */
function layerAndTokens(): { moe: MoE; x: Tensor } {
  const rng = new Generator(11);
  const router = topKRouter({ k: 2, capacityFactor: 1 });
  return {
    moe: new MoE({ dim: DIM, hidden: 5, numExperts: 3, router, rng: rng.split("moe") }),
    x: randn([TOKENS, DIM], { rng }),
  };
}

/** One step of a training; gives the loss. */
function step(moe: MoE, x: Tensor, optimizer: AdamW): Tensor {
  optimizer.zeroGrad();
  const { output, routing } = moe.forward(x);
  const loss = output
    .square()
    .sum()
    .add(auxLoss([routing], { balance: 0.1 }));
  loss.backward();
  optimizer.step();
  return loss;
}

const gradientsOf = async (moe: MoE): Promise<number[]> =>
  (await Promise.all(moe.parameters().map((p) => list(p.grad as Tensor)))).flat();

/** The same on the GPU, where the queue is watched, and on the loops. */
async function both(fn: () => Promise<unknown>): Promise<{ gpu: Awaited<ReturnType<typeof counted>>; loops: unknown }> {
  const gpu = await counted(fn);
  await useDevice("loops");
  return { gpu, loops: await fn() };
}

/** The numbers of a tensor in one on the host. */
const toHost = async (x: Tensor): Promise<Tensor> => tensor(await x.read()).reshape(x.shape);

/** A routing whose integers and logits are on the host. */
async function routingToHost(routing: Routing): Promise<Routing> {
  const names = ["tokenOfSlot", "expertOfSlot", "offsets", "slotsOfToken", "tokenOffsets", "logits", "probs"] as const;
  const entries: [string, Tensor][] = [];
  for (const name of names) entries.push([name, await toHost(routing[name])]);
  return { ...routing, ...Object.fromEntries(entries) };
}

const inspect = (x: Tensor): string => {
  const key = Symbol.for("nodejs.util.inspect.custom");
  return (x as unknown as Record<symbol, () => string>)[key]();
};

export const usePrograms = {
  /** What needs numbers at once says that they are on a device; what prints does without. */
  "use: printing": () =>
    counted(async () => {
      const x = tensor([1, 2]).add(1);
      const one = x.sum();
      return [thrown(() => one.item()), thrown(() => x.toArray()), thrown(() => String(x)), inspect(x)];
    }),
  /** So does what looks into a routing; read to the host, it can be reported. */
  "use: reports": async () => {
    const { moe, x } = layerAndTokens();
    const { routing } = moe.forward(x);
    const refused = [
      () => routingReport(routing),
      () => routingToJSON(routing),
      () => ledger(moe, routing),
      () => withoutExpert(routing, 0),
      () => compareRoutings(routing, routing),
    ].map(thrown);
    const report = async () => {
      const { moe, x } = layerAndTokens();
      return routingReport(await routingToHost(moe.forward(x).routing));
    };
    return { refused, ...(await both(report)) };
  },
  /** A routing that was written down and read is replayed, with the gates of another input. */
  "use: replay": () =>
    both(async () => {
      const { moe, x } = layerAndTokens();
      const { routing } = moe.forward(x);
      const text = JSON.stringify(routingToJSON(await routingToHost(routing)));
      const again = routingFromJSON(JSON.parse(text) as RoutingJSON);
      const others = [routing, again].map((given) => moe.forward(x.mul(-1), { routing: given }));
      const numbers = others.map(async (y) => [...(await list(y.output)), ...(await list(y.routing.gate))]);
      return (await Promise.all(numbers)).flat();
    }),
  /** A gradient check is in float64, so it is the host's; where integers of the device come into it, it says so. */
  "use: gradcheck": () =>
    counted(async () => {
      const x = randn([2, 3], { rng: new Generator(1) });
      const { ok, checked } = gradcheck((y: Tensor) => y.gelu().softmax(), [x]);
      const place = x.add(1).argmax({ dim: 0 });
      return [ok, checked, thrown(() => gradcheck((y: Tensor) => y.indexSelect(0, place), [x]))];
    }),
  /** A state dict is what it was when more steps follow, and a layer that takes it goes on as the first one did. */
  "use: state dicts": () =>
    both(async () => {
      const { moe, x } = layerAndTokens();
      const optimizer = new AdamW(moe.parameters(), { lr: 0.1 });
      step(moe, x, optimizer);
      const dict = moe.stateDict();
      step(moe, x, optimizer);
      const other = layerAndTokens().moe;
      other.loadStateDict(dict);
      step(other, x, new AdamW(other.parameters(), { lr: 0.1 }));
      const numbers = [dict, moe.stateDict(), other.stateDict()].map((state) => list(state["experts.w1"]));
      return (await Promise.all(numbers)).flat();
    }),
  /** What an optimiser keeps from step to step outlives the scope of the step. */
  "use: optimiser state": () =>
    both(async () => {
      const { moe, x } = layerAndTokens();
      const optimizer = new AdamW(moe.parameters(), { lr: 0.1 });
      const losses = [1, 2, 3].map(() => scope(() => step(moe, x, optimizer)));
      return (await Promise.all(losses.map(list))).flat();
    }),
  "use: checkpoint": () =>
    both(async () => {
      const { moe, x } = layerAndTokens();
      checkpoint((y: Tensor) => moe.forward(y).output.gelu())(x)
        .square()
        .sum()
        .backward();
      return gradientsOf(moe);
    }),
  "use: clipping": () =>
    both(async () => {
      const { moe, x } = layerAndTokens();
      moe.forward(x).output.square().sum().backward();
      const norm = clipGradNorm(moe.parameters(), 0.1);
      return [...(await list(norm)), ...(await gradientsOf(moe))];
    }),
  "use: transforms": () =>
    both(async () => {
      const x = tensor([0.5, -1, 2]).add(0.25);
      const cube = (y: Tensor): Tensor => y.mul(y).mul(y).sum();
      const [value, first] = valueAndGrad(cube)(x);
      const second = grad((y: Tensor) => grad(cube)(y).sum())(x);
      const [y, pull] = vjp((a: Tensor) => a.tanh())(x);
      return (await Promise.all([value, first, second, y, ...pull(first)].map(list))).flat();
    }),
  "use: own ops": () =>
    both(async () => {
      const clip = customOp({ forward: (x: Tensor) => x.clamp(-1, 1), vjp: (g) => [g.mul(2)] });
      const x = tensor([0.5, -3, 2]).add(0.25).detach();
      x.requiresGrad = true;
      const y = detectAnomaly(() => clip(x).square());
      y.sum().backward();
      return [...(await list(y)), ...(await list(x.grad as Tensor))];
    }),
  /** An op whose numbers are not finite is found when what depends on it is read. */
  "use: detectAnomaly": async () => {
    const [first, next] = detectAnomaly(() => {
      const y = tensor([1, 0]).add(0).log();
      return [y, y.exp().add(1)];
    });
    return [await messageOf(first.read()), await messageOf(next.read())];
  },
  /** Neither leaves a graph; what is detached lives on when the first is given back. */
  "use: detach and noGrad": () =>
    counted(async () => {
      const w = tensor([1, 2], { requiresGrad: true });
      const y = noGrad(() => w.mul(3));
      const z = w.mul(4);
      const apart = z.detach();
      z.dispose();
      return [y.requiresGrad, apart.requiresGrad, await list(y), await list(apart), await list(apart.add(1))];
    }),
};
