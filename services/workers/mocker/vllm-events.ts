import { type KvChanges, kvChangeKinds } from '#core/scheduling/engine/engine-model.ts';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import type { BlockTokens } from './block-tokens.ts';
import { type Packable, packMessage } from './msgpack-writer.ts';

/** Tiers in vLLM's words. */
const media = ['GPU', 'CPU', 'DISK'] as const;

/**
 * Changes of a cache as vLLM's KV event publisher writes them: msgpack of [seconds, events, rank], each event an array
 * that begins with its name (vllm/distributed/kv_events.py). Null: nothing changed.
 */
export function vllmEventBatch(
  changes: KvChanges,
  tokens: BlockTokens,
  o: { readonly blockSize: number; readonly rank: number; readonly nowMs: number },
): Uint8Array | null {
  if (changes.count === 0) return null;
  const parents = unpackHashes(changes.parents.slice(0, 8 * changes.count));
  const events: Packable[] = [];
  for (let i = 0; i < changes.count; i++) {
    const [from, to] = [8 * (i === 0 ? 0 : (changes.ends[i - 1] ?? 0)), 8 * (changes.ends[i] ?? 0)];
    const hashes = [...unpackHashes(changes.sequenceHashes.slice(from, to))];
    const tier = changes.tiers[i] ?? 0;
    const medium = media[tier] ?? 'GPU';
    if (changes.kinds[i] === kvChangeKinds.removed) {
      events.push(['BlockRemoved', hashes, medium]);
      for (const hash of hashes) tokens.removed(hash, tier);
      continue;
    }
    const ids = hashes.flatMap((hash) => tokens.stored(hash, tier));
    const parent = (changes.startBlocks[i] ?? 0) > 0 ? (parents[i] ?? null) : null;
    const adapter = tokens.adapterOf(hashes[0] ?? 0n);
    events.push(['BlockStored', hashes, parent, ids, o.blockSize, null, medium, adapter === '' ? null : adapter]);
  }
  tokens.settle();
  return packMessage([o.nowMs / 1000, events, o.rank]);
}
