/**
 * js-pytorch on its CPU: tensors are nested arrays of numbers. It has neither gelu nor scatter-add, so gelu is written with
 * exp, and rows are added back by a product with a one-hot matrix.
 */
import { torch } from "js-pytorch";
import { choiceSlots, matricesOf, top2Slots } from "./slots.mjs";

export async function open() {
  return { how: "nested arrays, one thread", prepare };
}

function nested({ data, shape }) {
  if (shape.length === 1) return Array.from(data);
  const size = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) =>
    nested({ data: data.subarray(i * size, (i + 1) * size), shape: shape.slice(1) }),
  );
}
const tensorOf = (array, requiresGrad = false) => torch.tensor(nested(array), requiresGrad);
const numbersOf = (x) => (Array.isArray(x) ? x : x._data).flat(Infinity);
const job = (call, repeat) => ({
  call,
  repeat,
  read: (results) => Object.fromEntries(Object.entries(results).map(([name, x]) => [name, numbersOf(x)])),
});

function prepare(task, inputs) {
  const { x } = inputs;
  switch (task.kind) {
    case "matmul":
      return matmul(task, inputs);
    case "moe":
      return layer(task, inputs);
    case "softmax": {
      const [softmax, t] = [new torch.nn.Softmax(), tensorOf(x)];
      return job(() => ({ y: softmax.forward(t, -1) }));
    }
    case "gather": {
      const [t, index] = [tensorOf(x), Array.from(inputs.index.data)];
      return job(() => ({ y: t.at(index) }));
    }
    case "unary": {
      const t = tensorOf({ data: x.data, shape: [x.data.length / 256, 256] });
      return job(() => ({ y: task.fn === "exp" ? torch.exp(t) : gelu(t) }));
    }
    case "tiny": {
      const [a, b] = [torch.tensor([0.5], true), torch.tensor([0.25])];
      return job(() => {
        let y = a;
        for (let i = 0; i < 1000; i++) y = a.add(b);
        a.children.length = 0;
        return { y };
      }, 1000);
    }
  }
}

/** x / (1 + exp(−2·√(2/π)·(x + 0.044715·x³))): tanh's gelu. */
function gelu(x) {
  const c = -2 * Math.sqrt(2 / Math.PI);
  const inner = x.mul(c).add(
    x
      .mul(x)
      .mul(x)
      .mul(0.044715 * c),
  );
  return x.div(inner.exp().add(1));
}

/** Gradients of Σ y ⊙ g: backward begins at one number. */
function gradients(y, g, leaves) {
  for (const x of leaves) x.zero_grad();
  y.mul(g).sum().backward();
  return leaves.map(({ _grad }) => _grad);
}

function matmul({ backward }, inputs) {
  const [a, b] = [tensorOf(inputs.a, backward), tensorOf(inputs.b, backward)];
  const g = tensorOf(inputs.g);
  return job(() => {
    const c = torch.matmul(a, b);
    if (!backward) return { c };
    const [da, db] = gradients(c, g, [a, b]);
    return { c, da, db };
  });
}

function layer({ T, D, E, router, backward }, inputs) {
  const top2 = router === "top2";
  const [x, wr] = [tensorOf(inputs.x, backward), tensorOf(inputs.wr, backward)];
  const weights = [...matricesOf(inputs.w1), ...matricesOf(inputs.w2)].map((w) => tensorOf(w, backward));
  const g = tensorOf(inputs.g);
  const wide = torch.ones([1, D]);
  const softmax = new torch.nn.Softmax();

  const expert = (e, tokens, probs) => {
    const n = tokens.length;
    const columns = tokens.map(() => e);
    // A column does not stretch over a matrix, so it is made one by a product with ones.
    const gates = torch.matmul(probs.at(tokens, columns).reshape([n, 1]), wide);
    const h = gelu(torch.matmul(x.at(tokens), weights[e]));
    const y = torch.matmul(h, weights[E + e]).mul(gates);
    return torch.matmul(torch.tensor(ones(T, n, tokens, [...tokens.keys()])), y);
  };
  const forward = () => {
    const logits = torch.matmul(x, wr);
    const { tokensOf, tokenOfSlot, expertOfSlot } = route(logits._data, softmax, T, E, top2);
    const chosen = torch.tensor(ones(T, E, tokenOfSlot, expertOfSlot));
    const kept = top2 ? logits.masked_fill(chosen, (one) => one === 0, -1e9) : logits;
    const probs = softmax.forward(kept, -1);
    const parts = tokensOf.flatMap((tokens, e) => (tokens.length > 0 ? [expert(e, tokens, probs)] : []));
    return parts.reduce((a, b) => a.add(b));
  };
  return job(() => {
    const y = forward();
    if (!backward) return { y };
    const [dx, dwr, ...dws] = gradients(y, g, [x, wr, ...weights]);
    return { y, dx, dwr, dw1: dws.slice(0, E).flatMap(numbersOf), dw2: dws.slice(E).flatMap(numbersOf) };
  });
}

/** A matrix with ones at these places. */
function ones(rows, columns, rowOf, columnOf) {
  const matrix = Array.from({ length: rows }, () => new Array(columns).fill(0));
  rowOf.forEach((row, i) => {
    matrix[row][columnOf[i]] = 1;
  });
  return matrix;
}

/** Where tokens go, sorted on the host: there is no top-k. */
function route(logits, softmax, T, E, top2) {
  if (top2) {
    const chosen = logits.map((row) => best(row, 2));
    return top2Slots(chosen.flat(), T, E);
  }
  const probs = softmax.forward(torch.tensor(logits), -1)._data;
  const columns = Array.from({ length: E }, (_, e) => probs.map((row) => row[e]));
  const chosen = columns.map((column) => best(column, (2 * T) / E));
  return choiceSlots(Int32Array.from(chosen.flat()), T, E);
}

/** Positions of the k largest, largest first. */
function best(list, k) {
  const order = [...list.keys()].sort((i, j) => list[j] - list[i]);
  return order.slice(0, k);
}
