import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import type { Lease } from '#core/blocks/reading.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { type Commit, commitOutcomes, type Reservation, type Tickets } from '#core/blocks/writing.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Layout } from './layout.ts';
import type { KnownNamespace, NamespaceBook } from './namespace-book.ts';
import { headerOf, joinWords } from './records.ts';
import type { Slab } from './slab.ts';

/** XXH3-64, seed 0, of ranges of a buffer, off the event loop. */
export type Checksums = (
  buffer: Uint8Array,
  ranges: readonly { readonly offset: number; readonly bytes: number }[],
) => Promise<BigUint64Array>;

export interface HostTierOptions {
  readonly manager: BlockManager;
  readonly namespaces: NamespaceBook;
  readonly epoch: number;
  readonly checksums: Checksums;
  /** Slots whose blocks others find now. */
  readonly onRegistered: (layout: number, slots: readonly number[]) => void;
  /** Blocks of an earlier life whose bytes turned out to be others. */
  readonly onUnsound: () => void;
}

interface HostLayout {
  readonly layout: Layout;
  readonly slab: Slab;
  /** Slots of an earlier life whose bytes were not compared with their checksum yet. */
  readonly unverified: Set<number>;
  /** Slots whose bytes must be overwritten once nobody has them any more. */
  readonly unclean: Set<number>;
}

/**
 * Host memory of all layouts. Whoever reserves, commits or pins host slots does it here, so that the slab says at every
 * moment what a later life may believe.
 */
export class HostTier {
  readonly #options: HostTierOptions;
  readonly #layouts: HostLayout[] = [];

  constructor(options: HostTierOptions) {
    this.#options = options;
  }

  /** A layout came, under the next index. `unverified` slots are compared with their checksums before first use. */
  add(layout: Layout, slab: Slab, unverified: Iterable<number>): void {
    this.#layouts[layout.index] = { layout, slab, unverified: new Set(unverified), unclean: new Set() };
  }

  layoutOf(index: number): Layout {
    return this.#of(index).layout;
  }

  slabOf(index: number): Slab {
    return this.#of(index).slab;
  }

  layouts(): readonly Layout[] {
    return this.#layouts.map(({ layout }) => layout);
  }

  /** Room for a block's bytes, from a page's start to the end of the last page. Only while it is reserved or pinned. */
  payload(layout: number, slot: number): Buffer {
    return this.#of(layout).slab.payload(slot);
  }

  /** Keeps the slab mapped until the function that it gives is called. */
  hold(layout: number): () => void {
    return this.#of(layout).slab.memory.hold();
  }

  /** Reserves host slots; `tag` names the writer's lock file, 0 this process. Throws as BlockManager.reserve. */
  reserve(holder: number, chain: BlockChain, priority: number, tag = 0n): Reservation {
    const reservation = this.#options.manager.reserve(holder, tiers.host, chain, priority);
    const { slab, unverified, unclean } = this.#of(reservation.arena);
    for (const slot of reservation.slots) {
      unverified.delete(slot);
      if (unclean.delete(slot)) slab.erase(slot);
      slab.markWriting(slot, tag);
    }
    return reservation;
  }

  /** Commits host slots: their records first, so that a later life finds what others find now. Outcomes as BlockManager.commit. */
  commit(holder: number, commit: Omit<Commit, 'tier'>): Uint8Array {
    const { manager, onRegistered } = this.#options;
    const outcomes = manager.commit(holder, { ...commit, tier: tiers.host }, (slots) => {
      for (const slot of slots) this.#record(commit.arena, slot);
    });
    const registered = commit.slots.filter((_, at) => outcomes[at] === commitOutcomes.registered);
    if (registered.length > 0) onRegistered(commit.arena, [...registered]);
    return outcomes;
  }

  /** Gives host slots back; returns how many were the holder's. */
  abort(holder: number, tickets: Omit<Tickets, 'tier'>): number {
    return this.#options.manager.abort(holder, { ...tickets, tier: tiers.host });
  }

  /** Keeps blocks in host memory for a reader. Those of an earlier life may still have to be verified. */
  pin(holder: number, namespace: number, digests: Uint32Array, wanted: Iterable<number>): Lease {
    return this.#options.manager.pin(holder, tiers.host, namespace, digests, wanted);
  }

  release(holder: number, lease: number): void {
    this.#options.manager.release(holder, lease);
  }

  /** How many leading blocks of a lease are what their records say; the first that is not is dropped. */
  async verified(lease: Lease, namespace: number, digests: Uint32Array): Promise<number> {
    const { slab, unverified } = this.#of(lease.arena);
    const doubtful = [...lease.slots.keys()].filter((at) => unverified.has(lease.slots[at] ?? 0));
    if (doubtful.length === 0) return lease.slots.length;
    const found = await this.#checksums(slab, lease, doubtful);
    let sound = lease.slots.length;
    for (const [at, index] of doubtful.entries()) {
      const slot = lease.slots[index] ?? 0;
      unverified.delete(slot);
      if (found[at] === joinWords(lease.checksums[2 * index] ?? 0, lease.checksums[2 * index + 1] ?? 0)) continue;
      sound = Math.min(sound, index);
      this.drop(lease.arena, slot, namespace, digests, lease.blocks[index] ?? 0);
    }
    return sound;
  }

  /** Compares every block of a lease with its checksum. Returns the indexes in the lease of those that are wrong. */
  async wrong(lease: Lease): Promise<number[]> {
    const { slab } = this.#of(lease.arena);
    const all = [...lease.slots.keys()];
    const found = await this.#checksums(slab, lease, all);
    return all.filter((at) => found[at] !== joinWords(lease.checksums[2 * at] ?? 0, lease.checksums[2 * at + 1] ?? 0));
  }

  /** Drops a block whose bytes are wrong. */
  drop(layout: number, slot: number, namespace: number, digests: Uint32Array, block: number): void {
    const { manager, onUnsound } = this.#options;
    if (manager.slotOf(tiers.host, namespace, digests, block) !== slot) return;
    this.#of(layout).slab.forget(slot);
    if (manager.drop(tiers.host, namespace, digests, block)) onUnsound();
  }

  /** Drops a tenant's blocks. Their bytes are overwritten at once, those under a reader or writer when it is done. */
  purge(tenant: string): void {
    const { manager } = this.#options;
    const held = this.#layouts.map(({ layout: { index } }) => manager.tenantSlots(tiers.host, index, tenant));
    manager.purge(tenant);
    for (const [index, slots] of held.entries()) {
      const { slab, unclean, unverified } = this.#of(index);
      for (const slot of slots) {
        slab.forget(slot);
        unverified.delete(slot);
        unclean.add(slot);
      }
    }
    this.clean();
  }

  /** Overwrites what was purged under a reader or writer that is done now. */
  clean(): void {
    const { manager } = this.#options;
    for (const { layout, slab, unclean } of this.#layouts)
      for (const slot of unclean) {
        if (!manager.isFree(tiers.host, layout.index, slot)) continue;
        slab.erase(slot);
        unclean.delete(slot);
      }
  }

  /** A slot of an earlier life was found to be right. */
  confirm(layout: number, slot: number): void {
    this.#of(layout).unverified.delete(slot);
  }

  /** Slots of earlier lives that nobody looked at yet, over all layouts. */
  get unverified(): number {
    return this.#layouts.reduce((sum, { unverified }) => sum + unverified.size, 0);
  }

  /** Some of them, for a sweep. */
  doubtful(layout: number, most: number): number[] {
    return [...this.#of(layout).unverified].slice(0, most);
  }

  async close(): Promise<void> {
    for (const { slab } of this.#layouts) await slab.close();
  }

  #checksums(slab: Slab, lease: Lease, indexes: readonly number[]): Promise<BigUint64Array> {
    const ranges = indexes.map((at) => ({
      offset: slab.payloadOffset(lease.slots[at] ?? 0),
      bytes: lease.sizes[at] ?? 0,
    }));
    return this.#options.checksums(slab.memory.buffer, ranges);
  }

  #record(index: number, slot: number): void {
    const { manager, epoch } = this.#options;
    const { layout, slab } = this.#of(index);
    const block = manager.block(tiers.host, index, slot);
    if (block === undefined) return;
    slab.writeRecord(
      slot,
      headerOf(block, this.#namespace(block.namespace), layout, { epoch, generation: block.generation }),
    );
  }

  #namespace(number: number): KnownNamespace {
    const { manager, namespaces } = this.#options;
    const known = namespaces.find(manager.namespaceAt(number).digest);
    if (known === undefined) throw new StatorError('internal', `namespace ${number} is not in the book`);
    return known;
  }

  #of(index: number): HostLayout {
    const found = this.#layouts[index];
    if (found === undefined) throw new StatorError('internal', `there is no layout ${index}`);
    return found;
  }
}
