import { type BlockIdentity, BlockPool } from './block-pool.ts';
import type { KvChangeLog } from './kv-change-log.ts';
import type { OffloadSettings } from './settings.ts';

const tierNumbers = { host: 1, disk: 2 } as const;

/**
 * Host memory and disk below the device: a block that the device gives up goes to the host, what the host gives up goes to
 * disk, each tier giving up what was unused longest. Blocks that come back stay where they were, too.
 */
export class LowerTiers {
  readonly #settings: OffloadSettings;
  readonly #log: KvChangeLog | undefined;
  readonly #host: BlockPool | undefined;
  readonly #disk: BlockPool | undefined;
  /** Pinned blocks of a tier while they are copied. */
  readonly #pinned: { readonly tier: BlockPool; readonly block: number }[] = [];
  #gone = 0;
  #clearing = false;

  constructor(settings: OffloadSettings, log: KvChangeLog | undefined) {
    this.#settings = settings;
    this.#log = log;
    const { hostBlocks, diskBlocks } = settings;
    if (hostBlocks > 0) this.#host = new BlockPool(hostBlocks, (block) => this.#onHostGone(block));
    if (hostBlocks > 0 && diskBlocks > 0) this.#disk = new BlockPool(diskBlocks, (block) => this.#onDiskGone(block));
  }

  get exist(): boolean {
    return this.#host !== undefined;
  }

  /** Pools with their tier numbers, for snapshots. */
  *pools(): Generator<{ readonly tier: number; readonly pool: BlockPool }> {
    if (this.#host !== undefined) yield { tier: tierNumbers.host, pool: this.#host };
    if (this.#disk !== undefined) yield { tier: tierNumbers.disk, pool: this.#disk };
  }

  /** The device gave up a block. */
  offload(from: BlockPool, block: number): void {
    if (this.#host !== undefined) this.#store(this.#host, tierNumbers.host, from.identityOf(block));
  }

  /** How many of `most` blocks, from the first on, lie in some tier; those cannot leave until `unpin`. */
  pin(most: number, identity: (index: number) => BlockIdentity | false): number {
    let count = 0;
    for (; count < most; count++) {
      const wanted = identity(count);
      if (wanted === false || !this.#pin(wanted)) break;
    }
    return count;
  }

  /** Releases what was pinned; returns the milliseconds that copying it to the device takes. */
  unpin(blockSize: number): number {
    const { hostGigabytesPerSecond, diskGigabytesPerSecond, bytesPerToken } = this.#settings;
    let ms = 0;
    for (const { tier, block } of this.#pinned.reverse()) {
      const gigabytesPerSecond = tier === this.#host ? hostGigabytesPerSecond : diskGigabytesPerSecond;
      if (gigabytesPerSecond > 0) ms += (blockSize * bytesPerToken) / (gigabytesPerSecond * 1e6);
      tier.release(block);
    }
    this.#pinned.length = 0;
    return ms;
  }

  clear(): number {
    const before = this.#gone;
    this.#clearing = true;
    for (const { pool } of this.pools()) while (pool.evict());
    this.#clearing = false;
    return this.#gone - before;
  }

  #pin({ low, high }: BlockIdentity): boolean {
    for (const { pool } of this.pools()) {
      const block = pool.find(low, high);
      if (block < 0) continue;
      pool.hold(block);
      this.#pinned.push({ tier: pool, block });
      return true;
    }
    return false;
  }

  #store(pool: BlockPool, tier: number, identity: BlockIdentity): void {
    const known = pool.find(identity.low, identity.high);
    if (known >= 0) {
      pool.hold(known);
      pool.release(known);
      return;
    }
    // Everything is pinned: the block is lost.
    if (pool.available === 0) return;
    const block = pool.allocate();
    pool.commit(block, identity);
    pool.release(block);
    this.#log?.stored(tier, identity);
  }

  #onHostGone(block: number): void {
    const host = this.#host;
    if (host === undefined) return;
    const identity = host.identityOf(block);
    this.#log?.removed(tierNumbers.host, identity.low, identity.high);
    this.#gone++;
    if (this.#disk !== undefined && !this.#clearing) this.#store(this.#disk, tierNumbers.disk, identity);
  }

  #onDiskGone(block: number): void {
    const identity = this.#disk?.identityOf(block);
    if (identity !== undefined) this.#log?.removed(tierNumbers.disk, identity.low, identity.high);
    this.#gone++;
  }
}
