import { AdamW, auxLoss, crossEntropy, Generator, Linear, MoE, randn, scope, tensor, topKRouter } from "moegrad";

const [POINTS, CLASSES, DIM] = [64, 3, 8];

/** Points in a plane, and to which of three rings around the origin each belongs. */
function makeData(rng) {
  const points = randn([POINTS, 2], { rng });
  const { data } = points;
  const ring = Int32Array.from({ length: POINTS }, (_, i) => {
    const radius = Math.hypot(data[2 * i], data[2 * i + 1]);
    return radius < 0.8 ? 0 : radius < 1.5 ? 1 : 2;
  });
  return { points, ring: tensor(ring) };
}

/** Trains a small Mixture of Experts on the device in use; tells the loss of every step. */
export async function train(steps, tell) {
  const rng = new Generator(2026);
  const { points, ring } = makeData(rng.split("data"));
  const embed = new Linear(2, DIM, { rng: rng.split("embed") });
  const router = topKRouter({ k: 2, capacityFactor: 1.5 });
  const moe = new MoE({ dim: DIM, hidden: 16, numExperts: 4, router, rng: rng.split("moe") });
  const head = new Linear(DIM, CLASSES, { rng: rng.split("head") });
  const parameters = [embed, moe, head].flatMap((layer) => layer.parameters());
  const optimizer = new AdamW(parameters, { lr: 0.02 });

  for (let step = 0; step < steps; step++) {
    // What a step makes on the GPU goes with the scope, but for what it returns.
    const loss = scope(() => {
      optimizer.zeroGrad();
      const h = embed.forward(points);
      const { output, routing } = moe.forward(h);
      const logits = head.forward(h.add(output));
      const loss = crossEntropy(logits, ring).add(auxLoss([routing], { balance: 0.01 }));
      loss.backward();
      optimizer.step();
      return loss;
    });
    tell((await loss.read())[0]);
    loss.dispose();
  }
}
