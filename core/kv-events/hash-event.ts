import type { BlockHashes, BlockMedia, HashChain } from '../tokens/block-hash.ts';
import type { EngineBlocksStored } from './engine-event.ts';
import { type PlaceholderTokens, padPlaceholders } from './media-placeholders.ts';

interface HashOptions {
  readonly seed: bigint;
  readonly parent: bigint | null;
  readonly placeholders: PlaceholderTokens;
  readonly hashChain: HashChain;
}

/** Hashes of the blocks that an event has tokens for, as the router hashes the prompts that lead to them. */
export function hashEvent(event: EngineBlocksStored, o: HashOptions): BlockHashes {
  const { tokenIds, blockSize, eagle, media } = event;
  if (media === null) return o.hashChain(tokenIds, blockSize, shape(o, eagle, null));
  if (eagle) return hashWindows(event, media, o);
  const padded = tokenIds.slice();
  const unpadded = new Set(media.blocks);
  for (const block of new Set(media.blocks)) {
    const tokens = tokenIds.subarray(block * blockSize, (block + 1) * blockSize);
    const replaced = padPlaceholders(tokens, objectsOf(media, block), o.placeholders);
    if (replaced === null) continue;
    padded.set(replaced, block * blockSize);
    unpadded.delete(block);
  }
  const rest = keepBlocks(media, (block) => unpadded.has(block));
  return o.hashChain(padded, blockSize, shape(o, false, rest));
}

/** Eagle's windows overlap by a token, which may be padded in one and not in the next, so each is hashed alone. */
function hashWindows({ tokenIds, blockSize }: EngineBlocksStored, media: BlockMedia, o: HashOptions): BlockHashes {
  const count = Math.max(0, Math.floor((tokenIds.length - 1) / blockSize));
  const localHashes = new BigUint64Array(count);
  const sequenceHashes = new BigUint64Array(count);
  let { parent } = o;
  for (let block = 0; block < count; block++) {
    const window = tokenIds.subarray(block * blockSize, (block + 1) * blockSize + 1);
    const objects = objectsOf(media, block);
    const padded = padPlaceholders(window, objects, o.placeholders);
    const own = padded === null ? { blocks: new Uint32Array(objects.length), hashes: objects } : null;
    const hashes = o.hashChain(padded ?? window, blockSize, { ...shape(o, true, own), parent });
    localHashes[block] = hashes.localHashes[0] ?? 0n;
    parent = hashes.sequenceHashes[0] ?? 0n;
    sequenceHashes[block] = parent;
  }
  return { localHashes, sequenceHashes };
}

function shape({ seed, parent }: HashOptions, eagle: boolean, media: BlockMedia | null): Parameters<HashChain>[2] {
  return { seed, parent, eagle, media, runs: null };
}

function objectsOf(media: BlockMedia, block: number): BigUint64Array {
  return media.hashes.filter((_, i) => media.blocks[i] === block);
}

function keepBlocks(media: BlockMedia, keep: (block: number) => boolean): BlockMedia | null {
  const hashes = media.hashes.filter((_, i) => keep(media.blocks[i] ?? 0));
  return hashes.length === 0 ? null : { blocks: media.blocks.filter(keep), hashes };
}
