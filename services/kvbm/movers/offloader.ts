import { BlockError } from '#core/blocks/block-error.ts';
import type { BlockInfo } from '#core/blocks/listing.ts';
import type { OffloadItem, OffloadPipeline } from '#core/blocks/offload/pipeline.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { commitOutcomes, type Reservation } from '#core/blocks/writing.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Limiter } from '#lib/objectstore/limiter.ts';
import type { Layout } from '../layout.ts';
import { headerOf, joinWords } from '../records.ts';
import type { TierParts } from '../tiers.ts';
import { chainOfBlock } from './chains.ts';
import { type Depot, type RestingPlace, tierNames } from './depot.ts';
import type { MoverMetrics } from './metrics.ts';
import { type OffloadSource, pinHost } from './offload-source.ts';

export interface OffloaderParts extends TierParts {
  readonly depot: Depot;
  readonly pipeline: OffloadPipeline;
  readonly moverMetrics: MoverMetrics;
  /** Blocks of a layout that are copied at once, and so kept from going: no more than an eighth of host memory. */
  readonly concurrency: number;
  /** Whether blocks may be copied at present: always, or while host memory fills. */
  readonly isTime: () => boolean;
  /** Where a block comes from that left host memory meanwhile. */
  readonly colder?: ((holder: number, item: OffloadItem) => Promise<OffloadSource | undefined>) | undefined;
}

/** For so long slots that found no room on a full disk are kept from being offered again. */
const heldMs = 15_000;

/** Slots that are tried for one block. */
const mostTries = 256;

/** Outcomes that may be others later; `degraded` was not even tried. */
const passing = new Set(['degraded', 'storage_unavailable', 'deadline_exceeded']);
const mostRetries = 3;

interface Held {
  readonly reservation: Reservation;
  readonly untilMs: number;
}

/** One path to a colder tier: what was registered in host memory is copied there as filter, priority and bandwidth allow. */
export class Offloader {
  readonly #parts: OffloaderParts;
  readonly #holder: number;
  readonly #running = new Set<Promise<unknown>>();
  readonly #tier: 'disk' | 'object';
  readonly #tries = new WeakMap<OffloadItem, number>();
  readonly #turns = new Map<number, Limiter>();
  readonly #stopping = new AbortController();
  #held: Held[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: OffloaderParts) {
    this.#parts = parts;
    this.#tier = tierNames[parts.depot.tier];
    this.#holder = parts.manager.attach();
  }

  /** Blocks that wait or are on their way. */
  get pending(): number {
    return this.#parts.pipeline.waiting + this.#running.size;
  }

  offer(layout: Layout, block: BlockInfo): void {
    const { manager, depot, pipeline, moverMetrics: metrics, nowMs } = this.#parts;
    if (this.#stopping.signal.aborted || !manager.tiersOf(block.namespace).includes(depot.tier)) return;
    const { namespace, digest, priority } = block;
    const isPresent = block.slots[depot.tier] >= 0;
    const item = { namespace, digest, priority, bytes: Math.min(block.size, layout.blockBytes) };
    const outcome = pipeline.offer(item, isPresent, nowMs());
    metrics.offloads.inc({ tier: this.#tier, outcome });
    this.pump();
  }

  /** Begins what may begin now, and comes back when more may. */
  pump(): void {
    const { pipeline, moverMetrics: metrics, nowMs, isTime, depot } = this.#parts;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#stopping.signal.aborted) return;
    this.#giveBack(nowMs());
    const canRun = isTime() && depot.accepts();
    for (let batch = canRun ? pipeline.next(nowMs()) : undefined; batch !== undefined; batch = pipeline.next(nowMs()))
      this.#track(this.#copyAll(batch));
    metrics.waiting.set({ tier: this.#tier }, pipeline.waiting);
    const wakeMs = canRun ? pipeline.wakeAtMs(nowMs()) : pipeline.waiting > 0 ? nowMs() + 250 : undefined;
    if (wakeMs !== undefined) this.#timer = setTimeout(() => this.pump(), Math.max(1, wakeMs - nowMs())).unref();
  }

  /** Ends what runs; what waits is forgotten. */
  async stop(): Promise<void> {
    this.#stopping.abort(new StatorError('cancelled', 'the block manager stops'));
    clearTimeout(this.#timer);
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    this.#giveBack(Number.POSITIVE_INFINITY);
    this.#parts.manager.detach(this.#holder, true);
  }

  async #copyAll(batch: readonly OffloadItem[]): Promise<void> {
    await Promise.all(batch.map((item) => this.#copyCounted(item)));
    this.#parts.pipeline.finish();
    this.pump();
  }

  async #copyCounted(item: OffloadItem): Promise<void> {
    const { moverMetrics: metrics, log } = this.#parts;
    const outcome = await this.#copy(item).catch((thrown: unknown) => {
      if (thrown instanceof BlockError) return thrown.code;
      const { code } = StatorError.from(thrown);
      if (code === 'internal') log.error({ err: thrown, tier: this.#tier }, 'a block was not offloaded');
      return code;
    });
    metrics.offloads.inc({ tier: this.#tier, outcome });
    this.#offerAgain(item, outcome);
  }

  /** What met a tier that does not work waits for it, some tries long. */
  #offerAgain(item: OffloadItem, outcome: string): void {
    const { pipeline, nowMs } = this.#parts;
    if (this.#stopping.signal.aborted || !passing.has(outcome)) return;
    const tries = (this.#tries.get(item) ?? 0) + (outcome === 'degraded' ? 0 : 1);
    this.#tries.set(item, tries);
    if (tries <= mostRetries) pipeline.offer(item, false, nowMs());
  }

  async #copy(item: OffloadItem): Promise<string> {
    const turns = this.#turnsOf(item);
    await turns.enter(this.#stopping.signal);
    try {
      return await this.#copyNow(item);
    } finally {
      turns.leave();
    }
  }

  async #copyNow(item: OffloadItem): Promise<string> {
    if (this.#stopping.signal.aborted || !this.#parts.depot.accepts()) return 'degraded';
    const source =
      pinHost(this.#parts, this.#holder, item) ?? (await this.#parts.colder?.(this.#holder, item)) ?? undefined;
    if (source === undefined) return 'gone';
    try {
      return await this.#store(source);
    } finally {
      source.release();
    }
  }

  async #store(source: OffloadSource): Promise<string> {
    const { manager, namespaces, depot, stopping } = this.#parts;
    const { block, layout } = source;
    const namespace = namespaces.find(manager.namespaceAt(block.namespace).digest);
    if (namespace === undefined) return 'gone';
    const reservation = this.#reserve(source);
    const [slot] = reservation?.slots ?? [];
    if (reservation === undefined) return 'no_room';
    if (slot === undefined) return 'present';
    const place: RestingPlace = { layout, namespace, digest: block.digest, slot };
    const checksum = joinWords(block.checksumLow, block.checksumHigh);
    const incarnation = { epoch: reservation.epoch, generation: reservation.generations[0] ?? 0 };
    const header = headerOf(block, namespace, layout, {
      ...incarnation,
      payloadBytes: block.size,
      payloadChecksum: checksum,
    });
    let isDone = false;
    try {
      const outcome = await depot.write(place, header, source.room, stopping);
      isDone = outcome !== 'unsound';
      if (outcome === 'no_room') this.#hold(reservation);
      if (outcome === 'unsound') source.drop();
      return outcome === 'written' ? await this.#commit(reservation, place, block) : outcome;
    } finally {
      if (!isDone) manager.abort(this.#holder, reservation);
    }
  }

  /** A slot for the block. Those that cannot be written at present are passed over and kept from others. */
  #reserve({ block, layout }: OffloadSource): Reservation | undefined {
    const { manager, depot } = this.#parts;
    for (let tries = 0; tries < mostTries; tries++) {
      const reservation = manager.reserve(this.#holder, depot.tier, chainOfBlock(block), block.priority);
      const [slot] = reservation.slots;
      if (slot === undefined || depot.hasRoom(layout, slot)) return reservation;
      this.#hold(reservation);
    }
    return undefined;
  }

  async #commit(reservation: Reservation, place: RestingPlace, block: BlockInfo): Promise<string> {
    const checksums = Uint32Array.of(block.checksumLow, block.checksumHigh);
    const sizes = Uint32Array.of(block.size);
    const [outcome] = this.#parts.manager.commit(this.#holder, { ...reservation, checksums, sizes });
    if (outcome === commitOutcomes.registered) return 'stored';
    if (outcome === commitOutcomes.duplicate) return 'present';
    // The tenant was purged meanwhile: what was written must not stay.
    await this.#parts.depot.erase(place);
    return 'revoked';
  }

  /** A slot without room stays taken, so that others are used (and blocks evicted) instead of it, until it is tried again. */
  #hold(reservation: Reservation): void {
    this.#held.push({ reservation, untilMs: this.#parts.nowMs() + heldMs });
  }

  #turnsOf({ namespace }: OffloadItem): Limiter {
    const { manager, concurrency } = this.#parts;
    const { arena } = manager.namespaceAt(namespace);
    const known = this.#turns.get(arena);
    if (known !== undefined) return known;
    const host = manager.use().find((use) => use.tier === tiers.host && use.arena === arena);
    const most = Math.max(1, Math.min(concurrency, Math.floor((host?.blocks ?? 0) / 8)));
    const turns = new Limiter(most, Number.POSITIVE_INFINITY);
    this.#turns.set(arena, turns);
    return turns;
  }

  #giveBack(nowMs: number): void {
    const due = this.#held.filter(({ untilMs }) => untilMs <= nowMs);
    if (due.length === 0) return;
    this.#held = this.#held.filter(({ untilMs }) => untilMs > nowMs);
    for (const { reservation } of due) this.#parts.manager.abort(this.#holder, reservation);
  }

  #track(work: Promise<unknown>): void {
    this.#running.add(work);
    const ended = (): boolean => this.#running.delete(work);
    void work.then(ended, ended);
  }
}
