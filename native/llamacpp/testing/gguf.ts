import { writeFileSync } from 'node:fs';

/** Values are strings, 32-bit unsigned integers or 32-bit floats. */
export type GgufValue = string | { readonly uint32: number } | { readonly float32: number };

export interface GgufTensor {
  readonly name: string;
  /** Fastest first. */
  readonly dimensions: readonly number[];
  readonly values: Float32Array;
}

const types = { uint32: 4, float32: 6, string: 8 } as const;

/** Writes a GGUF file of version 3 whose tensors are all f32. */
export function writeGguf(
  file: string,
  keys: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): void {
  const entries = Object.entries(keys).map(([key, value]) => Buffer.concat([text(key), valueBytes(value)]));
  let offset = 0;
  const infos = tensors.map(({ name, dimensions, values }) => {
    const place = offset;
    offset = aligned(offset + values.byteLength);
    const rank = numbers(4, dimensions.length);
    return Buffer.concat([text(name), rank, numbers(8, ...dimensions), numbers(4, 0), numbers(8, place)]);
  });
  const counts = numbers(8, tensors.length, entries.length);
  const header = Buffer.concat([Buffer.from('GGUF'), numbers(4, 3), counts, ...entries, ...infos]);
  const data = tensors.map(({ values }) => padded(Buffer.from(values.buffer, values.byteOffset, values.byteLength)));
  writeFileSync(file, Buffer.concat([padded(header), ...data]));
}

function valueBytes(value: GgufValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([numbers(4, types.string), text(value)]);
  if ('uint32' in value) return Buffer.concat([numbers(4, types.uint32), numbers(4, value.uint32)]);
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value.float32);
  return Buffer.concat([numbers(4, types.float32), bytes]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([numbers(8, bytes.length), bytes]);
}

function numbers(width: 4 | 8, ...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(width * values.length);
  values.forEach((value, index) => {
    if (width === 4) bytes.writeUInt32LE(value, index * 4);
    else bytes.writeBigUInt64LE(BigInt(value), index * 8);
  });
  return bytes;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / 32) * 32;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(aligned(bytes.length) - bytes.length)]);
}
