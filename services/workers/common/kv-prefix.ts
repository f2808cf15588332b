import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { KvPrefix } from './engine-kv.ts';

/** Whether the request's KV is a function of its token ids, adapter and salt alone, and may come from elsewhere. */
export function mayReuseKv({ cache, output, media }: GenerateRequest): boolean {
  return cache?.bypassPrefixCache !== true && output?.promptLogprobs === undefined && media.length === 0;
}

/** The full blocks of a prompt; null where it has none. */
export function promptPrefix(request: GenerateRequest, blockTokens: number): KvPrefix | null {
  const { tokenIds, adapter, cache } = request;
  return prefixOf(Uint32Array.from(tokenIds), blockTokens, { adapter, cacheSalt: cache?.cacheSalt ?? '' });
}

/** The full blocks of some tokens; null where they have none. */
export function prefixOf(
  tokenIds: Uint32Array,
  blockTokens: number,
  o: { readonly adapter: string; readonly cacheSalt: string },
): KvPrefix | null {
  const blocks = Math.floor(tokenIds.length / blockTokens);
  if (blocks === 0) return null;
  const { adapter, cacheSalt } = o;
  const { sequenceHashes } = hashBlocks(tokenIds, blockTokens, { adapter, cacheSalt });
  return { tokenIds: tokenIds.subarray(0, blocks * blockTokens), sequenceHashes, adapter, cacheSalt };
}

/** Blocks of a prompt that reuse can spare it: its last token is always computed, for the first token of output. */
export function reusableBlocks(promptTokens: number, blockTokens: number): number {
  return Math.floor((promptTokens - 1) / blockTokens);
}
