import { type GgufTensor, writeGguf } from './gguf.ts';

const sizes = { embedding: 64, heads: 4, keyHeads: 2, headSize: 16, feedForward: 96, layers: 7, vocab: 512 } as const;

export interface TinyModel {
  /** gemma3: six of seven layers have the sliding window. */
  readonly architecture: 'llama' | 'gemma3';
  /** Tokens; only for gemma3. */
  readonly slidingWindow?: number;
  readonly seed: number;
}

/** Writes a model of random weights and no tokenizer, small enough that a test computes thousands of tokens. */
export function writeTinyModel(file: string, model: TinyModel): void {
  const { architecture, slidingWindow = 0 } = model;
  const { embedding, heads, keyHeads, headSize, feedForward, layers, vocab } = sizes;
  const key = (name: string) => `${architecture}.${name}`;
  const keys = {
    'general.architecture': architecture,
    [key('context_length')]: { uint32: 4096 },
    [key('embedding_length')]: { uint32: embedding },
    [key('block_count')]: { uint32: layers },
    [key('feed_forward_length')]: { uint32: feedForward },
    [key('attention.head_count')]: { uint32: heads },
    [key('attention.head_count_kv')]: { uint32: keyHeads },
    [key('attention.key_length')]: { uint32: headSize },
    [key('attention.value_length')]: { uint32: headSize },
    [key('rope.dimension_count')]: { uint32: headSize },
    [key('attention.layer_norm_rms_epsilon')]: { float32: 1e-6 },
    [key('vocab_size')]: { uint32: vocab },
    ...(slidingWindow > 0 ? { [key('attention.sliding_window')]: { uint32: slidingWindow } } : {}),
    'tokenizer.ggml.model': 'no_vocab',
  };
  writeGguf(file, keys, tensorsOf(architecture, generator(model.seed)));
}

function tensorsOf(architecture: TinyModel['architecture'], random: () => number): GgufTensor[] {
  const { embedding, heads, keyHeads, headSize, feedForward, layers, vocab } = sizes;
  const matrix = (name: string, from: number, to: number): GgufTensor => ({
    name: `${name}.weight`,
    dimensions: [from, to],
    values: Float32Array.from({ length: from * to }, () => (random() * 3) / Math.sqrt(from)),
  });
  const norm = (name: string, size: number): GgufTensor => ({
    name: `${name}.weight`,
    dimensions: [size],
    values: new Float32Array(size).fill(1),
  });
  const layer = (at: string): GgufTensor[] => [
    norm(`${at}.attn_norm`, embedding),
    matrix(`${at}.attn_q`, embedding, heads * headSize),
    matrix(`${at}.attn_k`, embedding, keyHeads * headSize),
    matrix(`${at}.attn_v`, embedding, keyHeads * headSize),
    matrix(`${at}.attn_output`, heads * headSize, embedding),
    norm(`${at}.ffn_norm`, embedding),
    matrix(`${at}.ffn_gate`, embedding, feedForward),
    matrix(`${at}.ffn_up`, embedding, feedForward),
    matrix(`${at}.ffn_down`, feedForward, embedding),
  ];
  const gemma = (at: string): GgufTensor[] => [
    norm(`${at}.post_attention_norm`, embedding),
    norm(`${at}.attn_q_norm`, headSize),
    norm(`${at}.attn_k_norm`, headSize),
    norm(`${at}.post_ffw_norm`, embedding),
  ];
  const indexes = Array.from({ length: layers }, (_, index) => `blk.${index}`);
  return [
    matrix('token_embd', embedding, vocab),
    norm('output_norm', embedding),
    matrix('output', embedding, vocab),
    ...indexes.flatMap((at) => [...layer(at), ...(architecture === 'gemma3' ? gemma(at) : [])]),
  ];
}

/** Numbers from -0.5 to 0.5, the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 - 0.5;
  };
}
