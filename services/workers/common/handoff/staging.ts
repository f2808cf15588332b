import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { type Descriptor, encodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { Region, TransferAgent } from '#lib/transfer/transfer.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { HandoffMetrics } from './metrics.ts';
import { takeBack } from './revoke.ts';

/** Why staged KV was freed. */
export type FreeCause = 'released' | 'expired' | 'unused' | 'stopped';

export interface StagingOptions {
  readonly agents: { get(): Promise<readonly TransferAgent[]> };
  readonly maxBytes: number;
  readonly pool: MemoryPool;
  readonly ttlMs: number;
  readonly log: Logger;
  readonly metrics: () => HandoffMetrics | undefined;
}

interface Staged {
  readonly memory: Buffer;
  readonly regions: Region[];
  /** Monotonic; null: nobody was told of it yet. */
  deadlineMs: number | null;
}

/** One way to read what is staged, as peers are told. */
export interface Offer {
  readonly backend: string;
  readonly agentMetadata: Uint8Array;
  readonly descriptors: Uint8Array;
}

/** Memory for the KV of one prompt. It ends by `Staging.free`, whatever becomes of it. */
export interface Room {
  readonly id: string;
  readonly memory: Uint8Array;
}

/** How long stopping waits for readers. */
const closeMs = 1000;

/**
 * KV that waits for decode workers: at most so many bytes, each until it is released or its time has passed. Memory counts
 * until no peer can read it any more: regions are revoked first, which fails whoever still reads.
 */
export class Staging {
  readonly #o: StagingOptions;
  /** In the order in which they end, as all wait equally long. */
  readonly #staged = new Map<string, Staged>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;
  /** The agents are about to be closed. */
  #closed = false;

  constructor(options: StagingOptions) {
    this.#o = options;
  }

  /** Prompts whose KV takes memory. */
  get size(): number {
    return this.#staged.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** null: there is no room now. */
  reserve(bytes: number): Room | null {
    if (this.#stopping || this.#bytes + bytes > this.#o.maxBytes) return null;
    const room = { id: randomUUID(), memory: this.#o.pool.take(bytes) };
    this.#bytes += bytes;
    this.#staged.set(room.id, { memory: room.memory, regions: [], deadlineMs: null });
    return room;
  }

  /**
   * Lets peers read pieces of a room until its deadline, which this returns as Unix time in milliseconds. Rejects with
   * `not_found` where the room was freed meanwhile.
   */
  async lend(
    room: Room,
    pieces: readonly Pick<Descriptor, 'offset' | 'bytes'>[],
  ): Promise<{ offers: Offer[]; deadlineUnixMs: bigint }> {
    const offers: Offer[] = [];
    for (const agent of await this.#o.agents.get()) {
      const staged = this.#staged.get(room.id);
      if (staged === undefined) break;
      try {
        const region = await agent.register(room.memory);
        if (this.#staged.get(room.id) !== staged) {
          await region.revoke();
          break;
        }
        staged.regions.push(region);
        const descriptors = encodeDescriptors(pieces.map((piece) => ({ region: region.ref, ...piece })));
        offers.push({ backend: agent.backend, agentMetadata: await agent.metadata(), descriptors });
      } catch (thrown) {
        this.#o.log.warn({ err: StatorError.from(thrown), backend: agent.backend }, 'KV cannot be offered this way');
      }
    }
    const staged = this.#staged.get(room.id);
    if (staged === undefined) throw StatorError.notFound('The handoff has ended.');
    if (offers.length === 0) throw new StatorError('not_ready', 'No transfer back end takes the KV.');
    // It goes to the end of the line: deadlines are in order there.
    this.#staged.delete(room.id);
    this.#staged.set(room.id, staged);
    staged.deadlineMs = performance.now() + this.#o.ttlMs;
    this.#watch();
    return { offers, deadlineUnixMs: BigInt(Math.floor(Date.now() + this.#o.ttlMs)) };
  }

  /**
   * Takes memory back, which nobody here uses any more; false: it is not known (any more). Nobody can read it once this has
   * resolved.
   */
  async free(id: string, because: FreeCause): Promise<boolean> {
    const staged = this.#staged.get(id);
    if (staged === undefined) return false;
    this.#staged.delete(id);
    this.#o.metrics()?.freed(because);
    for (const region of staged.regions) await takeBack(region, () => this.#closed);
    this.#bytes -= staged.memory.length;
    if (!this.#stopping) this.#o.pool.give(staged.memory);
    return true;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#stopping = true;
    const freed = Promise.all([...this.#staged.keys()].map((id) => this.free(id, 'stopped')));
    await Promise.race([freed, delay(closeMs, undefined, { ref: false })]);
    this.#closed = true;
  }

  #watch(): void {
    if (this.#timer !== undefined || this.#stopping) return;
    for (const { deadlineMs } of this.#staged.values()) {
      if (deadlineMs === null) continue;
      this.#timer = setTimeout(() => this.#expire(), Math.max(1, deadlineMs - performance.now()));
      this.#timer.unref();
      return;
    }
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const [id, { deadlineMs }] of this.#staged) {
      if (deadlineMs === null) continue;
      if (deadlineMs > now) break;
      void this.free(id, 'expired');
    }
    this.#watch();
  }
}
