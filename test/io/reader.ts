/** A reader of safetensors files, written from the format's description alone and as short as it can be. */
export interface Raw {
  readonly dtype: string;
  readonly shape: number[];
  readonly bytes: Uint8Array;
}

export function readRaw(file: Uint8Array): { tensors: Record<string, Raw>; metadata: unknown; start: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const start = 8 + view.getUint32(0, true) + 2 ** 32 * view.getUint32(4, true);
  const { __metadata__: metadata, ...header } = JSON.parse(Buffer.from(file.subarray(8, start)).toString("utf8"));
  const tensors = Object.entries(header as Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>);
  return {
    tensors: Object.fromEntries(
      tensors.map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [a, b],
          },
        ]) => [name, { dtype, shape, bytes: file.subarray(start + a, start + b) }],
      ),
    ),
    metadata,
    start,
  };
}

/** The bytes of a file with this header, as text or as an object, and these numbers. */
export function fileOf(header: string | object, data: ArrayLike<number> = []): Uint8Array {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header), "utf8");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return new Uint8Array(Buffer.concat([length, text, Uint8Array.from(data)]));
}
