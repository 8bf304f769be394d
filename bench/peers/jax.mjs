/**
 * jax-js on its WebAssembly backend. Arrays are counted: a use consumes one, and `.ref` keeps it for another.
 *
 * What has a fixed shape runs under `jit`, both ways. Token choice does not, and the gradient of `take` does not compile in
 * this version either, so that its training runs op by op.
 */
import { blockUntilReady, defaultDevice, init, jit, lax, nn, numpy as np, vjp } from "@jax-js/jax";
import { choiceSlots, matricesOf, top2Slots } from "./slots.mjs";

export async function open() {
  await init("wasm");
  defaultDevice("wasm");
  return { how: "wasm, one thread", prepare };
}

const arrayOf = ({ data, shape }) => np.array(data).reshape([...shape]);
const integers = (data) => np.array(Int32Array.from(data), { dtype: np.int32 });
const leaves = (results) => Object.values(results).flat();

/** A job from a function that gives arrays, or lists of them, by name. */
const job = (make) => ({
  call: async () => {
    const results = await make();
    await blockUntilReady(leaves(results));
    return results;
  },
  read: async (results) => {
    const numbers = async (x) =>
      Array.isArray(x) ? (await Promise.all(x.map(numbers))).flatMap((part) => [...part]) : x.ref.data();
    const entries = Object.entries(results).map(async ([name, x]) => [name, await numbers(x)]);
    return Object.fromEntries(await Promise.all(entries));
  },
  free: (results) => {
    for (const x of leaves(results)) x.dispose();
  },
});

function prepare(task, inputs) {
  switch (task.kind) {
    case "matmul":
      return pass(task, inputs, ["a", "b"], "c", np.matmul);
    case "grouped": {
      const ends = task.sizes.map((_, e) => task.sizes.slice(0, e + 1).reduce((a, b) => a + b)).slice(0, -1);
      return pass(task, inputs, ["x", "w"], "y", (x, w) => {
        const matrices = np.split(w, task.sizes.length, 0);
        const parts = np.split(x, ends, 0);
        return np.concatenate(
          parts.map((part, e) => np.matmul(part, np.squeeze(matrices[e], 0))),
          0,
        );
      });
    }
    case "moe":
      return layer(task, inputs);
    case "unary": {
      const x = arrayOf(inputs.x);
      const f = jit(unary[task.fn]);
      return job(() => ({ y: f(x.ref) }));
    }
    default:
      return rows(task, inputs);
  }
}

const unary = {
  exp: np.exp,
  tanh: np.tanh,
  "gelu tanh": (x) => nn.gelu(x, { approximate: true }),
  "gelu exact": (x) => nn.gelu(x, { approximate: false }),
};

function rows({ kind }, inputs) {
  const x = arrayOf(inputs.x);
  if (kind === "softmax") {
    const f = jit((x) => nn.softmax(x, -1));
    return job(() => ({ y: f(x.ref) }));
  }
  if (kind === "topk") {
    return job(() => {
      const [values, indices] = lax.topK(x.ref, 2);
      return { values, indices };
    });
  }
  const index = integers(inputs.index.data);
  if (kind === "gather") {
    const f = jit((x, index) => np.take(x, index, 0));
    return job(() => ({ y: f(x.ref, index.ref) }));
  }
  // There is no scatter-add but the gradient of take.
  return job(() => {
    const [y, back] = vjp((table) => np.take(table, index.ref, 0), [np.zeros(inputs.x.shape)]);
    y.dispose();
    const [dx] = back(x.ref);
    back.dispose();
    return { y: dx };
  });
}

/** Output and gradients of f, which may take lists of arrays. */
function thereAndBack(f, inputs, g) {
  const [y, back] = vjp(f, inputs);
  const gradients = back(g);
  back.dispose();
  return [y, gradients];
}

/** A function of arrays of fixed shapes, compiled as a whole, with its gradients or without. */
function pass({ backward }, inputs, names, output, f) {
  const arrays = names.map((name) => arrayOf(inputs[name]));
  const refs = () => arrays.map((x) => x.ref);
  if (!backward) {
    const compiled = jit(f);
    return job(() => ({ [output]: compiled(...refs()) }));
  }
  const g = arrayOf(inputs.g);
  const compiled = jit((g, ...xs) => thereAndBack(f, xs, g));
  return job(() => {
    const [y, gradients] = compiled(g.ref, ...refs());
    return { [output]: y, ...Object.fromEntries(names.map((name, i) => [`d${name}`, gradients[i]])) };
  });
}

/** Token choice in groups padded to one size wastes what the largest group has more: worth it only with many experts. */
const PADDED_FROM = 32;

function layer(task, inputs) {
  if (task.router === "choice") return expertChoice(task, inputs);
  return task.E < PADDED_FROM ? oneByOne(task, inputs) : padded(task, inputs);
}

/** Expert choice has fixed shapes. One-hot products move the rows, since they can be compiled both ways. */
function expertChoice({ T, D, E, gelu, backward }, inputs) {
  const C = (2 * T) / E;
  const [x, wr, w1, w2, g] = ["x", "wr", "w1", "w2", "g"].map((name) => arrayOf(inputs[name]));
  const choose = jit((x, wr) => lax.topK(np.transpose(nn.softmax(np.matmul(x, wr), -1)), C));
  const forward = (tokens) => (x, wr, w1, w2) => {
    const hot = nn.oneHot(tokens, T);
    const probs = nn.softmax(np.matmul(x.ref, wr), -1);
    const rows = np.matmul(hot.ref, x).reshape([E, C, D]);
    const out = np.matmul(activation(gelu)(np.matmul(rows, w1)), w2).reshape([E * C, D]);
    const own = np.eye(E).reshape([E, 1, E]);
    const gates = np.sum(np.matmul(hot.ref, probs).reshape([E, C, E]).mul(own), -1).reshape([E * C, 1]);
    return np.matmul(np.transpose(hot), out.mul(gates));
  };
  const there = jit((tokens, _g, ...xs) => [forward(tokens)(...xs), []]);
  const both = jit((tokens, g, ...xs) => thereAndBack(forward(tokens), xs, g));
  return job(async () => {
    const [values, indices] = choose(x.ref, wr.ref);
    values.dispose();
    const { tokenOfSlot } = choiceSlots(await indices.data(), T, E);
    const args = [integers(tokenOfSlot), g.ref, x.ref, wr.ref, w1.ref, w2.ref];
    const [y, gradients] = (backward ? both : there)(...args);
    return named(y, gradients);
  });
}

const activation = (gelu) => (x) => nn.gelu(x, { approximate: gelu === "tanh" });
const named = (y, [dx, dwr, dw1, dw2]) => (dx ? { y, dx, dwr, dw1, dw2 } : { y });

/** Top-2, decided on the host. */
function top2Router(x, wr, { T, E }) {
  const choose = jit((x, wr) => lax.topK(np.matmul(x, wr), 2));
  return async () => {
    const [values, indices] = choose(x.ref, wr.ref);
    values.dispose();
    return top2Slots(await indices.data(), T, E);
  };
}

/** y[t] = Σ gate · out[slot] over the two slots of each token; `gates` says where they stand in the logits. */
function combine(out, logits, places, gates, { T, D, E }) {
  const chosen = nn.softmax(np.take(logits.reshape([T * E]), integers(gates), 0).reshape([T, 2]), -1);
  return np.sum(
    np
      .take(out, integers(places), 0)
      .reshape([T, 2, D])
      .mul(chosen.reshape([T, 2, 1])),
    1,
  );
}

/** Top-2, one expert after the other. Each expert's weights are arrays of their own, so that no gradient sums slices. */
function oneByOne(task, inputs) {
  const { gelu, backward } = task;
  const [x, wr, g] = ["x", "wr", "g"].map((name) => arrayOf(inputs[name]));
  const [w1, w2] = ["w1", "w2"].map((name) => matricesOf(inputs[name]).map(arrayOf));
  const route = top2Router(x, wr, task);
  const act = activation(gelu);
  const forward =
    ({ tokensOf, slotsOfToken, gateOfSlot }) =>
    (x, wr, w1, w2) => {
      const logits = np.matmul(x.ref, wr);
      const used = tokensOf.flatMap(({ length }, e) => (length > 0 ? [e] : []));
      const out = used.map((e) => np.matmul(act(np.matmul(np.take(x.ref, integers(tokensOf[e]), 0), w1[e])), w2[e]));
      x.dispose();
      const gates = slotsOfToken.map((s) => gateOfSlot[s]);
      return combine(np.concatenate(out, 0), logits, slotsOfToken, gates, task);
    };
  const refs = () => [x.ref, wr.ref, w1.map((w) => w.ref), w2.map((w) => w.ref)];
  return job(async () => {
    const f = forward(await route());
    return backward ? named(...thereAndBack(f, refs(), g.ref)) : { y: f(...refs()) };
  });
}

/** Top-2 in batched products: every group padded to the largest, rounded up so that few sizes are ever compiled. */
function padded(task, inputs) {
  const { D, E, gelu, backward } = task;
  const [x, wr, w1, w2, g] = ["x", "wr", "w1", "w2", "g"].map((name) => arrayOf(inputs[name]));
  const route = top2Router(x, wr, task);
  const forward =
    ({ tokensOf, slotsOfToken, gateOfSlot }) =>
    (x, wr, w1, w2) => {
      const C = 32 * Math.ceil(Math.max(...tokensOf.map(({ length }) => length)) / 32);
      const tokens = new Int32Array(E * C);
      const placeOfSlot = tokensOf.flatMap((list, e) => list.map((_, i) => e * C + i));
      tokensOf.forEach((list, e) => {
        tokens.set(list, e * C);
      });
      const logits = np.matmul(x.ref, wr);
      const rows = np.take(x, integers(tokens), 0).reshape([E, C, D]);
      const out = np.matmul(activation(gelu)(np.matmul(rows, w1)), w2).reshape([E * C, D]);
      const [places, gates] = [placeOfSlot, gateOfSlot].map((list) => slotsOfToken.map((s) => list[s]));
      return combine(out, logits, places, gates, task);
    };
  const refs = () => [x.ref, wr.ref, w1.ref, w2.ref];
  return job(async () => {
    const f = forward(await route());
    return backward ? named(...thereAndBack(f, refs(), g.ref)) : { y: f(...refs()) };
  });
}
