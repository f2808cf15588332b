import { create } from '@bufbuild/protobuf';
import {
  KvBlocksRemovedSchema,
  KvBlocksStoredSchema,
  KvClearedSchema,
  type KvEvent,
  Tier,
} from '#gen/stator/events/v1/events_pb.ts';
import { adapterHash, type BlockHashes, cacheSaltHash, type HashChain, seedOfParts } from '../tokens/block-hash.ts';
import { packHashes } from '../tokens/packed-hashes.ts';
import { BlockLedger, type LedgerBlock } from './block-ledger.ts';
import type { EngineBlocksRemoved, EngineBlocksStored, EngineEvent } from './engine-event.ts';
import { type DropReason, EventFilter, tierOfMedium } from './event-filter.ts';
import { hashEvent } from './hash-event.ts';
import { ledgerEvents, storedEvents } from './ledger-events.ts';
import type { PlaceholderTokens } from './media-placeholders.ts';

/** A change of a worker's cache that has no number yet. */
export type KvChange = Pick<KvEvent, 'change' | 'dataParallelRank'>;

/** Told what became of events. */
export interface ConversionTally {
  /** Blocks of an event entered or left the ledger. */
  applied(type: 'stored' | 'removed' | 'cleared', blocks: number): void;
  /** Blocks that an event names and that are not known: parents, removals, hashes without tokens. */
  unmatched(blocks: number): void;
  /** An event, or what is left of it, went no further. `detail` is for a log record. */
  dropped(reason: DropReason, detail: string): void;
}

export interface ConverterOptions {
  readonly dataParallelRank: number;
  /** Tokens of a block, as the worker's card promises. */
  readonly blockSize: number;
  /** Most distinct blocks that are kept track of. */
  readonly maxBlocks: number;
  readonly placeholders: PlaceholderTokens;
  readonly hashChain: HashChain;
}

/**
 * Turns one rank's engine events into ours. Blocks get the hashes that routers use, from their tokens; the engine's own
 * hashes only name them afterwards, for parents, removals and lower tiers.
 */
export class EventConverter {
  readonly #o: ConverterOptions;
  readonly #tally: ConversionTally;
  readonly #filter = new EventFilter();
  readonly #ledger = new BlockLedger();

  constructor(o: ConverterOptions, tally: ConversionTally) {
    this.#o = o;
    this.#tally = tally;
  }

  /** Distinct blocks that the rank holds in any tier. */
  get blocks(): number {
    return this.#ledger.blocks;
  }

  /** What the event changes; nothing when it is dropped or changes nothing. */
  convert(event: EngineEvent): KvChange[] {
    const reason = this.#filter.reject(event);
    if (reason !== null) {
      this.#tally.dropped(reason, describe(event));
      return [];
    }
    if (event.type === 'stored') return this.#stored(event);
    if (event.type === 'removed') return this.#removed(event);
    this.#tally.applied('cleared', this.#ledger.blocks);
    return [this.reset()];
  }

  /** Forgets everything; the change that says so. */
  reset(): KvChange {
    this.#ledger.clear();
    return this.#change({ case: 'cleared', value: create(KvClearedSchema) });
  }

  /** Stored changes that rebuild what is held now, parents before children. */
  snapshot(): KvChange[] {
    return ledgerEvents(this.#ledger).map((value) => this.#change({ case: 'stored', value }));
  }

  #stored(event: EngineBlocksStored): KvChange[] {
    const tier = tierOfMedium(event.origin.medium) ?? Tier.DEVICE;
    if (new Set(event.blockHashes).size < event.blockHashes.length || hasParentInside(event)) {
      this.#tally.dropped('self_reference', 'an event names a block twice or as its own parent');
      return [];
    }
    if (event.tokenIds.length === 0) return this.#storedByName(event.blockHashes, tier);
    if (event.blockSize !== this.#o.blockSize) {
      const detail = `the engine's blocks have ${event.blockSize} tokens, the worker's ${this.#o.blockSize}`;
      this.#tally.dropped('wrong_block_size', detail);
      return [];
    }
    const parent = event.parentHash === null ? null : this.#ledger.find(event.parentHash);
    if (parent === undefined) {
      this.#tally.unmatched(1);
      this.#tally.dropped('unknown_parent', `${event.blockHashes.length} blocks after one that was never stored`);
      return [];
    }
    return this.#storedAfter(event, parent, tier);
  }

  #storedAfter(event: EngineBlocksStored, parent: LedgerBlock | null, tier: Tier): KvChange[] {
    const saltHash = event.cacheSalt === '' ? (parent?.saltHash ?? 0n) : cacheSaltHash(event.cacheSalt);
    const hashes = hashEvent(event, {
      seed: seedOfParts(adapterHash(event.adapter), saltHash),
      parent: parent?.sequenceHash ?? null,
      placeholders: this.#o.placeholders,
      hashChain: this.#o.hashChain,
    });
    const count = Math.min(hashes.localHashes.length, event.blockHashes.length);
    if (count < event.blockHashes.length) {
      const detail = `${event.tokenIds.length} tokens are not enough for ${event.blockHashes.length} blocks`;
      this.#tally.dropped('too_few_tokens', detail);
    }
    const first = parent === null ? 0 : parent.position + 1;
    const range = this.#enter(event.blockHashes.subarray(0, count), hashes, { parent, saltHash, first, tier });
    return range === null ? [] : [this.#storedChange(hashes, range, { parent, first, tier })];
  }

  /** Enters blocks into the ledger; returns from the first that was new in the tier to the last that entered. */
  #enter(
    ids: BigUint64Array,
    { localHashes, sequenceHashes }: BlockHashes,
    o: { parent: LedgerBlock | null; saltHash: bigint; first: number; tier: Tier },
  ): { readonly from: number; readonly to: number } | null {
    let from = -1;
    let entered = 0;
    let before = o.parent?.sequenceHash ?? null;
    for (const id of ids) {
      const sequenceHash = sequenceHashes[entered] ?? 0n;
      const known = this.#ledger.find(id);
      if (known !== undefined && known.sequenceHash !== sequenceHash) {
        this.#tally.dropped('conflicting_block', 'a block hash of the engine means two different blocks');
        break;
      }
      if (known === undefined && this.#ledger.ids >= this.#o.maxBlocks) {
        this.#tally.dropped('table_full', `more than ${this.#o.maxBlocks} blocks`);
        break;
      }
      const isNew =
        known !== undefined
          ? this.#ledger.addCopy(id, o.tier)
          : this.#ledger.add(
              id,
              {
                sequenceHash,
                localHash: localHashes[entered] ?? 0n,
                parent: before,
                saltHash: o.saltHash,
                position: o.first + entered,
              },
              o.tier,
            );
      if (isNew && from < 0) from = entered;
      before = sequenceHash;
      entered++;
    }
    if (entered > 0) this.#tally.applied('stored', entered);
    return from < 0 ? null : { from, to: entered };
  }

  #storedChange(
    { localHashes, sequenceHashes }: BlockHashes,
    { from, to }: { readonly from: number; readonly to: number },
    o: { parent: LedgerBlock | null; first: number; tier: Tier },
  ): KvChange {
    const parent = from === 0 ? o.parent?.sequenceHash : sequenceHashes[from - 1];
    const value = create(KvBlocksStoredSchema, {
      ...(parent !== undefined && { parentSequenceHash: parent }),
      sequenceHashes: packHashes(sequenceHashes.slice(from, to)),
      localHashes: packHashes(localHashes.slice(from, to)),
      tier: o.tier,
      startBlock: o.first + from,
    });
    return this.#change({ case: 'stored', value });
  }

  /** Lower tiers name blocks without their tokens: those that another tier holds, or held until now, are known. */
  #storedByName(ids: BigUint64Array, tier: Tier): KvChange[] {
    const entered: LedgerBlock[] = [];
    let known = 0;
    for (const id of ids) {
      const block = this.#ledger.find(id);
      if (block === undefined) continue;
      known++;
      if (this.#ledger.addCopy(id, tier)) entered.push(block);
    }
    if (known < ids.length) {
      this.#tally.unmatched(ids.length - known);
      this.#tally.dropped('unknown_block', `${ids.length - known} blocks without tokens, never stored before`);
    }
    if (known > 0) this.#tally.applied('stored', known);
    return storedEvents(entered, tier).map((value) => this.#change({ case: 'stored', value }));
  }

  #removed(event: EngineBlocksRemoved): KvChange[] {
    const tier = tierOfMedium(event.origin.medium) ?? Tier.DEVICE;
    const gone: bigint[] = [];
    let unknown = 0;
    for (const id of event.blockHashes) {
      const sequenceHash = this.#ledger.remove(id, tier);
      if (sequenceHash === undefined) unknown++;
      else if (sequenceHash !== null) gone.push(sequenceHash);
    }
    if (unknown > 0) this.#tally.unmatched(unknown);
    if (unknown < event.blockHashes.length) this.#tally.applied('removed', event.blockHashes.length - unknown);
    if (gone.length === 0) return [];
    const sequenceHashes = packHashes(BigUint64Array.from(gone));
    return [this.#change({ case: 'removed', value: create(KvBlocksRemovedSchema, { sequenceHashes, tier }) })];
  }

  #change(change: KvEvent['change']): KvChange {
    return { dataParallelRank: this.#o.dataParallelRank, change };
  }
}

/** A parent that is one of the blocks would make a ring. */
function hasParentInside({ blockHashes, parentHash }: EngineBlocksStored): boolean {
  return parentHash !== null && blockHashes.includes(parentHash);
}

function describe(event: EngineEvent): string {
  if (event.type === 'ignored') return 'the engine says so';
  const { medium, locality, ownership, cacheGroup, cacheKind } = event.origin;
  return Object.entries({ medium, locality, ownership, cacheGroup, cacheKind })
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${String(value).slice(0, 64)}`)
    .join(', ');
}
