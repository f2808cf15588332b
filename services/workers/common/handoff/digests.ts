import { createHash } from 'node:crypto';
import type { EngineKv, KvPrefix } from '../engine-kv.ts';

/** Of everything beside the tokens that decides the bytes of KV. */
export function formatDigest(
  { format, adapterDigest }: Pick<EngineKv, 'format' | 'adapterDigest'>,
  adapter: string,
): Buffer {
  const { modelDigest, engine, dtype, blockTokens, blockBytes, rank, ranks } = format;
  const fields = [engine, dtype, blockTokens, blockBytes, rank, ranks];
  const hash = createHash('sha256').update(JSON.stringify(fields)).update(modelDigest);
  if (adapter !== '') hash.update(adapterDigest(adapter) ?? adapter);
  return hash.digest();
}

/** Of a prompt's first blocks: which tokens, and whose. */
export function prefixDigest({ tokenIds, adapter, cacheSalt }: KvPrefix, tokens: number): Buffer {
  const words = tokenIds.subarray(0, tokens);
  return createHash('sha256')
    .update(JSON.stringify([adapter, cacheSalt]))
    .update(new Uint8Array(words.buffer, words.byteOffset, words.byteLength))
    .digest();
}
