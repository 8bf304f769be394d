/** What the tasks of tfjs on a GPU share: jobs, passes there and back, and rows that are moved by maps. */

/** The page loads tfjs's own builds for browsers, as scripts. */
export const { tf } = globalThis;

export const tensorOf = ({ data, shape }) => tf.tensor(data, shape);

/** The numbers of a tensor. On WebGL data() looks every few milliseconds whether they are there, and dataSync() waits. */
export const numbersOf = (x) => (tf.getBackend() === "webgl" ? x.dataSync() : x.data());

/**
 * A way to do a task: `make` gives tensors, or lists of them, by name, and what it needs besides is freed. once: all of it, and
 * one number of each result read, so that it ends when the last is done. all: every number.
 */
export const job = (make) => ({
  async once() {
    const results = await make();
    const few = tf.tidy(() =>
      tf.concat(Object.values(results).map((x) => (Array.isArray(x) ? x[0] : x).flatten().slice(0, 1))),
    );
    tf.dispose(results);
    await numbersOf(few);
    few.dispose();
  },
  async all() {
    const results = await make();
    const read = {};
    for (const [name, x] of Object.entries(results)) {
      const parts = [];
      for (const part of Array.isArray(x) ? x : [x]) parts.push(await numbersOf(part));
      read[name] = Float32Array.from(parts.flatMap((part) => Array.from(part)));
    }
    tf.dispose(results);
    return read;
  },
});

/**
 * A job of f forward, or there and back. `begin` reads what has to be known on the host, and gives what makes f: the tensors
 * that f does not make itself are there for its gradient.
 */
export function pass({ backward }, begin, inputs, g, name) {
  return job(async () => {
    const build = await begin();
    return tf.tidy(() => {
      const f = build();
      if (!backward) return name(f(...inputs), []);
      let y;
      const gradients = tf.grads((...xs) => {
        y = tf.keep(f(...xs));
        return y;
      })(inputs, g);
      return name(y, gradients);
    });
  });
}

const indices = (list, shape) => tf.tensor(Int32Array.from(list), shape, "int32");

/** y[t] = Σ rows[s] over the slots s of t. `slots` [T, K] names the row after the last where t has fewer. */
function sumRows(rows, slots, padded) {
  const all = padded ? tf.concat([rows, tf.zeros([1, rows.shape[1]])]) : rows;
  return slots.shape[1] === 1 ? tf.gather(all, slots.flatten()) : tf.sum(tf.gather(all, slots), 1);
}

/** x[tokens], and its adjoint: each the gradient of the other. */
export const takeRows = (x, { tokens, slots, padded }) =>
  tf.customGrad((x) => ({ value: tf.gather(x, tokens), gradFunc: (g) => sumRows(g, slots, padded) }))(x);
export const addRows = (rows, { tokens, slots, padded }) =>
  tf.customGrad((rows) => ({ value: sumRows(rows, slots, padded), gradFunc: (g) => tf.gather(g, tokens) }))(rows);

/** Rows of x by slot, the slots of each token beside. `tokens` of places that no slot fills are some token's. */
export function mapsOf(tokenOfSlot, isSlot, T) {
  const slotsOfToken = Array.from({ length: T }, () => []);
  tokenOfSlot.forEach((t, s) => {
    if (isSlot(s)) slotsOfToken[t].push(s);
  });
  const most = Math.max(1, ...slotsOfToken.map(({ length }) => length));
  const padded = slotsOfToken.some(({ length }) => length < most);
  for (const list of slotsOfToken) while (list.length < most) list.push(tokenOfSlot.length);
  return {
    tokens: indices(tokenOfSlot, [tokenOfSlot.length]),
    slots: indices(slotsOfToken.flat(), [T, most]),
    padded,
  };
}

/** Groups filled up to the largest: which row stands at each place, and whether any does. */
export function fillUp(rowsOf) {
  const C = Math.max(...rowsOf.map(({ length }) => length));
  const places = rowsOf.flatMap((rows) => Array.from({ length: C }, (_, c) => rows[c] ?? -1));
  return { C, rows: places.map((row) => Math.max(0, row)), isSlot: (s) => places[s] >= 0 };
}
