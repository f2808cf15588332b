import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { ArenaSpec } from '#core/blocks/arena.ts';
import type { EvictionPolicyFactory } from '#core/blocks/eviction/policy.ts';
import type { BlockHeader, ExpectedHeader } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Layout } from '../layout.ts';
import type { Depot, RestingPlace, StoredRead, WriteOutcome } from '../movers/depot.ts';
import { hexOf } from '../records.ts';
import type { BreakerSettings } from '../stored/breaker.ts';
import { identityOf } from '../stored/expected.ts';
import { type Direction, TierHealth, type Verdict } from '../stored/health.ts';
import { type StoredMetrics, storedMetrics } from '../stored/metrics.ts';
import type { DecodedPage } from '../stored/page.ts';
import type { LowerTier, TierParts } from '../tiers.ts';
import { alignedBytes } from './aligned.ts';
import { type DiskLayout, type DiskOptions, openDiskLayout } from './disk-layout.ts';
import { lockFolder } from './lock.ts';
import { openUnused, purgeSlots } from './purge.ts';
import { recoverSlots } from './recovery.ts';

export interface DiskTierOptions extends DiskOptions {
  readonly eviction: EvictionPolicyFactory;
  readonly breaker?: Partial<BreakerSettings>;
}

const full = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** Nothing but somebody's help makes writes work again soon. */
const certain = new Set(['EROFS', 'EACCES', 'EPERM']);

/** Blocks on this node's disk (G3). */
export class DiskTier implements LowerTier, Depot {
  readonly tier = tiers.disk;
  readonly #parts: TierParts;
  readonly #options: DiskTierOptions;
  readonly #metrics: StoredMetrics;
  readonly #health: TierHealth;
  readonly #layouts = new Map<number, DiskLayout>();
  #lock: FileHandle | undefined;
  #unopened: string | null = null;

  constructor(parts: TierParts, options: DiskTierOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#metrics = storedMetrics(parts.metrics);
    const { nowMs, log } = parts;
    this.#health = new TierHealth({ tier: 'disk', metrics: this.#metrics, nowMs, log, breaker: options.breaker });
  }

  /** Takes the directory. Throws `conflict` while another block manager has it. */
  async start(): Promise<void> {
    const { files, folder } = this.#options;
    try {
      await files.makeFolder(folder);
      this.#lock = await lockFolder(path.join(folder, 'lock'));
    } catch (thrown) {
      if (thrown instanceof StatorError) throw thrown;
      this.#cannotOpen(thrown);
    }
  }

  async openLayout(layout: Layout): Promise<ArenaSpec | undefined> {
    if (this.#lock === undefined) return undefined;
    try {
      const disk = await openDiskLayout(this.#options, layout, [...this.#layouts.values()]);
      if (disk === undefined) return undefined;
      this.#layouts.set(layout.index, disk);
      const { eviction } = this.#options;
      return { blockBytes: layout.blockBytes, blocks: disk.slots, eviction, epoch: disk.epoch, recovering: true };
    } catch (thrown) {
      this.#cannotOpen(thrown);
      return undefined;
    }
  }

  async recover(layout: Layout): Promise<void> {
    const disk = this.#layouts.get(layout.index);
    if (disk === undefined) return;
    const { log } = this.#parts;
    let toldMs = this.#parts.nowMs();
    const { adopted, rejected } = await recoverSlots(this.#parts, layout, disk, (read) => {
      if (this.#parts.nowMs() - toldMs < 5000) return;
      toldMs = this.#parts.nowMs();
      log.info({ read, slots: disk.existing }, 'reading the records of blocks on disk');
    });
    for (const [reason, count] of rejected)
      if (reason !== 'empty') this.#metrics.rejections.inc({ tier: 'disk', reason }, count);
    const facts = {
      adopted,
      slots: disk.slots,
      direct: disk.segments.isDirect,
      rejected: Object.fromEntries(rejected),
    };
    log.info(facts, 'blocks on disk are found again');
  }

  accepts(): boolean {
    return this.#health.mayTry('out');
  }

  answers(): boolean {
    return this.#health.mayTry('in');
  }

  hasRoom(layout: Layout, slot: number): boolean {
    return this.#layouts.get(layout.index)?.segments.hasRoom(slot) ?? false;
  }

  async write(place: RestingPlace, header: BlockHeader, room: Uint8Array): Promise<WriteOutcome> {
    const { store } = this.#diskOf(place.layout);
    const written = await this.#measured('out', () => store.write(place.slot, header, room)).catch((error: unknown) => {
      if (isFull(error)) return undefined;
      throw error;
    });
    if (written === undefined) return 'no_room';
    if (!written) return 'unsound';
    this.#metrics.bytes.inc({ tier: 'disk', direction: 'out' }, header.payloadBytes);
    return 'written';
  }

  async read(
    place: RestingPlace,
    expected: ExpectedHeader,
    bytes: number | undefined,
    room: Uint8Array,
  ): Promise<StoredRead> {
    const disk = this.#diskOf(place.layout);
    const wanted = { ...expected, epoch: disk.epoch, payloadBytes: bytes ?? place.layout.blockBytes };
    const read = await this.#measured('in', () => disk.store.read(place.slot, wanted, room));
    if (read.rejection === undefined) this.#metrics.bytes.inc({ tier: 'disk', direction: 'in' }, wanted.payloadBytes);
    else this.#metrics.rejections.inc({ tier: 'disk', reason: read.rejection });
    return read;
  }

  /** Whatever is in the slot goes, unless another block is there already. */
  async erase({ layout, slot, digest, namespace }: RestingPlace): Promise<void> {
    const isOther = ({ page }: DecodedPage): boolean =>
      page !== undefined &&
      (hexOf(page.header.digest) !== hexOf(digest) || hexOf(page.header.namespaceDigest) !== namespace.digest);
    await this.#diskOf(layout).store.erase(slot, (page) => !isOther(page));
  }

  async verify(layout: Layout, slot: number): Promise<boolean> {
    const block = this.#parts.manager.block(tiers.disk, layout.index, slot);
    const namespace = block && this.#parts.namespaces.find(this.#parts.manager.namespaceAt(block.namespace).digest);
    if (block === undefined || namespace === undefined) return false;
    const expected = { ...identityOf(layout, namespace, block.digest), generation: block.generation };
    const place = { layout, namespace, slot, digest: block.digest };
    const read = await this.read(place, expected, block.size, alignedBytes(layout.slotBytes));
    return read.rejection === undefined;
  }

  /** Also in folders of layouts that nobody has opened in this life. Throws `storage_unavailable` when not all could be looked at. */
  async purge(tenant: string): Promise<number> {
    const open = [...this.#layouts.values()];
    const closed = await openUnused(this.#options, new Set(open.map((disk) => disk.folder)));
    try {
      for (const disk of [...open, ...closed]) await purgeSlots(this.#parts.namespaces, tenant, disk);
    } catch (thrown) {
      throw unavailable(thrown);
    } finally {
      for (const { segments } of closed) await segments.close();
    }
    return 0;
  }

  degraded(): string | null {
    const problem = [...this.#layouts.values()].find(({ segments }) => segments.problem !== undefined)?.segments
      .problem;
    return this.#unopened ?? this.#health.reason ?? problem ?? null;
  }

  async stop(): Promise<void> {
    const disks = [...this.#layouts.values()];
    this.#layouts.clear();
    for (const { store, segments } of disks) {
      await store.settled();
      await segments.close();
    }
    await this.#lock?.close();
    this.#lock = undefined;
  }

  #diskOf(layout: Layout): DiskLayout {
    const disk = this.#layouts.get(layout.index);
    if (disk === undefined) throw new StatorError('storage_unavailable', 'the disk has no room for this layout');
    return disk;
  }

  /** Throws `storage_unavailable`, or NoSegment for a full disk. */
  async #measured<T>(direction: Direction, work: () => Promise<T>): Promise<T> {
    return this.#health.run(direction, work, verdictOf).catch((thrown: unknown) => {
      throw isFull(thrown) || thrown instanceof StatorError ? thrown : unavailable(thrown);
    });
  }

  #cannotOpen(thrown: unknown): void {
    this.#unopened = `the directory cannot be used: ${codeOf(thrown)}`;
    this.#parts.log.warn({ err: thrown }, 'the disk tier cannot be opened');
  }
}

function codeOf(thrown: unknown): string {
  return (thrown as NodeJS.ErrnoException).code ?? 'unknown';
}

function verdictOf(thrown: unknown): Verdict {
  return isFull(thrown) ? null : { reason: codeOf(thrown), certain: certain.has(codeOf(thrown)) };
}

/** Slots whose files cannot be made find no room; others still do. */
function isFull(thrown: unknown): boolean {
  return full.has(codeOf(thrown));
}

function unavailable(thrown: unknown): StatorError {
  return new StatorError('storage_unavailable', `the disk does not work: ${codeOf(thrown)}`, { cause: thrown });
}
