import type { ArenaSpec } from '#core/blocks/arena.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import type { EvictionPolicyFactory } from '#core/blocks/eviction/policy.ts';
import type { BlockHeader, ExpectedHeader } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import type { Layout } from '../layout.ts';
import { digestAt } from '../movers/chains.ts';
import type { Depot, RestingPlace, StoredRead, WriteOutcome } from '../movers/depot.ts';
import type { KnownNamespace } from '../namespace-book.ts';
import type { BreakerSettings } from '../stored/breaker.ts';
import { identityOf } from '../stored/expected.ts';
import { type Direction, TierHealth, type Verdict } from '../stored/health.ts';
import { type StoredMetrics, storedMetrics } from '../stored/metrics.ts';
import type { LowerTier, TierParts } from '../tiers.ts';
import { indexListed, type Listed, Newest } from './index-listed.ts';
import { KnownObjects } from './known-objects.ts';
import { listNamespace } from './listing.ts';
import type { ObjectBlocks } from './object-blocks.ts';
import { purgeTenant } from './purge.ts';

export interface ObjectTierOptions {
  readonly store: ObjectStore;
  readonly blocks: ObjectBlocks;
  readonly eviction: EvictionPolicyFactory;
  /** Of each layout, that routers are told of. */
  readonly indexBlocks: number;
  /** Remembered from listings; 0: nothing is listed. */
  readonly listBlocks: number;
  /** Listed blocks of a namespace whose records are read, so that routers are told of them. */
  readonly recoverBlocks: number;
  readonly absentMs: number;
  /** Whether the store is asked for what nobody knows of. */
  readonly lookup: boolean;
  /** 0: no rule is set. */
  readonly expiryDays: number;
  readonly breaker?: Partial<BreakerSettings>;
}

/** Questions for blocks beyond the first at once: a prompt that another node computed is found in a few round trips. */
const lookupWindow = 16;

/** Blocks in an object store that all nodes share (G4). Slots of its arena are places in this node's index, no more. */
export class ObjectTier implements LowerTier, Depot {
  readonly tier = tiers.object;
  readonly #parts: TierParts;
  readonly #options: ObjectTierOptions;
  readonly #metrics: StoredMetrics;
  readonly #health: TierHealth;
  readonly #known: KnownObjects;
  readonly #listed = new Set<string>();
  readonly #stopping = new AbortController();
  readonly #holder: number;
  #purges = 0;
  #listing: Promise<void> = Promise.resolve();

  constructor(parts: TierParts, options: ObjectTierOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#holder = parts.manager.attach();
    this.#metrics = storedMetrics(parts.metrics);
    this.#known = new KnownObjects(options.listBlocks, options.absentMs);
    const { nowMs, log } = parts;
    this.#health = new TierHealth({ tier: 'object', metrics: this.#metrics, nowMs, log, breaker: options.breaker });
    parts.stopping.addEventListener('abort', () => this.#stopping.abort(), { once: true });
  }

  /** Sets the lifecycle rule, where one is wanted; a store that cannot have one is told of in the log. */
  start(): void {
    const { store, expiryDays } = this.#options;
    if (expiryDays === 0) return;
    store.setExpiry(expiryDays, { signal: this.#stopping.signal }).catch((error: unknown) => {
      if (!this.#stopping.signal.aborted)
        this.#parts.log.warn(
          { err: error, expiryDays },
          'the object store has no lifecycle rule: blocks stay until they are purged',
        );
    });
  }

  async openLayout(layout: Layout): Promise<ArenaSpec> {
    const { indexBlocks, eviction } = this.#options;
    return { blockBytes: layout.blockBytes, blocks: indexBlocks, eviction, epoch: this.#parts.epoch };
  }

  /** Begins to list what is there, one namespace after the other; nobody waits for it. */
  async recover(layout: Layout): Promise<void> {
    for (const namespace of this.#parts.namespaces.all())
      if (namespace.layout === layout.fingerprint) this.#list(namespace, layout);
  }

  accepts(): boolean {
    return this.#health.mayTry('out');
  }

  answers(): boolean {
    return this.#health.mayTry('in');
  }

  hasRoom(): boolean {
    return true;
  }

  async write(place: RestingPlace, header: BlockHeader, room: Uint8Array, signal: AbortSignal): Promise<WriteOutcome> {
    const { blocks } = this.#options;
    const { namespace, digest } = place;
    const written = await this.#measured('out', async () => {
      if (this.#known.has(namespace.digest, digest) && (await blocks.isThere(place, { signal }))) return null;
      return blocks.write(place, header, room, signal);
    });
    if (written === false) return 'unsound';
    this.#known.add(namespace.digest, digest);
    if (written) this.#metrics.bytes.inc({ tier: 'object', direction: 'out' }, header.payloadBytes);
    return 'written';
  }

  async read(
    place: RestingPlace,
    expected: ExpectedHeader,
    bytes: number | undefined,
    room: Uint8Array,
    signal: AbortSignal,
  ): Promise<StoredRead> {
    const wanted = bytes === undefined ? expected : { ...expected, payloadBytes: bytes };
    const read = await this.#measured('in', () => this.#options.blocks.read(place, wanted, room, signal));
    const { namespace, digest } = place;
    if (read.rejection === undefined) {
      this.#known.add(namespace.digest, digest);
      this.#metrics.bytes.inc({ tier: 'object', direction: 'in' }, read.header.payloadBytes);
      return read;
    }
    this.#known.delete(namespace.digest, digest);
    this.#known.setAbsent(namespace.digest, digest, this.#parts.nowMs());
    if (read.rejection !== 'missing') this.#metrics.rejections.inc({ tier: 'object', reason: read.rejection });
    return read;
  }

  async erase(place: RestingPlace): Promise<void> {
    this.#known.delete(place.namespace.digest, place.digest);
    await this.#measured('out', () => this.#options.blocks.delete(place, { signal: this.#stopping.signal }));
  }

  /** Blocks from `from` on that the store has, whoever wrote them. */
  async find(chain: BlockChain, layout: Layout, from: number, signal: AbortSignal): Promise<number> {
    const { manager, namespaces } = this.#parts;
    const namespace = namespaces.find(manager.namespaceAt(chain.namespace).digest);
    if (namespace === undefined) return 0;
    this.#list(namespace, layout);
    const count = chain.sequenceHashes.length;
    let at = from;
    // The first question alone: most prompts are new, and nobody has them.
    for (let window = 1; at < count; window = lookupWindow) {
      const places = Array.from({ length: Math.min(window, count - at) }, (_, index) => {
        return { layout, namespace, digest: digestAt(chain.digests, at + index), slot: -1 };
      });
      const there = await Promise.all(places.map((place) => this.#isThere(place, signal)));
      const missing = there.indexOf(false);
      if (missing >= 0) return at + missing - from;
      at += places.length;
    }
    return at - from;
  }

  async verify(layout: Layout, slot: number): Promise<boolean> {
    const { manager, namespaces } = this.#parts;
    const block = manager.block(tiers.object, layout.index, slot);
    const namespace = block && namespaces.find(manager.namespaceAt(block.namespace).digest);
    if (block === undefined || namespace === undefined) return false;
    const place = { layout, namespace, slot, digest: block.digest };
    const expected = { ...identityOf(layout, namespace, block.digest), sequenceHash: block.sequenceHash };
    const room = new Uint8Array(layout.slotBytes);
    return (await this.read(place, expected, block.size, room, this.#stopping.signal)).rejection === undefined;
  }

  async purge(tenant: string): Promise<number> {
    this.#purges++;
    const deleted = await purgeTenant(this.#options.store, tenant, this.#stopping.signal);
    this.#known.clear();
    this.#listed.clear();
    return deleted;
  }

  degraded(): string | null {
    return this.#health.reason;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#listing;
    this.#parts.manager.detach(this.#holder, true);
    await this.#options.store.close();
  }

  async #isThere(place: RestingPlace, signal: AbortSignal): Promise<boolean> {
    const { namespace, digest } = place;
    const { nowMs } = this.#parts;
    if (this.#known.has(namespace.digest, digest)) return true;
    if (!this.#options.lookup || this.#known.isAbsent(namespace.digest, digest, nowMs())) return false;
    const isThere = await this.#measured('in', () => this.#options.blocks.isThere(place, { signal })).catch(() => null);
    if (isThere === true) this.#known.add(namespace.digest, digest);
    if (isThere === false) this.#known.setAbsent(namespace.digest, digest, nowMs());
    return isThere === true;
  }

  /** Once for each namespace, in the background. */
  #list(namespace: KnownNamespace, layout: Layout): void {
    const { store, listBlocks, recoverBlocks } = this.#options;
    if (listBlocks === 0 || this.#listed.has(namespace.digest) || this.#known.isFull) return;
    this.#listed.add(namespace.digest);
    this.#listing = this.#listing.then(async () => {
      const { signal } = this.#stopping;
      const newest = new Newest(Math.min(recoverBlocks, listBlocks));
      const listing = listNamespace(store, { known: this.#known, newest }, namespace, signal);
      const indexing = listing.then(async (objects) => {
        const indexed = await this.#index(newest.take(), namespace, layout);
        this.#parts.log.debug({ model: namespace.model, objects, indexed }, 'objects are known');
      });
      await indexing.then(
        () => {},
        (error: unknown) => {
          this.#listed.delete(namespace.digest);
          if (!signal.aborted) this.#parts.log.warn({ err: error }, 'objects cannot be listed');
        },
      );
    });
  }

  /** Tells routers, by way of the index, of blocks that are not wanted yet. */
  async #index(listed: readonly Listed[], namespace: KnownNamespace, layout: Layout): Promise<number> {
    const { blocks } = this.#options;
    const { manager } = this.#parts;
    const { signal } = this.#stopping;
    const purges = this.#purges;
    const indexed = await indexListed(listed, {
      ...{ manager, holder: this.#holder, namespace, layout },
      read: (digest) => {
        const place = { layout, namespace, digest, slot: -1 };
        const expected = identityOf(layout, namespace, digest);
        // Where the store does not work at all, the breaker ends it.
        return this.#measured('in', () => blocks.readRecord(place, expected, signal)).catch(() => undefined);
      },
      // What was read may be purged by now.
      goesOn: () => !signal.aborted && purges === this.#purges && this.answers(),
    });
    this.#metrics.indexed.inc({ tier: 'object' }, indexed);
    return indexed;
  }

  #measured<T>(direction: Direction, work: () => Promise<T>): Promise<T> {
    return this.#health.run(direction, work, verdictOf);
  }
}

/** Who gave up says nothing of the store, nor do too many of our own requests. */
function verdictOf(thrown: unknown): Verdict {
  const { code: reason } = StatorError.from(thrown);
  if (reason === 'cancelled' || reason === 'overloaded') return null;
  return { reason, certain: reason === 'unauthenticated' || reason === 'permission_denied' };
}
