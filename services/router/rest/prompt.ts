import { z } from 'zod';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { hashBlocks, xxh3 } from '#native/tokens/index.ts';
import { hash64, uint32 } from './fields.ts';

/** A prompt in one of three forms: its tokens, the chained hashes of its blocks, or the blocks' own hashes. */
export const promptFields = {
  token_ids: z.array(uint32).optional(),
  sequence_hashes: z.array(hash64).optional(),
  block_hashes: z.array(hash64).optional(),
  isl_tokens: uint32.optional(),
  lora_name: z.string().optional(),
  cache_salt: z.string().optional(),
};

type PromptFields = {
  readonly [K in keyof typeof promptFields]?: z.infer<(typeof promptFields)[K]> | undefined;
};

export interface Prompt {
  /** Packed sequence hashes of the full blocks. */
  readonly sequenceHashes: Uint8Array;
  readonly tokens: number;
}

/** Seed of every chain of blocks. */
const chainSeed = 1337n;

export function promptOf(fields: PromptFields, blockSize: number): Prompt {
  const { token_ids: ids, sequence_hashes: sequence, block_hashes: local } = fields;
  if (ids !== undefined) {
    if (blockSize < 1) throw StatorError.invalid('token_ids', 'The model has no block size to hash tokens by.');
    const salts = { adapter: fields.lora_name ?? '', cacheSalt: fields.cache_salt ?? '' };
    const hashes = hashBlocks(Uint32Array.from(ids), blockSize, salts);
    return { sequenceHashes: packHashes(hashes.sequenceHashes), tokens: fields.isl_tokens ?? ids.length };
  }
  if (fields.cache_salt !== undefined)
    throw StatorError.invalid('cache_salt', 'A salt is part of hashes already: it goes with token_ids only.');
  const hashes = sequence ?? (local === undefined ? undefined : chained(local));
  if (hashes === undefined)
    throw StatorError.invalid('token_ids', 'Expected one of token_ids, sequence_hashes and block_hashes.');
  const tokens = fields.isl_tokens ?? hashes.length * blockSize;
  return { sequenceHashes: packHashes(BigUint64Array.from(hashes)), tokens };
}

/** Sequence hashes from local ones: each is the hash of the one before it and the block's own. */
function chained(local: readonly bigint[]): bigint[] {
  const pair = new BigUint64Array(2);
  let parent: bigint | null = null;
  return local.map((hash) => {
    if (parent !== null) {
      pair[0] = parent;
      pair[1] = hash;
    }
    parent = parent === null ? hash : xxh3(new Uint8Array(pair.buffer), chainSeed);
    return parent;
  });
}
