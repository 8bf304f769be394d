/** What must come out: every task in float64, by loops that are read off the formulas and share nothing with the library. */
import type { GroupedTask, MatmulTask, MoETask, Task, Unary } from "./cases.ts";
import type { Inputs } from "./data.ts";

export type Expected = Record<string, Float64Array>;
type Numbers = ArrayLike<number>;

/** The exact outputs of a task: y, or what the matrices are called; d… for gradients. */
export function expectedOf(task: Task, inputs: Inputs): Expected {
  const { x, index } = inputs;
  switch (task.kind) {
    case "matmul":
      return matmul(task, inputs);
    case "grouped":
      return grouped(task, inputs);
    case "moe":
      return layer(task, inputs);
    case "topk":
      return top2(x.data, task.rows, task.width);
    case "softmax":
      return { y: softmax(x.data, task.rows, task.width) };
    case "unary":
      return { y: Float64Array.from(x.data, functions[task.fn]) };
    case "gather":
      return { y: takeRows(x.data, index.data, task.width) };
    case "scatterAdd":
      return { y: addRows(new Float64Array(x.data.length), x.data, index.data, task.width) };
    case "tiny":
      return { y: Float64Array.of(0.75) };
    case "step":
      return {};
  }
}

/** c [M, N] += a [M, K] · b [K, N] */
function product(a: Numbers, b: Numbers, M: number, K: number, N: number): Float64Array {
  const c = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let k = 0; k < K; k++) {
      const factor = a[m * K + k];
      for (let n = 0, i = m * N, j = k * N; n < N; n++) c[i++] += factor * b[j++];
    }
  }
  return c;
}

function transposed(a: Numbers, M: number, N: number): Float64Array {
  const t = new Float64Array(M * N);
  for (let m = 0; m < M; m++) for (let n = 0; n < N; n++) t[n * M + m] = a[m * N + n];
  return t;
}

function matmul({ M, K, N, backward }: MatmulTask, { a, b, g }: Inputs): Expected {
  const c = product(a.data, b.data, M, K, N);
  if (!backward) return { c };
  return {
    c,
    da: product(g.data, transposed(b.data, K, N), M, N, K),
    db: product(transposed(a.data, M, K), g.data, K, M, N),
  };
}

function grouped({ sizes, D, N, backward }: GroupedTask, { x, w, g }: Inputs): Expected {
  const [S] = x.shape;
  const [y, dx, dw] = [S * N, S * D, w.data.length].map((n) => new Float64Array(n));
  let from = 0;
  sizes.forEach((n, e) => {
    const part = (a: Float32Array | Int32Array, width: number) => a.subarray(from * width, (from + n) * width);
    const matrix = w.data.subarray(e * D * N, (e + 1) * D * N);
    y.set(product(part(x.data, D), matrix, n, D, N), from * N);
    dx.set(product(part(g.data, N), transposed(matrix, D, N), n, N, D), from * D);
    dw.set(product(transposed(part(x.data, D), n, D), part(g.data, N), D, n, N), e * D * N);
    from += n;
  });
  return backward ? { y, dx, dw } : { y };
}

function softmax(x: Numbers, rows: number, width: number): Float64Array {
  const y = Float64Array.from(x);
  for (let r = 0; r < rows; r++) {
    const row = y.subarray(r * width, (r + 1) * width);
    const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
    row.forEach((value, i) => {
      row[i] = Math.exp(value - most);
    });
    const sum = row.reduce((a, b) => a + b, 0);
    row.forEach((value, i) => {
      row[i] = value / sum;
    });
  }
  return y;
}

function top2(x: Numbers, rows: number, width: number): Expected {
  const [values, indices] = [new Float64Array(2 * rows), new Float64Array(2 * rows)];
  for (let r = 0; r < rows; r++) {
    best(
      Array.from({ length: width }, (_, i) => x[r * width + i]),
      2,
    ).forEach((i, k) => {
      indices[2 * r + k] = i;
      values[2 * r + k] = x[r * width + i];
    });
  }
  return { values, indices };
}

/** Positions of the k largest, largest first. */
function best(list: readonly number[], k: number): number[] {
  const order = [...list.keys()].sort((i, j) => list[j] - list[i]);
  return order.slice(0, k);
}

function takeRows(x: Numbers, index: Numbers, width: number): Float64Array {
  return Float64Array.from(
    { length: index.length * width },
    (_, i) => x[index[Math.floor(i / width)] * width + (i % width)],
  );
}

/** y[index[r]] += rows[r] */
function addRows(y: Float64Array, rows: Numbers, index: Numbers, width: number): Float64Array {
  for (let i = 0; i < rows.length; i++) y[index[Math.floor(i / width)] * width + (i % width)] += rows[i];
  return y;
}

/** erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ·x^(2n+1) / (1·3·5 ⋯ (2n+1)), whose terms all have one sign. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let [term, sum] = [x, 0];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    sum += term;
    term *= (2 * x * x) / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const inner = (x: number): number => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const distribution = (x: number): number => (1 + erf(x / Math.SQRT2)) / 2;

const functions: Readonly<Record<Unary, (x: number) => number>> = {
  exp: Math.exp,
  tanh: Math.tanh,
  "gelu tanh": (x) => 0.5 * x * (1 + Math.tanh(inner(x))),
  "gelu exact": (x) => x * distribution(x),
};

const slopes: Readonly<Record<MoETask["gelu"], (x: number) => number>> = {
  tanh: (x) => {
    const t = Math.tanh(inner(x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
  },
  exact: (x) => distribution(x) + x * density(x),
};

interface Chosen {
  /** expert → its tokens */
  readonly tokens: readonly (readonly number[])[];
  /** [T, E]: what multiplies the expert's output for the token, 0 where it was not chosen */
  readonly gates: Float64Array;
  /** How far the nearest choice was from going the other way, as a difference of logits or of probabilities. */
  readonly margin: number;
}

/** Who goes where. */
export function choose({ T, D, E, router }: MoETask, { x, wr }: Inputs): Chosen {
  const logits = product(x.data, wr.data, T, D, E);
  const probs = softmax(logits, T, E);
  const tokens: number[][] = Array.from({ length: E }, () => []);
  const gates = new Float64Array(T * E);
  let margin = Infinity;
  if (router === "top2") {
    for (let t = 0; t < T; t++) {
      const row = Array.from(logits.subarray(t * E, (t + 1) * E));
      const [first, second, third] = best(row, 3);
      margin = Math.min(margin, third === undefined ? Infinity : row[second] - row[third]);
      for (const e of [first, second].sort((a, b) => a - b)) {
        tokens[e].push(t);
        gates[t * E + e] = probs[t * E + e] / (probs[t * E + first] + probs[t * E + second]);
      }
    }
  } else {
    const C = Math.floor((2 * T) / E);
    for (let e = 0; e < E; e++) {
      const column = Array.from({ length: T }, (_, t) => probs[t * E + e]);
      const order = best(column, C + 1);
      margin = Math.min(margin, column[order[C - 1]] - column[order[C]]);
      tokens[e] = order.slice(0, C).sort((a, b) => a - b);
      for (const t of tokens[e]) gates[t * E + e] = column[t];
    }
  }
  return { tokens, gates, margin };
}

/** y[t] = Σ_e gate[t, e] · gelu(x[t] · w1[e]) · w2[e], and the gradients of Σ y ⊙ g. */
function layer(task: MoETask, inputs: Inputs): Expected {
  const { T, D, F, E, gelu, backward } = task;
  const { x, wr, w1, w2, g } = inputs;
  const { tokens, gates } = choose(task, inputs);
  const [y, dx] = [new Float64Array(T * D), new Float64Array(T * D)];
  const [dgates, dw1, dw2] = [T * E, E * D * F, E * F * D].map((n) => new Float64Array(n));
  tokens.forEach((chosen, e) => {
    const n = chosen.length;
    const scaled = (rows: Float64Array) => rows.map((value, i) => value * gates[chosen[Math.floor(i / D)] * E + e]);
    const up = w1.data.subarray(e * D * F, (e + 1) * D * F);
    const down = w2.data.subarray(e * F * D, (e + 1) * F * D);
    const rows = takeRows(x.data, chosen, D);
    const u = product(rows, up, n, D, F);
    const h = u.map(functions[`gelu ${gelu}`]);
    const out = product(h, down, n, F, D);
    addRows(y, scaled(out), chosen, D);
    if (!backward) return;
    const dy = takeRows(g.data, chosen, D);
    for (let i = 0; i < n * D; i++) dgates[chosen[Math.floor(i / D)] * E + e] += dy[i] * out[i];
    const dout = scaled(dy);
    dw2.set(product(transposed(h, n, F), dout, F, n, D), e * F * D);
    const slope = u.map(slopes[gelu]);
    const du = product(dout, transposed(down, F, D), n, D, F).map((value, i) => value * slope[i]);
    dw1.set(product(transposed(rows, n, D), du, D, n, F), e * D * F);
    addRows(dx, product(du, transposed(up, D, F), n, F, D), chosen, D);
  });
  if (!backward) return { y };
  const dlogits = routerGradient(task, gates, dgates, softmax(product(x.data, wr.data, T, D, E), T, E));
  product(dlogits, transposed(wr.data, D, E), T, E, D).forEach((value, i) => {
    dx[i] += value;
  });
  return { y, dx, dwr: product(transposed(x.data, T, D), dlogits, D, T, E), dw1, dw2 };
}

/** From gates to logits. Both routers' gates are a softmax p: over the two that were chosen, or over all experts. */
function routerGradient({ E, router }: MoETask, gates: Float64Array, dgates: Float64Array, probs: Float64Array) {
  const p = router === "top2" ? gates : probs;
  return dgates.map((dgate, i) => {
    const first = i - (i % E);
    let mean = 0;
    for (let e = 0; e < E; e++) mean += p[first + e] * dgates[first + e];
    return p[i] * (dgate - mean);
  });
}
