import type { ApproximateIndex } from '#core/kv-index/approximate.ts';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import { hashCount } from '#core/tokens/packed-hashes.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { type SettingsOf, setting } from '#lib/config/settings.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { type SecurityConfig, targetOf } from '#lib/service/security.ts';
import { createApproximateIndex } from '#native/kvindex/approximate.ts';
import { createKvIndex } from '#native/kvindex/index.ts';
import { IndexOverlap } from './index-overlap.ts';
import { EngineStreams } from './kv-events/engine-streams.ts';
import { type KvFollowing, startKvFollowing } from './kv-events/following.ts';
import { kvEventSettings } from './kv-events/settings.ts';
import { streamSettings } from './kv-events/stream-settings.ts';
import type { KvOverlap } from './kv-overlap.ts';
import { PushedCaches } from './pushed-caches.ts';
import type { Workers } from './workers.ts';

const group = 'KV events';

export const kvBlockSettings = {
  ...kvEventSettings,
  ...streamSettings,
  approximatePolicy: setting.choice(['ttl', 'lru'], {
    default: 'ttl',
    group,
    help: 'How long blocks count that were routed to a worker which tells no events: for a time, or until newer ones fill it.',
  }),
  approximateTtlSeconds: setting.number({ default: 120, min: 0.1, max: 86_400, group, help: 'That time, for ttl.' }),
  approximateBlocks: setting.integer({
    default: 10_000,
    min: 1,
    group,
    help: 'Blocks of such a worker, for lru, where its card does not say.',
  }),
  predictedTtlSeconds: setting.number({
    default: 0,
    min: 0,
    max: 3600,
    group,
    help: 'Seconds for which the blocks of a placed prompt count before their events come; 0: events are waited for.',
  }),
};

type KvBlockConfig = SettingsOf<typeof kvBlockSettings> & SecurityConfig;

/** What the router knows of its workers' caches. */
export interface KvBlocks {
  readonly index: KvIndex;
  readonly following: KvFollowing;
  readonly overlap: KvOverlap;
  /** What ranks that tell no events probably have. */
  readonly approximate: Pick<ApproximateIndex, 'stats'>;
  /** Caches whose events callers push. */
  readonly pushed: PushedCaches;
  /** Engines whose own streams callers name. */
  readonly streams: EngineStreams;
  /** How many of the last lookups found each block of a prompt on a device; empty where none are counted. */
  hitsOf(sequenceHashes: Uint8Array): Uint32Array;
  /** Tokens in a block of the model; undefined: nobody has told. */
  blockSizeOf(model: string): number | undefined;
  /** A worker came, went or changed. */
  workerChanged(instanceId: bigint): void;
  /** A worker is gone; its ranks' numbers may stand for others after this. */
  workerGone(instanceId: bigint, slots: readonly number[]): void;
  close(): Promise<void>;
}

/** `workers` is asked only after it exists: it is made with what this tells it. */
export function createKvBlocks(
  config: KvBlockConfig,
  { telemetry }: Pick<ServiceParts, 'telemetry'>,
  workers: () => Workers,
  nowMs: () => number,
): KvBlocks {
  const index = createKvIndex({
    maxBlocks: config.maxIndexBlocks,
    maxSlots: config.maxIndexSlots,
    hitWindow: config.kvHitWindow,
  });
  const following = startKvFollowing({
    index,
    settings: config,
    telemetry,
    nowMs,
    connect: (instance: Instance) => createRpcClient(KvEventFrames, targetOf(instance, config), telemetry),
  });
  const approximate = createApproximateIndex({ bound: boundOf(config), maxBlocks: config.maxIndexBlocks });
  const predicted =
    config.predictedTtlSeconds > 0
      ? createApproximateIndex({
          bound: { kind: 'ttl', ttlMs: config.predictedTtlSeconds * 1000 },
          maxBlocks: config.maxIndexBlocks,
        })
      : null;
  const overlap = new IndexOverlap({
    index,
    ranks: following.slots,
    approximate,
    predicted,
    rankCapacity: () => workers().slots.capacity,
    nowMs,
    onRouted: (slot, { hashes, blockSize, salted }, matchedBlocks) =>
      following.onRouted(slot, hashes, matchedBlocks, { salted, ...(blockSize > 0 ? { blockSize } : {}) }),
  });
  const pushed = new PushedCaches(index, following.slots, (source) => following.onClosed(source));
  const blockSizeOf = (model: string): number | undefined =>
    workers().model(model)?.card.limits?.kvBlockSize ?? pushed.blockSizeOf(model) ?? streams.blockSizeOf(model);
  const streams: EngineStreams = new EngineStreams({
    ...{ index, settings: config, telemetry, blockSizeOf },
    slots: following.slots,
    onStored: (source, events, stored) => following.onStored(source, events, stored),
    pace: (count) => following.pace(count),
    onClosed: (source) => following.onClosed(source),
  });
  return {
    index,
    following,
    overlap,
    approximate,
    pushed,
    streams,
    hitsOf(sequenceHashes) {
      const counts = new Uint32Array(config.kvHitWindow === 0 ? 0 : hashCount(sequenceHashes));
      if (counts.length > 0) index.hits(sequenceHashes, counts);
      return counts;
    },
    blockSizeOf,
    workerChanged(instanceId) {
      const instance = workers().get(instanceId);
      // A worker without an address tells nothing over a stream.
      if (instance !== undefined && instance.address !== '') following.follow(instance);
      if (instance !== undefined) limitRanks(approximate, workers(), instance);
    },
    workerGone(instanceId, slots) {
      following.unfollow(instanceId);
      pushed.closeWorker(instanceId);
      streams.unfollowWorker(instanceId);
      for (const slot of slots) {
        approximate.removeSlot(slot);
        predicted?.removeSlot(slot);
      }
    },
    async close() {
      following.close();
      await streams.close();
    },
  };
}

function boundOf({ approximatePolicy, approximateTtlSeconds, approximateBlocks }: KvBlockConfig) {
  return approximatePolicy === 'ttl'
    ? { kind: 'ttl' as const, ttlMs: approximateTtlSeconds * 1000 }
    : { kind: 'lru' as const, blocksPerSlot: approximateBlocks };
}

/** Where a card tells how many blocks a rank has, no more of them count. */
function limitRanks(approximate: ApproximateIndex, workers: Workers, instance: Instance): void {
  for (const { limits } of instance.cards) {
    const blocks = Number(limits?.kvBlocks ?? 0n);
    if (blocks === 0) continue;
    for (const rank of workers.rankNumbersOf(instance))
      approximate.limitSlot(workers.slots.slotOf(instance.instanceId, rank), blocks);
  }
}
