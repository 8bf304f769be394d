/** npm run laws: every law, tried on every router, loss and op of the library, as a table. */
import { parseArgs } from "node:util";
import {
  arange,
  expertChoiceRouter,
  gshardRouter,
  hashRouter,
  noisyTopKRouter,
  ones,
  type Router,
  randomRouter,
  switchRouter,
  type Tensor,
  topKRouter,
} from "../src/index.ts";
import {
  type CheckRouterOptions,
  checkLoss,
  checkOp,
  checkRouter,
  type LawResult,
  lawsTable,
  tensorOf,
} from "../src/laws/index.ts";

const HELP = `Usage: npm run laws -- [--runs N] [--seed N]

Tries every law on the library's routers, losses and ops, and prints what was tried.

  --runs N   cases per law (default 100)
  --seed N   where the cases come from (default 1)
  --help     this text

Exits with 1 when a law is broken.`;

/** A router whose overflow asks for another expert competes for room, so these are not promised of it. */
const COMPETES = ["first choice first", "ties", "tokens in another order", "no look ahead"];

const routers: readonly [name: string, router: Router, options?: CheckRouterOptions][] = [
  ["topKRouter()", topKRouter()],
  ["topKRouter({ k: 1 })", topKRouter({ k: 1 })],
  ["topKRouter({ k: 3 }), E = 3", topKRouter({ k: 3 }), { numExperts: 3 }],
  ["topKRouter({ normalize: false })", topKRouter({ normalize: false })],
  ["topKRouter({ scoreFn: 'sigmoid' })", topKRouter({ scoreFn: "sigmoid" })],
  ["topKRouter({ noise: 'gumbel' })", topKRouter({ noise: "gumbel" })],
  ["topKRouter({ capacityFactor: 1 })", topKRouter({ capacityFactor: 1 })],
  ["… priority: 'gate'", topKRouter({ capacityFactor: 1, priority: "gate" })],
  ["… dropPolicy: 'gate'", topKRouter({ capacityFactor: 1, dropPolicy: "gate" })],
  ["… dropPolicy: 'random'", topKRouter({ capacityFactor: 1, dropPolicy: "random" })],
  ["… dropPolicy: 'next-best'", topKRouter({ capacityFactor: 1, dropPolicy: "next-best" }), { except: COMPETES }],
  ["switchRouter()", switchRouter()],
  ["gshardRouter()", gshardRouter()],
  [
    "noisyTopKRouter({ k: 2 })",
    noisyTopKRouter({ dim: 2, numExperts: 4, dtype: "float64" }),
    // Its noise depends on the tokens: these are all alike. Float64 weights route float64 logits.
    { numExperts: 4, dtypes: ["float64"], context: (T) => ({ x: ones([T, 2], { dtype: "float64" }) }) },
  ],
  ["expertChoiceRouter()", expertChoiceRouter()],
  ["expertChoiceRouter({ capacityFactor: 1 })", expertChoiceRouter({ capacityFactor: 1 })],
  ["hashRouter()", hashRouter(), { context: (T) => ({ tokenIds: arange(T, { dtype: "int32" }) }) }],
  ["randomRouter({ k: 2 })", randomRouter({ k: 2 })],
];

const unary: readonly [name: string, op: (x: Tensor) => Tensor, linear?: boolean][] = [
  ["softmax", (x) => x.softmax()],
  ["logSoftmax", (x) => x.logSoftmax()],
  ["gelu", (x) => x.gelu()],
  ["layerNorm", (x) => x.layerNorm()],
  ["cumsum", (x) => x.cumsum(0), true],
  ["permute", (x) => x.permute([1, 0]), true],
];

function main(): void {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "100" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const [numRuns, seed] = [Number(values.runs), Number(values.seed)];
  if (!(Number.isInteger(numRuns) && numRuns > 0)) fail(`--runs has ${values.runs}, expected an integer of at least 1`);
  if (!Number.isInteger(seed)) fail(`--seed has ${values.seed}, expected an integer`);
  const common = { numRuns, seed, raiseException: false };
  const all: LawResult[] = [];
  const print = (title: string, results: LawResult[]): void => {
    all.push(...results);
    console.log(`\n${title}\n${lawsTable(results)}`);
    for (const result of results) if (!result.ok) console.log(`\n${result.message}`);
  };
  for (const [name, router, options] of routers) print(name, checkRouter(router, { ...common, ...options }));
  print(
    "losses.balance",
    checkLoss((routing) => routing.losses.balance, common),
  );
  for (const [name, op, linear] of unary) {
    const inputs = tensorOf([3, 4]).map((x) => [x]);
    // A check of every entry by differences costs many forwards: a quarter of the cases.
    print(name, checkOp(op, { inputs, linear, ...common, numRuns: Math.ceil(numRuns / 4) }));
  }
  const broken = all.filter((result) => !result.ok).length;
  const cases = all.reduce((sum, result) => sum + result.runs, 0);
  console.log(`\n${all.length} laws tried on ${cases} cases, ${broken} broken`);
  if (broken > 0) process.exitCode = 1;
}

function fail(message: string): never {
  console.error(`laws: ${message}`);
  process.exit(2);
}

main();
