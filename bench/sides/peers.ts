/** The libraries beside which moegrad is timed, and what each of them cannot do. */
import type { Task } from "../cases.ts";

export interface Peer {
  readonly name: string;
  /** The npm package; null for what is not one. */
  readonly package: string | null;
  /** The module below bench/peers that drives it. */
  readonly module: string;
  /** How it is used, in a sentence for the page. */
  readonly says: string;
  /** Why a task is not timed, or null when it is. */
  readonly lacks: (task: Task) => string | null;
}

const OWN = "moegrad's own";

export const peers: readonly Peer[] = [
  {
    name: "jax-js",
    package: "@jax-js/jax",
    module: "jax.mjs",
    says:
      "WebAssembly, one thread. Compiled as a whole where shapes are fixed; top-2 goes op by op, since the gradient of " +
      "`take` does not compile, one expert after the other (E = 8) or in padded groups (E = 64). Scatter-add is the " +
      "gradient of `take`. Expert choice moves rows by one-hot products.",
    lacks: ({ kind }) => (kind === "step" ? OWN : kind === "tiny" ? "an op alone leaves no record" : null),
  },
  {
    name: "tfjs",
    package: "@tensorflow/tfjs",
    module: "tfjs.mjs",
    says:
      "WebAssembly (XNNPACK), one thread: two are many times slower in Node. One expert after the other. Its own gradient " +
      "of `gather` has no kernel and that of `matMul` is slow, so both are given by `customGrad`: gatherND and scatterND, " +
      "and products of transposed copies.",
    lacks: ({ kind }) => (kind === "step" ? OWN : kind === "tiny" ? "an op alone leaves no record" : null),
  },
  {
    name: "ort-web",
    package: "onnxruntime-web",
    module: "ort.mjs",
    says:
      "WebAssembly, one thread. Graphs of basic ops, with the weights as constants, so that they are packed before the " +
      "first call.",
    lacks: (task) => {
      if (task.kind === "step") return OWN;
      return task.kind === "tiny" || ("backward" in task && task.backward) ? "no gradients" : null;
    },
  },
  {
    name: "js-pytorch",
    package: "js-pytorch",
    module: "jspytorch.mjs",
    says: "Nested arrays. gelu by exp, scatter-add by a one-hot product. Single calls where one takes seconds.",
    lacks: (task) => {
      switch (task.kind) {
        case "step":
          return OWN;
        case "topk":
          return "no top-k";
        case "scatterAdd":
          return "no scatter-add";
        case "unary":
          return task.fn === "exp" || task.fn === "gelu tanh" ? null : `no ${task.fn === "tanh" ? "tanh" : "erf"}`;
        case "grouped":
          return "no slices";
        case "matmul":
          return task.M > 512 ? "minutes" : null;
        case "moe":
          return task.gelu === "exact" ? "no erf" : task.E > 8 || task.router === "choice" ? "minutes" : null;
        default:
          return null;
      }
    },
  },
  {
    name: "PyTorch",
    package: null,
    module: "native.py",
    says:
      "Native code, one thread: what a CPU does without the limits of WebAssembly. Slots sorted by expert, one product " +
      "for each; expert choice in batched products.",
    lacks: ({ kind }) => (kind === "step" ? OWN : null),
  },
];
