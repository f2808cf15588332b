import { rmSync } from 'node:fs';
import type { Logger } from 'pino';
import type { ArenaSpec } from '#core/blocks/arena.ts';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { EvictionPolicyFactory } from '#core/blocks/eviction/policy.ts';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { HostTier } from './host-tier.ts';
import { describeLayout, fingerprintOf, type Layout, type LayoutSpec } from './layout.ts';
import { Slab, type SlabMemory } from './slab.ts';
import type { SlabDirectory } from './slab-directory.ts';
import { type SlabShape, shapeWithin } from './slab-shape.ts';
import type { LowerTier, LowerTiers } from './tiers.ts';

/** Maps a file of so many bytes, made where it is missing. */
export type MapMemory = (path: string, bytes: number, create: boolean) => Promise<SlabMemory>;

export interface LayoutsOptions {
  readonly manager: BlockManager;
  readonly host: HostTier;
  readonly directory: SlabDirectory;
  readonly lower: () => LowerTiers;
  readonly map: MapMemory;
  readonly hash64: Hash64;
  readonly eviction: EvictionPolicyFactory;
  readonly hostBytes: number;
  readonly layoutBytes: number;
  readonly log: Logger;
}

/** What `recover` found in a slab. */
export type Recover = (layout: Layout, slab: Slab) => readonly number[];

/** The layouts that have arenas. They come with the first worker that writes in them, or from an earlier life. */
export class Layouts {
  readonly #options: LayoutsOptions;
  readonly #known = new Map<string, Layout>();
  #usedBytes = 0;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: LayoutsOptions) {
    this.#options = options;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The layout, with arenas. Throws StatorError `overloaded` when there is no room for it. */
  ensure(spec: LayoutSpec): Promise<Layout> {
    return this.#inTurn(async () => this.#known.get(fingerprintOf(spec)) ?? (await this.#create(spec)));
  }

  /**
   * Takes the slabs of an earlier life over, the latest first, as far as the memory allows; the others are removed.
   * `recover` adopts what is in one and returns the slots to verify.
   */
  async takeOver(recover: Recover): Promise<void> {
    const { directory, hash64, hostBytes, log } = this.#options;
    const found = directory.slabs(hash64).toSorted((a, b) => b.changedMs - a.changedMs);
    for (const { path, shape } of found) {
      if (this.#usedBytes + shape.totalBytes > hostBytes) {
        log.warn({ path, bytes: shape.totalBytes }, 'a slab of an earlier life has no room any more and is removed');
        rmSync(path, { force: true });
        continue;
      }
      await this.#inTurn(() => this.#reopen(path, shape, recover)).catch((error: unknown) => {
        log.warn({ err: error, path }, 'a slab of an earlier life cannot be used and is removed');
        rmSync(path, { force: true });
      });
    }
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(run);
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #create(spec: LayoutSpec): Promise<Layout> {
    const { directory, hostBytes, layoutBytes, map, hash64, log } = this.#options;
    const shape = shapeWithin(spec, Math.min(layoutBytes, hostBytes - this.#usedBytes));
    if (shape === undefined) throw noRoom(spec, hostBytes, hostBytes - this.#usedBytes);
    const path = directory.slabFile(fingerprintOf(spec));
    rmSync(path, { force: true });
    const memory = await map(path, shape.totalBytes, true);
    const slab = new Slab(path, shape, memory, hash64);
    slab.initialise();
    const layout = await this.#add(spec, slab, () => []);
    log.info({ layout: spec.format, blocks: shape.slots, blockBytes: spec.blockBytes, path }, 'layout has host memory');
    return layout;
  }

  async #reopen(path: string, shape: SlabShape, recover: Recover): Promise<void> {
    const memory = await this.#options.map(path, shape.totalBytes, false);
    await this.#add(shape.layout, new Slab(path, shape, memory, this.#options.hash64), recover);
  }

  async #add(spec: LayoutSpec, slab: Slab, recover: Recover): Promise<Layout> {
    const { manager, host, directory, eviction, lower } = this.#options;
    slab.epoch = directory.epoch;
    const layout = describeLayout(spec, this.#known.size);
    const { slots: blocks, totalBytes } = slab.shape;
    const { generations } = slab;
    const hostArena = {
      blockBytes: spec.blockBytes,
      blocks,
      eviction,
      epoch: directory.epoch,
      generations,
      recovering: true,
    };
    const opened: LowerTier[] = [];
    const arenas: [ArenaSpec, ArenaSpec | undefined, ArenaSpec | undefined] = [hostArena, undefined, undefined];
    for (const tier of lower().tiers) {
      const arena = await this.#open(tier, layout);
      if (arena === undefined) continue;
      arenas[tier.tier] = arena;
      opened.push(tier);
    }
    if (manager.addLayout(arenas) !== layout.index) throw new StatorError('internal', 'layouts are out of step');
    this.#known.set(layout.fingerprint, layout);
    this.#usedBytes += totalBytes;
    host.add(layout, slab, []);
    host.add(layout, slab, recover(layout, slab));
    manager.open(tiers.host, layout.index);
    for (const tier of opened) {
      await tier.recover(layout).catch((error: unknown) => this.#failed(tier, error));
      manager.open(tier.tier, layout.index);
    }
    return layout;
  }

  /** A tier that does not work leaves the others as they are. */
  #open(tier: LowerTier, layout: Layout): Promise<ArenaSpec | undefined> {
    return tier.openLayout(layout).catch((error: unknown) => this.#failed(tier, error));
  }

  #failed(tier: LowerTier, error: unknown): undefined {
    this.#options.log.error({ err: error, tier: tier.tier }, 'a tier does not work');
  }
}

function noRoom(spec: LayoutSpec, hostBytes: number, left: number): StatorError {
  return new StatorError(
    'overloaded',
    `No host memory is left for blocks of ${spec.blockBytes} bytes in layout ${spec.format}; --host-mib gives more, --layout-host-mib leaves more to further layouts.`,
    { field: 'layout', facts: { hostBytes, left, blockBytes: spec.blockBytes } },
  );
}
