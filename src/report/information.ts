/**
 * Information: how much the choice of an expert says about a label, and the label about the expert.
 *
 * All figures are read off a table of counts, in nats (natural logarithm). With p the counts over their sum:
 *
 *   H(X)        = −Σ_x p(x) ln p(x)                            what there is to know
 *   H(X | Y)    = Σ_y p(y) H(X | Y = y)                        what is left to know once Y is known
 *   I(X; Y)     = H(X) − H(X | Y) = H(Y) − H(Y | X)            what each says about the other
 *
 * They describe the counts as they are (the plug-in estimate). From few counts I comes out too high: `chanceInformation`
 * says by about how much.
 */
import { rangeError, show, typeError } from "../errors.ts";

/** A list of counts or a typed array of them. */
export type Counts = ArrayLike<number>;
/** A table of counts as a list of rows of one length. */
export type CountMatrix = readonly Counts[];

/**
 * Entropy of a list of counts.
 *
 *   H = −Σ_i (n_i / n) ln(n_i / n),  n = Σ_i n_i
 *
 * Edges    empty counts add nothing; without any count H is 0
 * Shapes   counts [N] → nats, 0 ≤ H ≤ ln N
 * Throws   RangeError for a negative or infinite count
 */
export function entropy(counts: Counts): number {
  checkCounts("entropy", "counts", counts);
  return entropyOf(counts);
}

/**
 * Conditional entropy H(column | row): what is left to know of the column once the row is known.
 *
 *   H = Σ_i (n_i / n) H(row i),  n_i = Σ_j n_ij
 *
 * Edges    empty rows add nothing; without any count H is 0
 * Shapes   matrix [rows][columns] → nats, 0 ≤ H ≤ H(column)
 * Throws   RangeError for rows of different lengths and for negative or infinite counts
 */
export function conditionalEntropy(matrix: CountMatrix): number {
  checkMatrix("conditionalEntropy", matrix);
  return conditionalEntropyOf(matrix);
}

/**
 * Dispatch entropy H(cluster | expert): 0 when every expert sees one cluster only, however many share a cluster; H(cluster)
 * when the expert says nothing, and so also when one expert takes everything.
 *
 *   H = −Σ_m (n_m / n) Σ_k (n_km / n_m) ln(n_km / n_m)          k clusters (labels), m experts
 *
 * The matrix has a row a cluster, as the tables of the paper; the `matrix` of a report has a row an expert, and its figure is
 * there already, as `dispatchEntropy`.
 *
 * Shapes   matrix [clusters][experts] → nats, 0 ≤ H ≤ H(cluster) ≤ ln(number of clusters)
 * Throws   RangeError for rows of different lengths and for negative or infinite counts
 * Source   Chen et al., Towards Understanding Mixture of Experts in Deep Learning, Eq. 6.1
 */
export function dispatchEntropy(matrix: CountMatrix): number {
  checkMatrix("dispatchEntropy", matrix);
  return conditionalEntropyOf(transpose(matrix));
}

/**
 * Mutual information of row and column; the transpose has the same.
 *
 *   I = Σ_ij (n_ij / n) ln(n · n_ij / (n_i · n_j))
 *
 * Edges    0 without any count, and with a single row or column
 * Shapes   matrix [rows][columns] → nats, 0 ≤ I ≤ min(H(row), H(column))
 * Throws   RangeError for rows of different lengths and for negative or infinite counts
 */
export function mutualInformation(matrix: CountMatrix): number {
  checkMatrix("mutualInformation", matrix);
  return mutualInformationOf(matrix);
}

/**
 * Mutual information over the mean of both entropies: 1 when row and column name each other, 0 when neither says anything.
 *
 *   NMI = 2 I / (H(row) + H(column))
 *
 * Edges    0 when both entropies are 0: there is nothing to agree about
 * Shapes   matrix [rows][columns] → 0 … 1
 * Throws   RangeError for rows of different lengths and for negative or infinite counts
 */
export function normalizedMutualInformation(matrix: CountMatrix): number {
  checkMatrix("normalizedMutualInformation", matrix);
  const both = entropyOf(matrix.map(sum)) + entropyOf(columnSums(matrix));
  return both > 0 ? Math.min(1, (2 * mutualInformationOf(matrix)) / both) : 0;
}

/**
 * Purity: the part that is right if every expert is taken for its most frequent label.
 *
 *   purity = Σ_m max_k n_km / n                                 k labels, m experts
 *
 * It can only rise with the number of experts, and starts from the most frequent label's part, not from 0.
 *
 * Edges    0 without any count
 * Shapes   matrix [labels][experts] → 0 … 1
 * Throws   RangeError for rows of different lengths and for negative or infinite counts
 */
export function purity(matrix: CountMatrix): number {
  checkMatrix("purity", matrix);
  return purityOf(transpose(matrix));
}

/**
 * What the mutual information comes to, on average and about, when row and column have nothing to do with each other.
 *
 *   (R − 1)(C − 1) / 2n                                         R and C rows and columns that are not empty
 *
 * Edges    never above min(H(row), H(column)); 0 without any count
 * Shapes   matrix [rows][columns] → nats
 * Error    first order in 1/n: too high where most cells hold less than about one count
 * Throws   RangeError for rows of different lengths and for negative or infinite counts
 * Source   Miller, Note on the bias of information estimates (1955)
 */
export function chanceInformation(matrix: CountMatrix): number {
  checkMatrix("chanceInformation", matrix);
  const rows = matrix.map(sum);
  const columns = columnSums(matrix);
  const total = sum(rows);
  if (total === 0) return 0;
  const freedom = (rows.filter((n) => n > 0).length - 1) * (columns.filter((n) => n > 0).length - 1);
  return Math.min(freedom / (2 * total), entropyOf(rows), entropyOf(columns));
}

/** The same counts with rows and columns exchanged; an empty table stays empty. */
export function transpose(matrix: CountMatrix): number[][] {
  const columns = matrix.length > 0 ? matrix[0].length : 0;
  return Array.from({ length: columns }, (_, j) => matrix.map((row) => row[j]));
}

/** Σ_j of each column of the table. */
export function columnSums(matrix: CountMatrix): number[] {
  return transpose(matrix).map(sum);
}

/** Sum of a list of numbers. */
export function sum(xs: Counts): number {
  let total = 0;
  for (let i = 0; i < xs.length; i++) total += xs[i];
  return total;
}

// The forms below trust their input: a report calls them on tables that it counted itself.

export function entropyOf(counts: Counts): number {
  const total = sum(counts);
  let h = 0;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] > 0) h -= (counts[i] / total) * Math.log(counts[i] / total);
  }
  // A single kind gives −0.
  return Math.max(0, h);
}

export function conditionalEntropyOf(matrix: CountMatrix): number {
  const total = sum(matrix.map(sum));
  if (total === 0) return 0;
  let h = 0;
  for (const row of matrix) h += (sum(row) / total) * entropyOf(row);
  return h;
}

export function mutualInformationOf(matrix: CountMatrix): number {
  const rows = matrix.map(sum);
  const columns = columnSums(matrix);
  const total = sum(rows);
  let information = 0;
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < columns.length; j++) {
      const n = matrix[i][j];
      // Products of whole counts are exact, so independent rows and columns give ln 1 = 0.
      if (n > 0) information += (n / total) * Math.log((n * total) / (rows[i] * columns[j]));
    }
  }
  // Nearly independent rows and columns can come out a rounding below 0.
  return Math.max(0, information);
}

/** Σ_rows max_columns over the total. */
export function purityOf(matrix: CountMatrix): number {
  const total = sum(matrix.map(sum));
  if (total === 0) return 0;
  return sum(matrix.map((row) => Array.from(row).reduce((a, b) => Math.max(a, b), 0))) / total;
}

function checkCounts(op: string, argument: string, counts: Counts): void {
  if (typeof counts?.length !== "number" || typeof counts === "string") {
    throw typeError(op, argument, show(counts), "a list of counts");
  }
  for (let i = 0; i < counts.length; i++) {
    if (typeof counts[i] !== "number") throw typeError(op, `${argument}[${i}]`, show(counts[i]), "a number");
    if (!(counts[i] >= 0 && counts[i] < Number.POSITIVE_INFINITY)) {
      throw rangeError(op, `${argument}[${i}]`, show(counts[i]), "a finite count of at least 0");
    }
  }
}

function checkMatrix(op: string, matrix: CountMatrix): void {
  if (!Array.isArray(matrix)) throw typeError(op, "matrix", show(matrix), "a list of rows of counts");
  matrix.forEach((row, i) => {
    checkCounts(op, `matrix[${i}]`, row);
    if (row.length !== matrix[0].length) {
      throw rangeError(
        op,
        `matrix[${i}]`,
        `${row.length} counts`,
        `${matrix[0].length}`,
        "all rows have the same length",
      );
    }
  });
}
