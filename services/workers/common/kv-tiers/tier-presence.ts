import { create } from '@bufbuild/protobuf';
import { packHashes, unpackHashes } from '#core/tokens/packed-hashes.ts';
import {
  KvBlocksRemovedSchema,
  type KvBlocksStored,
  KvBlocksStoredSchema,
  Tier,
} from '#gen/stator/events/v1/events_pb.ts';
import type { PresenceEvents } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvEventChange } from '../engine.ts';

const tiers = [Tier.HOST, Tier.DISK, Tier.EXTERNAL] as const;

/** Hashes in one event at most. */
const maxEventBlocks = 1024;

interface PresentBlock {
  /** Bits by index in `tiers`. */
  tiers: number;
  readonly parent: bigint | undefined;
  readonly position: number;
}

/** What the block manager says is in its tiers, of every namespace that this worker opened. */
export class TierPresence {
  readonly #namespaces = new Map<number, Map<bigint, PresentBlock>>();

  /** Blocks in some tier. */
  get size(): number {
    let blocks = 0;
    for (const known of this.#namespaces.values()) blocks += known.size;
    return blocks;
  }

  has(namespace: number, sequenceHash: bigint): boolean {
    return this.#namespaces.get(namespace)?.has(sequenceHash) ?? false;
  }

  /** Takes over what the block manager said; returns the changes for those who follow this worker. */
  apply({ namespace, restart, batch }: PresenceEvents): KvEventChange[] {
    const changes = restart ? this.#removals(namespace) : [];
    for (const { change } of batch?.events ?? []) {
      if (change.case === 'stored') this.#stored(namespace, change.value);
      else if (change.case === 'removed') this.#removed(namespace, change.value.sequenceHashes, change.value.tier);
      else continue;
      changes.push({ dataParallelRank: 0, change });
    }
    return changes;
  }

  /** The block manager is gone; returns the removal of everything. */
  clear(): KvEventChange[] {
    return [...this.#namespaces.keys()].flatMap((namespace) => this.#removals(namespace));
  }

  /** Everything as stored changes, blocks of one prompt joined where they lie in one tier. */
  *snapshot(): Generator<KvEventChange> {
    for (const [index, tier] of tiers.entries())
      for (const known of this.#namespaces.values()) yield* storedRuns(known, 1 << index, tier);
  }

  #stored(namespace: number, { sequenceHashes, parentSequenceHash, startBlock, tier }: KvBlocksStored): void {
    const bit = bitOf(tier);
    if (bit === 0) return;
    let known = this.#namespaces.get(namespace);
    if (known === undefined) {
      known = new Map();
      this.#namespaces.set(namespace, known);
    }
    let parent = parentSequenceHash;
    for (const [index, hash] of unpackHashes(sequenceHashes).entries()) {
      const block = known.get(hash);
      if (block === undefined) known.set(hash, { tiers: bit, parent, position: startBlock + index });
      else block.tiers |= bit;
      parent = hash;
    }
  }

  #removed(namespace: number, sequenceHashes: Uint8Array, tier: Tier): void {
    const known = this.#namespaces.get(namespace);
    if (known === undefined) return;
    for (const hash of unpackHashes(sequenceHashes)) {
      const block = known.get(hash);
      if (block === undefined) continue;
      block.tiers &= ~bitOf(tier);
      if (block.tiers === 0) known.delete(hash);
    }
  }

  #removals(namespace: number): KvEventChange[] {
    const known = this.#namespaces.get(namespace);
    this.#namespaces.delete(namespace);
    return tiers.flatMap((tier, index) => {
      const hashes = [...(known ?? [])].filter(([, block]) => (block.tiers & (1 << index)) !== 0).map(([hash]) => hash);
      return Array.from({ length: Math.ceil(hashes.length / maxEventBlocks) }, (_, part): KvEventChange => {
        const some = BigUint64Array.from(hashes.slice(part * maxEventBlocks, (part + 1) * maxEventBlocks));
        const value = create(KvBlocksRemovedSchema, { sequenceHashes: packHashes(some), tier });
        return { dataParallelRank: 0, change: { case: 'removed', value } };
      });
    });
  }
}

/** 1 << index in `tiers`; 0: none of them. */
function bitOf(tier: Tier): number {
  return tier === Tier.HOST ? 1 : tier === Tier.DISK ? 2 : tier === Tier.EXTERNAL ? 4 : 0;
}

/** Parents come before their children: blocks are told in the order of their positions. */
function* storedRuns(known: ReadonlyMap<bigint, PresentBlock>, bit: number, tier: Tier): Generator<KvEventChange> {
  const blocks = [...known].filter(([, block]) => (block.tiers & bit) !== 0);
  const children = new Map<bigint | undefined, bigint[]>();
  for (const [hash, { parent }] of blocks) {
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [hash]);
    else siblings.push(hash);
  }
  const told = new Set<bigint>();
  for (const [first, { parent, position }] of blocks.toSorted(([, a], [, b]) => a.position - b.position)) {
    const run: bigint[] = [];
    for (let hash: bigint | undefined = first; hash !== undefined && !told.has(hash); ) {
      told.add(hash);
      run.push(hash);
      hash = children.get(hash)?.find((child) => !told.has(child));
    }
    if (run.length > 0) yield stored(run, { parent, position, tier });
  }
}

function stored(
  run: readonly bigint[],
  o: { readonly parent: bigint | undefined; readonly position: number; readonly tier: Tier },
): KvEventChange {
  const value = create(KvBlocksStoredSchema, {
    sequenceHashes: packHashes(BigUint64Array.from(run)),
    tier: o.tier,
    startBlock: o.position,
    ...(o.parent !== undefined && { parentSequenceHash: o.parent }),
  });
  return { dataParallelRank: 0, change: { case: 'stored', value } };
}
