/**
 * TensorFlow.js on its WebAssembly backend, one thread: in Node, more threads make this version many times slower.
 *
 * Its kernels are used as they run best, which is not always what its own gradients call. Rows are read by gatherND, much
 * faster here than gather, whose gradient has no kernel; products transpose before they multiply, since matMul with a
 * transposed input is slow. Each expert's weights are a tensor of their own, so that no gradient is a sum of slices.
 */
import * as tf from "@tensorflow/tfjs";
import { setThreadsCount } from "@tensorflow/tfjs-backend-wasm";
import { choiceSlots, matricesOf, top2Slots } from "./slots.mjs";

export async function open() {
  tf.enableProdMode();
  setThreadsCount(1);
  await tf.setBackend("wasm");
  await tf.ready();
  return { how: "wasm, one thread", prepare };
}

const tensorOf = ({ data, shape }) => tf.tensor(data, shape, data instanceof Int32Array ? "int32" : "float32");
const numbersOf = (x) => (Array.isArray(x) ? x.flatMap((part) => [...part.dataSync()]) : x.dataSync());

/** A job from a function that gives tensors, or lists of them, by name. */
const job = (make) => ({
  call: () => tf.tidy(make),
  read: (results) => Object.fromEntries(Object.entries(results).map(([name, x]) => [name, numbersOf(x)])),
  free: (results) => tf.dispose(results),
});

function prepare(task, inputs) {
  switch (task.kind) {
    case "matmul": {
      const [a, b, g] = ["a", "b", "g"].map((name) => tensorOf(inputs[name]));
      return pass(
        task,
        () => product,
        [a, b],
        g,
        (c, [da, db]) => (da ? { c, da, db } : { c }),
      );
    }
    case "grouped":
      return grouped(task, inputs);
    case "moe":
      return layer(task, inputs);
    case "unary": {
      const x = tensorOf(inputs.x);
      return job(() => ({ y: unary[task.fn](x) }));
    }
    default:
      return rows(task, inputs);
  }
}

/** x · σ(2·√(2/π)·(x + 0.044715·x³)): tanh's gelu in fewer passes. */
function geluTanh(x) {
  const c = 2 * Math.sqrt(2 / Math.PI);
  return tf.mul(x, tf.sigmoid(tf.mul(x, tf.add(tf.mul(tf.square(x), 0.044715 * c), c))));
}
const geluExact = (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
const unary = { exp: tf.exp, tanh: tf.tanh, "gelu tanh": geluTanh, "gelu exact": geluExact };

function rows({ kind }, inputs) {
  const x = tensorOf(inputs.x);
  if (kind === "softmax") return job(() => ({ y: tf.softmax(x) }));
  if (kind === "topk") return job(() => tf.topk(x, 2));
  const index = tensorOf(inputs.index).reshape([-1, 1]);
  if (kind === "gather") return job(() => ({ y: tf.gatherND(x, index) }));
  return job(() => ({ y: tf.scatterND(index, x, x.shape) }));
}

/** a · b */
const product = tf.customGrad((a, b, save) => {
  save([a, b]);
  const gradFunc = (g, [a, b]) => [tf.matMul(g, tf.transpose(b)), tf.matMul(tf.transpose(a), g)];
  return { value: tf.matMul(a, b), gradFunc };
});

/** x[index], with index [S, 1] */
const takeRows = (x, index) =>
  tf.customGrad((x) => ({ value: tf.gatherND(x, index), gradFunc: (g) => tf.scatterND(index, g, x.shape) }))(x);

/** y[index[r]] += rows[r], for T rows of y */
const addRows = (rows, index, T) =>
  tf.customGrad((rows) => ({
    value: tf.scatterND(index, rows, [T, rows.shape[1]]),
    gradFunc: (g) => tf.gatherND(g, index),
  }))(rows);

/** A job of f forward, or there and back. `begin` gives f, after work that leaves no gradients. */
function pass({ backward }, begin, inputs, g, name) {
  if (!backward) return job(() => name(begin()(...inputs), []));
  return job(() => {
    const f = begin();
    let y;
    const gradients = tf.grads((...xs) => {
      y = tf.keep(f(...xs));
      return y;
    })(inputs, g);
    return name(y, gradients);
  });
}

function grouped({ sizes, D, N, backward }, inputs) {
  const [x, g] = [inputs.x, inputs.g].map(tensorOf);
  const ws = matricesOf(inputs.w).map(tensorOf);
  const used = sizes.flatMap((n, e) => (n > 0 ? [e] : []));
  const parts = used.map((e) => sizes[e]);
  const forward = (x, ...ws) => tf.concat(tf.split(x, parts).map((part, i) => product(part, ws[i])));
  const all = (dws) => sizes.map((n) => (n > 0 ? dws.shift() : tf.zeros([D, N])));
  return pass(
    { backward },
    () => forward,
    [x, ...used.map((e) => ws[e])],
    g,
    (y, [dx, ...dws]) => (dx ? { y, dx, dw: all(dws) } : { y }),
  );
}

function layer(task, inputs) {
  const { T, E, router, gelu } = task;
  const top2 = router === "top2";
  const act = gelu === "tanh" ? geluTanh : geluExact;
  const [x, wr, g] = ["x", "wr", "g"].map((name) => tensorOf(inputs[name]));
  const weights = [...matricesOf(inputs.w1), ...matricesOf(inputs.w2)].map(tensorOf);

  /** Where tokens go, decided on the host; and what takes the others out of a softmax over the two. */
  const route = () => {
    const logits = tf.matMul(x, wr);
    const { indices } = tf.topk(top2 ? logits : tf.softmax(logits).transpose(), top2 ? 2 : (2 * T) / E);
    const slots = (top2 ? top2Slots : choiceSlots)(indices.dataSync(), T, E);
    return {
      tokensOf: slots.tokensOf,
      tokens: tf.tensor2d(slots.tokenOfSlot, [slots.tokenOfSlot.length, 1], "int32"),
      experts: tf.oneHot(slots.expertOfSlot, E).cast("float32"),
      outside: top2 ? tf.mul(tf.sub(tf.sum(tf.oneHot(indices, E), 1).cast("float32"), 1), 1e9) : 0,
    };
  };
  const forward = ({ tokensOf, tokens, experts, outside }, x, wr, ...ws) => {
    const probs = tf.softmax(tf.add(product(x, wr), outside));
    const gates = tf.sum(tf.mul(takeRows(probs, tokens), experts), 1, true);
    const used = tokensOf.flatMap(({ length }, e) => (length > 0 ? [e] : []));
    const parts = tf.split(
      takeRows(x, tokens),
      used.map((e) => tokensOf[e].length),
    );
    const out = used.map((e, i) => product(act(product(parts[i], ws[e])), ws[E + e]));
    return addRows(tf.mul(tf.concat(out), gates), tokens, T);
  };
  const begin = () => {
    const routed = route();
    return (...leaves) => forward(routed, ...leaves);
  };
  return pass(task, begin, [x, wr, ...weights], g, (y, [dx, dwr, ...dws]) =>
    dx ? { y, dx, dwr, dw1: dws.slice(0, E), dw2: dws.slice(E) } : { y },
  );
}
