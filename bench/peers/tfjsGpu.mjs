/**
 * TensorFlow.js on its GPU backends, in a browser's page.
 *
 * Written the way it runs best there, which was tried out. matMul takes transposed operands as they are, so its own gradient
 * is used. Of the ways to run experts (tfjsLayer.mjs) each case takes the quickest, found before anything is timed.
 */

import { matricesOf } from "./slots.mjs";
import { layer } from "./tfjsLayer.mjs";
import { addRows, fillUp, job, mapsOf, numbersOf, pass, takeRows, tensorOf, tf } from "./tfjsParts.mjs";

/** A side on "webgl" or "webgpu". `jobs` gives the ways to do a task, by name. */
export async function open(backend) {
  tf.enableProdMode();
  const use = async () => {
    if (!(await tf.setBackend(backend))) throw new Error(`tfjs has no backend ${backend} here`);
    await tf.ready();
  };
  await use();
  return { use, jobs };
}

function jobs(task, inputs) {
  switch (task.kind) {
    case "matmul":
      return { plain: matmul(task, inputs) };
    case "grouped":
      return grouped(task, inputs);
    case "moe":
      return layer(task, inputs);
    case "adamw":
      return { plain: adamw(task, inputs) };
    case "launches":
      return { plain: launches(task, inputs) };
    case "readback":
      return { plain: readback(inputs) };
  }
}

function matmul(task, inputs) {
  const [a, b, g] = ["a", "b", "g"].map((name) => tensorOf(inputs[name]));
  return pass(
    task,
    () => () => tf.matMul,
    [a, b],
    g,
    (c, [da, db]) => (da ? { c, da, db } : { c }),
  );
}

function grouped({ sizes, D, N, backward }, inputs) {
  const [x, w, g] = [inputs.x, inputs.w, inputs.g].map(tensorOf);
  const ws = matricesOf(inputs.w).map(tensorOf);
  const used = sizes.flatMap((n, e) => (n > 0 ? [e] : []));
  const S = inputs.x.shape[0];
  const starts = sizes.map((_, e) => sizes.slice(0, e).reduce((a, b) => a + b, 0));
  const { C, rows, isSlot } = fillUp(sizes.map((n, e) => Array.from({ length: n }, (_, i) => starts[e] + i)));

  const split = (x, ...ws) =>
    tf.concat(
      tf
        .split(
          x,
          used.map((e) => sizes[e]),
        )
        .map((part, i) => tf.matMul(part, ws[i])),
    );
  const padded = () => {
    const maps = mapsOf(rows, isSlot, S);
    // Places without a row must not hand a gradient to w.
    const filled = tf.tensor(
      rows.map((_, s) => Number(isSlot(s))),
      [rows.length, 1],
    );
    return (x, w) => {
      const y = tf.matMul(takeRows(x, maps).reshape([sizes.length, C, D]), w);
      return addRows(tf.mul(y.reshape([-1, N]), filled), maps);
    };
  };
  const all = (dws) => sizes.map((n) => (n > 0 ? dws.shift() : tf.zeros([D, N])));
  return {
    split: pass(
      { backward },
      () => () => split,
      [x, ...used.map((e) => ws[e])],
      g,
      (y, [dx, ...dws]) => (dx ? { y, dx, dw: all(dws) } : { y }),
    ),
    padded: pass(
      { backward },
      () => padded,
      [x, w],
      g,
      (y, [dx, dw]) => (dx ? { y, dx, dw } : { y }),
    ),
  };
}

/** Adam of tfjs, after its weights were made smaller: it has no decay of its own. */
function adamw({ lr, decay }, inputs) {
  const gradient = tensorOf(inputs.g);
  const weights = tf.variable(tensorOf(inputs.p));
  const optimizer = tf.train.adam(lr, 0.9, 0.999, 1e-8);
  return job(async () =>
    tf.tidy(() => {
      weights.assign(tf.mul(weights, 1 - lr * decay));
      optimizer.applyGradients({ [weights.name]: gradient });
      return { p: tf.clone(weights) };
    }),
  );
}

function launches({ count }, inputs) {
  const x = tensorOf(inputs.x);
  return job(async () =>
    tf.tidy(() => {
      let y = x;
      for (let i = 0; i < count; i++) y = tf.add(y, 1);
      return { y };
    }),
  );
}

/** Not a job of `once` and `all`: what it reads is all there is. */
function readback(inputs) {
  const x = tensorOf(inputs.x);
  const all = async () => {
    const y = tf.add(x, 1);
    const read = await numbersOf(y);
    y.dispose();
    return { y: read };
  };
  return { once: all, all };
}
