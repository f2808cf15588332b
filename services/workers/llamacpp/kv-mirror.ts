import { create } from '@bufbuild/protobuf';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { KvBlocksRemovedSchema, KvBlocksStoredSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import type { NativeKvChange } from '#native/llamacpp/index.ts';
import type { KvEventChange } from '../common/engine.ts';

interface MirroredBlock {
  readonly localHash: bigint;
  readonly parent: bigint | null;
  readonly block: number;
}

/**
 * The set of cached blocks as the event loop knows it. The engine's thread is ahead of it; a snapshot must agree with
 * the changes that were reported, so it is taken from here.
 */
export class KvMirror {
  readonly #blocks = new Map<bigint, MirroredBlock>();

  get size(): number {
    return this.#blocks.size;
  }

  apply(change: NativeKvChange): void {
    if (!change.stored) {
      for (const hash of change.sequenceHashes) this.#blocks.delete(hash);
      return;
    }
    let parent = change.parent;
    change.sequenceHashes.forEach((hash, index) => {
      this.#blocks.set(hash, { localHash: change.localHashes[index] ?? 0n, parent, block: change.startBlock + index });
      parent = hash;
    });
  }

  /** How many of the hashes, from the first on, are of cached blocks. */
  leading(sequenceHashes: BigUint64Array): number {
    const missing = sequenceHashes.findIndex((hash) => !this.#blocks.has(hash));
    return missing < 0 ? sequenceHashes.length : missing;
  }

  /** Stored changes, parents before children, neighbours of one prefix joined. */
  snapshot(): KvEventChange[] {
    const children = new Map<bigint | null, bigint[]>();
    for (const [hash, { parent }] of this.#blocks) {
      const siblings = children.get(parent);
      if (siblings === undefined) children.set(parent, [hash]);
      else siblings.push(hash);
    }
    const changes: KvEventChange[] = [];
    const open = [...(children.get(null) ?? [])];
    for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
      const run = [hash];
      let next = children.get(hash) ?? [];
      while (next.length === 1 && next[0] !== undefined) {
        run.push(next[0]);
        next = children.get(next[0]) ?? [];
      }
      open.push(...next);
      changes.push(this.#stored(run));
    }
    return changes;
  }

  #stored(run: readonly bigint[]): KvEventChange {
    const blocks = run.map((hash) => this.#blocks.get(hash)).filter((block) => block !== undefined);
    const [first] = blocks;
    return storedChange(
      first?.parent ?? null,
      BigUint64Array.from(run),
      BigUint64Array.from(blocks, (block) => block.localHash),
      first?.block ?? 0,
    );
  }
}

export function toKvEventChange(change: NativeKvChange): KvEventChange {
  const { sequenceHashes, localHashes } = change;
  if (change.stored) return storedChange(change.parent, sequenceHashes, localHashes, change.startBlock);
  const value = create(KvBlocksRemovedSchema, { sequenceHashes: packHashes(sequenceHashes), tier: Tier.DEVICE });
  return { dataParallelRank: 0, change: { case: 'removed', value } };
}

function storedChange(
  parent: bigint | null,
  sequenceHashes: BigUint64Array,
  localHashes: BigUint64Array,
  startBlock: number,
): KvEventChange {
  const value = create(KvBlocksStoredSchema, {
    sequenceHashes: packHashes(sequenceHashes),
    localHashes: packHashes(localHashes),
    tier: Tier.DEVICE,
    startBlock,
    ...(parent === null ? {} : { parentSequenceHash: parent }),
  });
  return { dataParallelRank: 0, change: { case: 'stored', value } };
}
