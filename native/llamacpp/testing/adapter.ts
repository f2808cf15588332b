import { writeGguf } from './gguf.ts';

/** Writes a LoRA adapter of rank 1 for the query projections of a llama model: every row gets the same push. */
export function writeAdapter(
  file: string,
  shape: { readonly embedding: number; readonly layers: number; readonly strength: number },
): void {
  const { embedding, layers, strength } = shape;
  const keys = {
    'general.type': 'adapter',
    'general.architecture': 'llama',
    'adapter.type': 'lora',
    'adapter.lora.alpha': { float32: 1 },
  };
  const names = Array.from({ length: layers }, (_, layer) => [
    { name: `blk.${layer}.attn_q.weight.lora_a`, dimensions: [embedding, 1] },
    { name: `blk.${layer}.attn_q.weight.lora_b`, dimensions: [1, embedding] },
  ]).flat();
  const tensors = names.map((tensor, place) => ({
    ...tensor,
    values: Float32Array.from({ length: embedding }, (_, index) => strength * Math.sin(index * 0.7 + place)),
  }));
  writeGguf(file, keys, tensors);
}
