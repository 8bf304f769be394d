/**
 * The MoE layer of tfjs on a GPU.
 *
 * The host reads the router's numbers, chooses, and uploads the map and its inverse: rows are moved by gather in both
 * directions, since scatterND and unsortedSegmentSum read every index for every cell. Experts run in three ways:
 *
 *   split    one after the other, each on its own rows
 *   padded   in one product of batches, filled up to the largest
 *   dense    every token by every expert, most of them with a gate of 0
 */
import { choiceSlots, matricesOf, top2Slots } from "./slots.mjs";
import { addRows, fillUp, mapsOf, numbersOf, pass, takeRows, tensorOf, tf } from "./tfjsParts.mjs";

/** x · σ(u), u = 2·√(2/π)·(x + 0.044715·x³): tanh's gelu in few passes, and its derivative σ + x·σ·(1 − σ)·u′ */
const C1 = 2 * Math.sqrt(2 / Math.PI);
const C3 = C1 * 0.044715;
const geluTanh = tf.customGrad((x, save) => {
  const gate = tf.sigmoid(tf.mul(x, tf.add(tf.mul(tf.square(x), C3), C1)));
  save([x, gate]);
  const gradFunc = (g, [x, gate]) => {
    const slope = tf.add(tf.mul(tf.square(x), 3 * C3), C1);
    return tf.mul(g, tf.mul(gate, tf.add(tf.mul(tf.mul(x, slope), tf.sub(1, gate)), 1)));
  };
  return { value: tf.mul(x, gate), gradFunc };
});
const geluExact = (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

/** Where tokens go, by the router's numbers [T, E]. */
function choose({ T, E, router }, numbers) {
  if (router === "choice") {
    const C = Math.floor((2 * T) / E);
    const column = (e) =>
      Array.from({ length: T }, (_, t) => t).sort((a, b) => numbers[b * E + e] - numbers[a * E + e]);
    const tokens = Array.from({ length: E }, (_, e) => column(e).slice(0, C)).flat();
    return choiceSlots(Int32Array.from(tokens), T, E);
  }
  const chosen = new Int32Array(2 * T);
  for (let t = 0; t < T; t++) {
    let [first, second] = [-1, -1];
    for (let e = 0; e < E; e++) {
      if (first < 0 || numbers[t * E + e] > numbers[t * E + first]) [first, second] = [e, first];
      else if (second < 0 || numbers[t * E + e] > numbers[t * E + second]) second = e;
    }
    chosen[2 * t] = first;
    chosen[2 * t + 1] = second;
  }
  return top2Slots(chosen, T, E);
}

/** 1 where a token goes to an expert. */
function maskOf({ tokensOf }, { T, E }) {
  const mask = new Float32Array(T * E);
  tokensOf.forEach((tokens, e) => {
    for (const t of tokens) mask[t * E + e] = 1;
  });
  return tf.tensor(mask, [T, E]);
}

/** The router's softmax, of top-2 over the two that were chosen. */
function probsOf(mask, x, wr, { router }) {
  const logits = tf.matMul(x, wr);
  return tf.softmax(router === "top2" ? tf.add(logits, tf.mul(tf.sub(mask, 1), 1e9)) : logits);
}

/** One gate a slot [S, 1], of which `experts` [S, E] says by a 1 which it is. */
const gatesOf = (probs, maps, experts) => tf.sum(tf.mul(takeRows(probs, maps), experts), 1, true);

const activations = { tanh: geluTanh, exact: geluExact };

function split(slots, task) {
  const [maps, mask] = [mapsOf(slots.tokenOfSlot, () => true, task.T), maskOf(slots, task)];
  const experts = tf.oneHot(slots.expertOfSlot, task.E).cast("float32");
  const used = slots.tokensOf.flatMap(({ length }, e) => (length > 0 ? [e] : []));
  const sizes = used.map((e) => slots.tokensOf[e].length);
  const act = activations[task.gelu];
  return (x, wr, ...ws) => {
    const gates = gatesOf(probsOf(mask, x, wr, task), maps, experts);
    const parts = tf.split(takeRows(x, maps), sizes);
    const out = used.map((e, i) => tf.matMul(act(tf.matMul(parts[i], ws[e])), ws[task.E + e]));
    return addRows(tf.mul(tf.concat(out), gates), maps);
  };
}

function padded(slots, task) {
  const { T, D, E, gelu } = task;
  const { C, rows, isSlot } = fillUp(slots.tokensOf);
  const [maps, mask] = [mapsOf(rows, isSlot, T), maskOf(slots, task)];
  const ones = rows.flatMap((_, s) =>
    Array.from({ length: E }, (_, e) => Number(isSlot(s) && Math.floor(s / C) === e)),
  );
  const experts = tf.tensor(Float32Array.from(ones), [E * C, E]);
  return (x, wr, w1, w2) => {
    const gates = gatesOf(probsOf(mask, x, wr, task), maps, experts);
    const h = activations[gelu](tf.matMul(takeRows(x, maps).reshape([E, C, D]), w1));
    return addRows(tf.mul(tf.matMul(h, w2).reshape([E * C, D]), gates), maps);
  };
}

function dense(slots, task) {
  const { T, D, E, gelu } = task;
  const mask = maskOf(slots, task);
  return (x, wr, w1, w2) => {
    const gates = tf
      .mul(probsOf(mask, x, wr, task), mask)
      .transpose()
      .reshape([E, T, 1]);
    const h = activations[gelu](tf.matMul(tf.tile(x.reshape([1, T, D]), [E, 1, 1]), w1));
    return tf.sum(tf.mul(tf.matMul(h, w2), gates), 0);
  };
}

/** The layer in each of its ways. */
export function layer(task, inputs) {
  const [x, wr, w1, w2, g] = ["x", "wr", "w1", "w2", "g"].map((name) => tensorOf(inputs[name]));
  const matrices = [...matricesOf(inputs.w1), ...matricesOf(inputs.w2)].map(tensorOf);
  const route = async () => {
    const scores = tf.tidy(() => (task.router === "top2" ? tf.matMul(x, wr) : tf.softmax(tf.matMul(x, wr))));
    const slots = choose(task, await numbersOf(scores));
    scores.dispose();
    return slots;
  };
  const begin = (way) => async () => {
    const slots = await route();
    return () => way(slots, task);
  };
  const whole = (y, [dx, dwr, dw1, dw2]) => (dx ? { y, dx, dwr, dw1, dw2 } : { y });
  const listed = (y, [dx, dwr, ...dws]) =>
    dx ? { y, dx, dwr, dw1: dws.slice(0, task.E), dw2: dws.slice(task.E) } : { y };
  return {
    split: pass(task, begin(split), [x, wr, ...matrices], g, listed),
    padded: pass(task, begin(padded), [x, wr, w1, w2], g, whole),
    dense: pass(task, begin(dense), [x, wr, w1, w2], g, whole),
  };
}
