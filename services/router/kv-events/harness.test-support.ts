import { pino } from 'pino';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import { packHashes, unpackHashes } from '#core/tokens/packed-hashes.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { FakeWorker } from './fake-worker.test-support.ts';
import { type KvFollowing, type KvFollowingOptions, startKvFollowing } from './following.ts';
import type { KvEventSettings } from './settings.ts';

export const testSettings: KvEventSettings = {
  kvEvents: true,
  maxIndexBlocks: 1_000_000,
  maxIndexSlots: 1024,
  kvHitWindow: 0,
  kvEventBlocksPerTurn: 2000,
  kvEventSnapshots: 16,
  kvEventSourceSeconds: 60,
  kvEventSilenceSeconds: 60,
  kvEventRetryMs: 5,
  kvEventPulseMs: 5,
  neverMatchedEvents: 3,
  neverMatchedRequests: 3,
};

interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** For tests: a following of its own, and what an onlooker sees of it. */
export class Harness implements Disposable {
  readonly index: KvIndex;
  readonly following: KvFollowing;
  readonly log: LogLine[] = [];
  nowMs = 0;
  readonly #telemetry = quietTelemetry();

  constructor(index: KvIndex, settings: Partial<KvEventSettings> = {}, o: Partial<KvFollowingOptions> = {}) {
    this.index = index;
    const telemetry = this.#telemetry;
    const write = (line: string): void => void this.log.push(JSON.parse(line));
    this.following = startKvFollowing({
      index,
      settings: { ...testSettings, ...settings },
      telemetry: { metrics: telemetry.metrics, log: pino({ level: 'warn' }, { write }) },
      nowMs: () => this.nowMs,
      connect: ({ address }) => createRpcClient(KvEventFrames, { address }, telemetry),
      ...o,
    });
  }

  /** What the index has of a rank; undefined: the rank has no slot. */
  blocksOf(worker: FakeWorker, rank = 0): Set<bigint> | undefined {
    return this.blocks(worker.instance.instanceId, rank, 'm');
  }

  blocks(instanceId: bigint, dataParallelRank: number, model: string): Set<bigint> | undefined {
    const slot = this.following.slots.slotOf({ instanceId, dataParallelRank, model });
    if (slot < 0) return undefined;
    const blocks = new Set<bigint>();
    let cursor: Parameters<KvIndex['dump']>[0];
    do {
      const { events, next } = this.index.dump(cursor, 100_000);
      for (const event of events)
        if (event.slot === slot) for (const hash of unpackHashes(event.hashes)) blocks.add(hash);
      cursor = next;
    } while (cursor !== undefined);
    return blocks;
  }

  /** Blocks from the start of a prompt that a rank has on its device. */
  match(worker: FakeWorker, hashes: readonly bigint[]): number | undefined {
    const { slots } = this.following;
    const slot = slots.slotOf({ instanceId: worker.instance.instanceId, dataParallelRank: 0, model: 'm' });
    this.index.match(packHashes(BigUint64Array.from(hashes)), slots.overlaps);
    return slots.overlaps.device[slot];
  }

  /** Waits until the index has exactly what the ranks of the worker have. */
  async inStep(worker: FakeWorker): Promise<void> {
    for (const { rank, blocks } of worker.ranks)
      await until(
        () => sameBlocks(this.blocksOf(worker, rank), blocks),
        `rank ${rank} of worker ${worker.instance.instanceId} is in step`,
      );
  }

  async metric(name: string): Promise<number> {
    const text = await this.#telemetry.metrics.metrics();
    const line = text.split('\n').find((known) => known.startsWith(`stator_router_kv_${name} `));
    return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
  }

  [Symbol.dispose](): void {
    this.following.close();
  }
}

function sameBlocks(some: ReadonlySet<bigint> | undefined, others: ReadonlySet<bigint>): boolean {
  return some !== undefined && some.size === others.size && [...some].every((hash) => others.has(hash));
}

/** Hashes of a chain of blocks. */
export function chain(first: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => BigInt(first + i));
}
