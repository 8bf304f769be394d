/**
 * How arrays lie in textures and buffers, and what a kernel's text does to find its cell and to fetch a texel.
 */

/** How arrays lie on a route: in texels, or in buffers where fours and single numbers are the same. */
export type Layout = "texels" | "buffers";

/** The widths of textures: few, so that a shader knows what to divide by. */
const NARROW = 64;
const WIDE = 4096;

/**
 * The size of an output of so many threads. WebGL: a texture of one of two widths; the last row may have some to spare, which
 * nobody reads, and of a single row gpu.js would make a square. WebGPU: one dim, since of more than one gpu.js makes groups of
 * 8 × 8 threads, of which most would have nothing to do.
 */
export function outputSize(threads: number, layout: Layout): readonly number[] {
  if (layout === "buffers") return [threads];
  const width = threads <= NARROW * WIDE ? NARROW : WIDE;
  return [width, Math.max(2, Math.ceil(threads / width))];
}

/** The cell of a thread, on both. */
export const CELL = "this.thread.y * this.output.x + this.thread.x";

/**
 * GLSL in front of every kernel: how a texel is fetched. gpu.js divides integers to find its place, twice, which costs as much
 * as the fetch, and a matrix product does little else. Here the widths are powers of two that the shader knows, so that a
 * product of floats is exact. (texelFetch takes longer where it was measured.)
 */
export const fetchText = (version: 1 | 2): string => `
vec4 texelOf(sampler2D tex, ivec2 size, int index) {
  float step = size.x > ${NARROW} ? ${1 / WIDE} : ${1 / NARROW};
  float place = float(index) * step;
  float row = floor(place);
  return texture${version === 2 ? "" : "2D"}(tex, vec2(place - row + 0.5 * step, (row + 0.5) / float(size.y)));
}
#define getVec4FromSampler2D(tex, size, dim, z, y, x) texelOf(tex, size, x)
#define getFloatFromSampler2D(tex, size, dim, z, y, x) texelOf(tex, size, x)[0]
`;

/** Uploads, one number a texel or four: an array of two dims is indexed by integers, so that 2²⁶ numbers can be reached. */
export const UPLOAD = `function (x) {\n  return x[${CELL}];\n}`;
export const UPLOAD_FOURS = `function (x) {
  const i = ${CELL};
  return [x[i][0], x[i][1], x[i][2], x[i][3]];
}`;

/** From one number a texel to four, and back. */
export const PACK = `function (x) {
  const i = 4 * (${CELL});
  return [x[i], x[i + 1], x[i + 2], x[i + 3]];
}`;
export const UNPACK = `function (x) {
  const i = ${CELL};
  const q = Math.floor((i + 0.5) / 4);
  const c = i - 4 * q;
  const v = x[q];
  let y = v[0];
  if (c > 0.5) {
    y = v[1];
  }
  if (c > 1.5) {
    y = v[2];
  }
  if (c > 2.5) {
    y = v[3];
  }
  return y;
}`;
