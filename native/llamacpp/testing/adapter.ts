import { writeFileSync } from 'node:fs';

/** GGUF value types. */
const types = { float32: 6, string: 8 } as const;

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes]);
}

function numbers(width: 4 | 8, ...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(width * values.length);
  values.forEach((value, index) => {
    if (width === 4) bytes.writeUInt32LE(value, index * 4);
    else bytes.writeBigUInt64LE(BigInt(value), index * 8);
  });
  return bytes;
}

/** Writes a LoRA adapter of rank 1 for the query projections of a llama model: every row gets the same push. */
export function writeAdapter(
  file: string,
  shape: { readonly embedding: number; readonly layers: number; readonly strength: number },
): void {
  const { embedding, layers, strength } = shape;
  const alpha = Buffer.alloc(4);
  alpha.writeFloatLE(1);
  const strings: [string, string][] = [
    ['general.type', 'adapter'],
    ['general.architecture', 'llama'],
    ['adapter.type', 'lora'],
  ];
  const keys = strings.map(([key, value]) => Buffer.concat([text(key), numbers(4, types.string), text(value)]));
  keys.push(Buffer.concat([text('adapter.lora.alpha'), numbers(4, types.float32), alpha]));
  const tensors = Array.from({ length: layers }, (_, layer) => [
    { name: `blk.${layer}.attn_q.weight.lora_a`, dimensions: [embedding, 1] },
    { name: `blk.${layer}.attn_q.weight.lora_b`, dimensions: [1, embedding] },
  ]).flat();
  const bytes = embedding * 4;
  const infos = tensors.map(({ name, dimensions }, index) =>
    Buffer.concat([text(name), numbers(4, 2), numbers(8, ...dimensions), numbers(4, 0), numbers(8, index * bytes)]),
  );
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    numbers(4, 3),
    numbers(8, tensors.length, keys.length),
    ...keys,
    ...infos,
  ]);
  const padding = Buffer.alloc((32 - (header.length % 32)) % 32);
  const data = tensors.map((_, tensor) => {
    const values = Float32Array.from({ length: embedding }, (_, index) => strength * Math.sin(index * 0.7 + tensor));
    return Buffer.from(values.buffer);
  });
  writeFileSync(file, Buffer.concat([header, padding, ...data]));
}
