import { packHashes, unpackHashes } from '../tokens/packed-hashes.ts';
import {
  type AppliedMessage,
  type DumpChunk,
  type DumpCursor,
  type DumpEvent,
  type EventCounts,
  type KvIndex,
  type KvIndexOptions,
  type KvIndexStats,
  type Overlaps,
  tierCount,
} from './kv-index.ts';
import { noCounts } from './reference-counts.ts';
import { applyDecoded } from './reference-message.ts';

interface Block {
  /** Order of insertion, for dumps. */
  readonly serial: number;
  readonly parent: bigint | undefined;
  readonly owners: Set<number>;
}

/** Estimate for `stats.bytes`: entry of a map and of a set. */
const bytesPerEntry = 120;

/** The index in plain TypeScript, one map of sets a tier: the oracle of tests, and what runs where no addon can. */
export class ReferenceKvIndex implements KvIndex {
  readonly #options: Required<KvIndexOptions>;
  readonly #tiers = Array.from({ length: tierCount }, () => new Map<bigint, Block>());
  readonly #slots = new Set<number>();
  readonly #removedSlots = new Set<number>();
  /** Matched prefixes of the last lookups, oldest first. */
  readonly #lookups: BigUint64Array[] = [];
  #nextSerial = 0;

  constructor(options: KvIndexOptions) {
    this.#options = { maxSlots: 4096, hitWindow: 0, ...options };
  }

  addSlot(): number {
    let slot = 0;
    while (this.#slots.has(slot) || this.#removedSlots.has(slot)) slot++;
    if (slot >= this.#options.maxSlots) throw new RangeError(`All ${this.#options.maxSlots} slots are taken.`);
    this.#slots.add(slot);
    return slot;
  }

  removeSlot(slot: number): void {
    this.#requireSlot(slot);
    this.#slots.delete(slot);
    this.#removedSlots.add(slot);
  }

  clearSlot(slot: number): void {
    this.#requireSlot(slot);
    for (let tier = 0; tier < tierCount; tier++)
      for (const hash of this.#tier(tier).keys()) this.#disown(slot, tier, hash);
  }

  store(slot: number, tier: number, parent: bigint | undefined, packed: Uint8Array): EventCounts {
    this.#requireSlot(slot);
    const blocks = this.#tier(tier);
    const hashes = unpackHashes(packed);
    const counts = noCounts();
    if (parent !== undefined && hashes.length > 0 && !this.#hasAnywhere(slot, parent)) counts.unmatchedParents++;
    let previous = parent;
    for (const hash of hashes) {
      const block = blocks.get(hash);
      if (block?.owners.has(slot)) counts.duplicates++;
      else if (block !== undefined) {
        block.owners.add(slot);
        counts.stored++;
      } else if (this.#blockCount() >= this.#options.maxBlocks) counts.dropped++;
      else {
        blocks.set(hash, { serial: this.#nextSerial++, parent: previous, owners: new Set([slot]) });
        counts.stored++;
      }
      previous = hash;
    }
    return counts;
  }

  remove(slot: number, tier: number, packed: Uint8Array): EventCounts {
    this.#requireSlot(slot);
    this.#tier(tier);
    const counts = noCounts();
    for (const hash of unpackHashes(packed)) {
      if (this.#disown(slot, tier, hash)) counts.removed++;
      else counts.unmatchedRemovals++;
    }
    return counts;
  }

  applyMessage(message: Uint8Array, slotOfRank: (rank: number) => number | undefined): AppliedMessage {
    return applyDecoded(this, message, slotOfRank);
  }

  match(sequenceHashes: Uint8Array, overlaps: Overlaps): number {
    const hashes = unpackHashes(sequenceHashes);
    const columns = [overlaps.device, overlaps.host, overlaps.disk, overlaps.external];
    for (const column of columns) column.fill(0);
    let deepest = 0;
    for (const slot of this.#slots) {
      let end = 0;
      columns.forEach((column, tier) => {
        if (slot >= column.length) throw new RangeError(`The overlaps have no element for slot ${slot}.`);
        const start = end;
        while (end < hashes.length && this.#has(slot, tier, hashes[end])) end++;
        column[slot] = end - start;
        if (tier === 0) deepest = Math.max(deepest, end);
      });
    }
    this.#remember(hashes.slice(0, deepest));
    return deepest;
  }

  reclaim(budgetBlocks: number): boolean {
    let left = budgetBlocks;
    for (const slot of this.#removedSlots) {
      for (let tier = 0; tier < tierCount; tier++) {
        for (const hash of this.#tier(tier).keys()) {
          if (left <= 0) return true;
          if (this.#disown(slot, tier, hash)) left--;
        }
      }
      this.#removedSlots.delete(slot);
    }
    return false;
  }

  dump(cursor: DumpCursor | undefined, maxBlocks: number): DumpChunk {
    const events: DumpEvent[] = [];
    for (let tier = cursor?.tier ?? 0; tier < tierCount; tier++) {
      for (const [hash, { serial, parent, owners }] of this.#tier(tier)) {
        if (tier === cursor?.tier && serial < cursor.position) continue;
        const hashes = packHashes(BigUint64Array.of(hash));
        for (const slot of owners) if (this.#slots.has(slot)) events.push({ slot, tier, parent, hashes });
        if (events.length >= maxBlocks) return { events, next: { tier, position: serial + 1, offset: 0, slot: 0 } };
      }
    }
    return { events, next: undefined };
  }

  hits(sequenceHashes: Uint8Array, counts: Uint32Array): void {
    unpackHashes(sequenceHashes).forEach((hash, i) => {
      counts[i] = this.#lookups.filter((matched) => matched.includes(hash)).length;
    });
  }

  get stats(): KvIndexStats {
    let entries = 0;
    for (const tier of this.#tiers)
      for (const { owners } of tier.values()) for (const slot of owners) if (this.#slots.has(slot)) entries++;
    const { maxBlocks } = this.#options;
    return { blocks: this.#blockCount(), entries, slots: this.#slots.size, bytes: entries * bytesPerEntry, maxBlocks };
  }

  #remember(matched: BigUint64Array): void {
    if (this.#options.hitWindow === 0) return;
    this.#lookups.push(matched);
    if (this.#lookups.length > this.#options.hitWindow) this.#lookups.shift();
  }

  #disown(slot: number, tier: number, hash: bigint): boolean {
    const block = this.#tier(tier).get(hash);
    if (!block?.owners.delete(slot)) return false;
    if (block.owners.size === 0) this.#tier(tier).delete(hash);
    return true;
  }

  #has(slot: number, tier: number, hash: bigint | undefined): boolean {
    return hash !== undefined && this.#tier(tier).get(hash)?.owners.has(slot) === true;
  }

  #hasAnywhere(slot: number, hash: bigint): boolean {
    return this.#tiers.some((_, tier) => this.#has(slot, tier, hash));
  }

  #blockCount(): number {
    return this.#tiers.reduce((sum, tier) => sum + tier.size, 0);
  }

  #tier(tier: number): Map<bigint, Block> {
    const blocks = this.#tiers[tier];
    if (blocks === undefined) throw new RangeError(`There is no tier ${tier}.`);
    return blocks;
  }

  #requireSlot(slot: number): void {
    if (!this.#slots.has(slot)) throw new RangeError(`Slot ${slot} is not in use.`);
  }
}
