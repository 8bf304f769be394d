/**
 * A task on which a mixture can win or collapse: clusters that each ask for a function of their own.
 *
 *   centres c_k and a common direction m, orthonormal in R^D; a shared map A and one map B_k for each of K clusters
 *   x = common · m + separation · c_k + ξ,  ξ ~ N(0, I)           k drawn evenly
 *   y = (A + B_k) · ξ / √D                                         what is to be told from x
 *
 * `common` is what all samples share, as hidden states of a trained network do: along it a linear router can raise an expert for
 * everything at once, which is how a collapse spreads. `separation` says how well the clusters can be told apart: at 0 nothing
 * in x says which B_k to use, and the best that anybody can do is their mean.
 */
import { type Generator, type Tensor, tensor } from "../../../src/index.ts";
import { dot } from "./data.ts";

export interface ClusteredData {
  readonly dim: number;
  readonly clusters: number;
  readonly common: number;
  readonly separation: number;
}

/** Draws batches of one task. */
export interface Clustered {
  draw(n: number, rng: Generator): { readonly x: Tensor; readonly y: Tensor; readonly cluster: Int32Array };
}

const normals = (n: number, rng: Generator): Float64Array => Float64Array.from({ length: n }, () => rng.normal());

/** `count` random orthonormal vectors, by Gram and Schmidt's method. */
function orthonormal(count: number, dim: number, rng: Generator): Float64Array[] {
  const basis: Float64Array[] = [];
  while (basis.length < count) {
    const x = normals(dim, rng);
    for (const b of basis) {
      const along = dot(x, b);
      for (let d = 0; d < dim; d++) x[d] -= along * b[d];
    }
    const length = Math.sqrt(dot(x, x));
    basis.push(x.map((value) => value / length));
  }
  return basis;
}

/** The task of a seed: its directions and maps. */
export function clusteredTask({ dim: D, clusters: K, common, separation }: ClusteredData, rng: Generator): Clustered {
  const [mean, ...centres] = orthonormal(K + 1, D, rng.split("directions"));
  const shared = normals(D * D, rng.split("shared map"));
  const maps = centres.map((_, k) => {
    const own = normals(D * D, rng.split(`map ${k}`));
    return own.map((value, i) => (value + shared[i]) / Math.sqrt(D));
  });
  return {
    draw(n, source) {
      const [x, y, cluster] = [new Float32Array(n * D), new Float32Array(n * D), new Int32Array(n)];
      for (let i = 0; i < n; i++) {
        const k = source.integer(K);
        const noise = normals(D, source);
        for (let d = 0; d < D; d++) {
          x[i * D + d] = common * mean[d] + separation * centres[k][d] + noise[d];
          y[i * D + d] = dot(noise, maps[k].subarray(d * D, (d + 1) * D));
        }
        cluster[i] = k;
      }
      return { x: tensor(x).reshape([n, D]), y: tensor(y).reshape([n, D]), cluster };
    },
  };
}
