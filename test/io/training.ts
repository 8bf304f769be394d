/** A small training run with everything that has state: dropout, a noisy router, momentum, a schedule, a stream of data. */
import {
  auxLoss,
  clipGradNorm,
  Dropout,
  Generator,
  Linear,
  LRScheduler,
  Module,
  MoE,
  noisyTopKRouter,
  type Optimizer,
  type ParameterList,
  type Router,
  randn,
  type Tensor,
  warmupCosine,
} from "../../src/index.ts";
import type { StatefulParts } from "../../src/io/index.ts";

class Model extends Module {
  readonly first: Linear;
  readonly dropout: Dropout;
  readonly moe: MoE;

  constructor(router: Router, rng: Generator) {
    super();
    this.first = new Linear(3, 4, { rng });
    this.dropout = new Dropout(0.25, { rng });
    this.moe = new MoE({ dim: 4, hidden: 5, numExperts: 3, router, jitter: 0.1, rng });
  }

  forward(x: Tensor) {
    return this.moe.forward(this.dropout.forward(this.first.forward(x)));
  }
}

export const noisy = (): Router => noisyTopKRouter({ dim: 4, numExperts: 3 });

export interface Training {
  readonly parts: StatefulParts;
  /** Trains step number `step` and gives its loss. */
  step(step: number): number;
  /** Everything that a step can change, as one list of numbers. */
  numbers(): number[];
}

export function newTraining(
  make: (params: ParameterList<{ lr: number }>) => Optimizer<{ lr: number }>,
  router: Router = noisy(),
): Training {
  const rng = new Generator(5);
  const model = new Model(router, rng);
  const [lagging, ...others] = model.parameters();
  // One parameter has no gradient at every third step, the first among them: its state lags behind that of others.
  const optimizer = make([{ params: [lagging] }, { params: others, lr: 0.02 }]);
  const scheduler = new LRScheduler(optimizer, warmupCosine({ warmup: 3, total: 12, floor: 0.1 }));
  const data = rng.split("data");
  return {
    parts: { model, optimizer, scheduler, data },
    step(step) {
      const { output, routing } = model.forward(randn([8, 3], { rng: data }));
      // A normal number is left over at every other step: the generators remember it.
      const target = data.normal();
      const loss = output
        .sub(target)
        .square()
        .mean()
        .add(auxLoss(routing, { balance: 0.01 }));
      optimizer.zeroGrad();
      loss.backward();
      if (step % 3 === 0) lagging.grad = null;
      clipGradNorm(model.parameters(), 1);
      optimizer.step();
      scheduler.step();
      return loss.item();
    },
    numbers: () => [...model.parameters().flatMap((p) => [...p.data]), ...scheduler.rates],
  };
}
