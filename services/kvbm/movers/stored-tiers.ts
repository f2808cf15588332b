import path from 'node:path';
import type { EvictionPolicyFactory } from '#core/blocks/eviction/policy.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { openObjectStore } from '#lib/objectstore/open.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import type { KvbmConfig } from '../config.ts';
import { alignedBytes } from '../disk/aligned.ts';
import { DiskTier } from '../disk/disk-tier.ts';
import { nodeFiles } from '../disk/files.ts';
import { evictionPolicies } from '../eviction-policies.ts';
import { ObjectBlocks } from '../object/object-blocks.ts';
import { ObjectTier } from '../object/object-tier.ts';
import { openCipher } from '../stored/cipher.ts';
import { Sealing } from '../stored/sealing.ts';
import type { LowerTiers, TierParts } from '../tiers.ts';
import { type Flight, Loader } from './loader.ts';
import { moverMetrics } from './metrics.ts';
import { readDisk } from './offload-source.ts';
import { Offloader } from './offloader.ts';
import { pipelineOf } from './pipelines.ts';
import type { StoredTierConfig } from './tier-settings.ts';

const mebibyte = 2 ** 20;

interface StoredTiersParts extends TierParts {
  readonly eviction: EvictionPolicyFactory;
}

/** Disk and object store as far as they are set, with their movers. */
export async function openStoredTiers(
  config: StoredTierConfig & Pick<KvbmConfig, 'evictionPolicy'>,
  given: TierParts,
): Promise<LowerTiers> {
  const parts = { ...given, eviction: evictionPolicies[config.evictionPolicy] };
  const sealing = await sealingOf(config, parts);
  const disk = await openDisk(config, parts, sealing);
  const object = await openObject(config, parts, sealing);
  const depots = [disk, object].filter((tier) => tier !== undefined);
  const metrics = moverMetrics(parts.metrics);
  const flights = new Map<string, Flight>();
  const loaders = depots.map((depot) => {
    const guess = depot.tier === tiers.disk ? { latencyMs: 0.5, bytesPerMs: 1e6 } : { latencyMs: 20, bytesPerMs: 1e5 };
    const find = depot === object ? object.find.bind(object) : undefined;
    return new Loader({ ...parts, depot, guess, flights, moverMetrics: metrics, ...(find && { find }) });
  });
  const isTime = timeToOffload(config, parts);
  const offloaders = depots.map((depot) => {
    const pipeline = pipelineOf(config, depot.tier === tiers.disk ? 'disk' : 'object', parts.nowMs());
    const colder: ConstructorParameters<typeof Offloader>[0]['colder'] =
      depot === object && disk !== undefined
        ? (holder, item) => readDisk(parts, disk, alignedBytes, holder, item)
        : undefined;
    const concurrency = depot === disk ? config.diskConcurrency : config.objectStoreConcurrency;
    return new Offloader({ ...parts, depot, pipeline, moverMetrics: metrics, concurrency, isTime, colder });
  });
  return {
    tiers: depots,
    sources: loaders,
    registered: (layout, slots) => {
      const known = parts.host.layoutOf(layout);
      for (const slot of slots) {
        const block = parts.manager.block(tiers.host, layout, slot);
        if (block !== undefined) for (const offloader of offloaders) offloader.offer(known, block);
      }
    },
    stop: async () => {
      await Promise.all([...loaders, ...offloaders].map((mover) => mover.stop()));
      await Promise.all(depots.map((tier) => tier.stop()));
    },
  };
}

async function sealingOf({ encryptionKeyFile }: StoredTierConfig, { hash64 }: TierParts): Promise<Sealing> {
  const bulk = new BulkMemory(hostMemory());
  const cipher = encryptionKeyFile === undefined ? undefined : await openCipher(encryptionKeyFile, hash64);
  const checksum = async (bytes: Uint8Array): Promise<bigint> =>
    (await bulk.checksums(bytes, [{ offset: 0, bytes: bytes.length }]))[0] ?? 0n;
  return new Sealing({ checksum, cipher, wallMs: Date.now });
}

async function openDisk(
  config: StoredTierConfig,
  parts: StoredTiersParts,
  sealing: Sealing,
): Promise<DiskTier | undefined> {
  if (config.diskDir === undefined) return undefined;
  const tier = new DiskTier(parts, {
    folder: path.resolve(config.diskDir),
    totalBytes: config.diskMib * mebibyte,
    layoutBytes: config.layoutDiskMib * mebibyte,
    segmentBytes: config.diskSegmentMib * mebibyte,
    concurrency: config.diskConcurrency,
    files: nodeFiles(config.diskDirect),
    preallocate: async () => false,
    ...{ sealing, hash: parts.hash64, nowMs: parts.nowMs, eviction: parts.eviction },
  });
  await tier.start();
  return tier;
}

async function openObject(
  config: StoredTierConfig,
  parts: StoredTiersParts,
  sealing: Sealing,
): Promise<ObjectTier | undefined> {
  if (config.objectStore === undefined) return undefined;
  const store = await openObjectStore(config, parts);
  const concurrency = config.objectStoreConcurrency;
  const tier = new ObjectTier(parts, {
    store,
    blocks: new ObjectBlocks({ store, sealing, hash: parts.hash64, concurrency }),
    eviction: parts.eviction,
    indexBlocks: config.objectIndexBlocks,
    listBlocks: config.objectListBlocks,
    recoverBlocks: config.objectRecoverBlocks,
    absentMs: config.objectAbsentMs,
    lookup: config.objectLookup,
    expiryDays: config.objectExpiryDays,
  });
  tier.start();
  return tier;
}

/** Copies always, or while host memory of some layout is filled so far. */
function timeToOffload({ offloadWhen, offloadPressurePercent }: StoredTierConfig, parts: TierParts): () => boolean {
  if (offloadWhen === 'registered') return () => true;
  return () =>
    parts.manager
      .use()
      .some(
        ({ tier, blocks, free }) => tier === tiers.host && 100 * (blocks - free) >= offloadPressurePercent * blocks,
      );
}
