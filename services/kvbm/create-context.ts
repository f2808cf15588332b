import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { BlockManager } from '#core/blocks/block-manager.ts';
import type { Quota } from '#core/blocks/block-store.ts';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { ServiceParts } from '#lib/service/run.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { openSharedMemory } from '#lib/sharedmem/shared-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { type KvbmConfig, slabDirectory } from './config.ts';
import type { KvbmContext } from './context.ts';
import { evictionPolicies } from './eviction-policies.ts';
import { Holders } from './holders.ts';
import { HostTier } from './host-tier.ts';
import { Layouts, type MapMemory } from './layouts.ts';
import { noteKeeper, sweepDirectories } from './left-directories.ts';
import { kvbmMetrics, measureAtScrape } from './metrics.ts';
import { NamespaceBook } from './namespace-book.ts';
import { Presence } from './presence.ts';
import { recoverSlab } from './recovery.ts';
import { SlabDirectory } from './slab-directory.ts';
import { startPeers } from './start-peers.ts';
import type { LowerTiers, TierParts } from './tiers.ts';

/** Makes what lies below host memory. */
export type OpenLowerTiers = (config: KvbmConfig, parts: TierParts) => Promise<LowerTiers>;

const mebibyte = 2 ** 20;

export interface BuiltContext {
  readonly context: KvbmContext;
  /** Ends movers, then unmaps the slabs. */
  close(): Promise<void>;
}

type Closer = () => unknown;

/** Wires the parts and takes over what an earlier life left. Throws StatorError `conflict` while another has the directory. */
export async function createContext(
  config: KvbmConfig,
  service: ServiceParts,
  stopping: AbortSignal,
  openLower: OpenLowerTiers,
): Promise<BuiltContext> {
  const closers: Closer[] = [];
  // Peers end first, then movers, then what they write to.
  const close = async (): Promise<void> => {
    for (const closeOne of closers.splice(0).reverse()) await closeOne();
  };
  try {
    return { context: await build(config, service, stopping, openLower, closers), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function build(
  config: KvbmConfig,
  service: ServiceParts,
  stopping: AbortSignal,
  openLower: OpenLowerTiers,
  closers: Closer[],
): Promise<KvbmContext> {
  const { telemetry } = service;
  const { log } = telemetry;
  const hash64: Hash64 = (bytes) => xxh3(bytes);
  const addon = hostMemory();
  const bulk = new BulkMemory(addon);
  const directory = new SlabDirectory(slabDirectory(config), addon, hash64);
  closers.push(() => directory.close(config.discard));
  noteKeeper(directory.path, config.discard);
  const left = sweepDirectories(directory.path, addon);
  if (left.length > 0) log.info({ left }, 'slabs of block managers that were killed are removed');
  const { epoch } = directory;
  const manager = new BlockManager({ quota: quotaOf(config, () => manager), eventLimit: config.eventLimit });
  const metrics = kvbmMetrics(telemetry.metrics, manager);
  const namespaces = new NamespaceBook({
    files: bookFiles(config, directory),
    maxNamespaces: config.maxNamespaces,
    log,
  });
  let lower: LowerTiers;
  const host = new HostTier({
    manager,
    namespaces,
    epoch,
    checksums: (buffer, ranges) => bulk.checksums(buffer, ranges),
    onRegistered: (layout, slots) => lower.registered(layout, slots),
    onUnsound: () => metrics.unsound(),
  });
  closers.push(() => host.close());
  const nowMs = (): number => performance.now();
  const tierParts = { manager, host, namespaces, hash64, epoch, metrics: telemetry.metrics, log, nowMs, stopping };
  const stored = await openLower(config, tierParts);
  closers.push(() => stored.stop());
  const disk = stored.sources.find(({ source }) => source === tiers.disk);
  const peers = await startPeers(config, service, tierParts, disk);
  closers.push(() => peers?.stop());
  lower = peers === undefined ? stored : { ...stored, sources: [...stored.sources, peers.source] };
  const eviction = evictionPolicies[config.evictionPolicy];
  const limits = { hostBytes: config.hostMib * mebibyte, layoutBytes: config.layoutHostMib * mebibyte };
  const map = mapWith(config, stopping);
  const layouts = new Layouts({ manager, host, directory, lower: () => lower, map, hash64, eviction, ...limits, log });
  const holders = new Holders({
    manager,
    locks: addon,
    hash64,
    file: directory.writersFile,
    maxHolders: config.maxHolders,
    maxLeases: config.maxLeases,
    leaseMs: config.leaseMs,
    log,
    nowMs,
    onExpired: () => metrics.expired(),
  });
  closers.push(() => holders.close());
  const presence = new Presence({ manager, limit: config.eventLimit, onOverflow: () => metrics.resnapshots() });
  const onboarding = { manager, host, sources: lower.sources, nowMs, onLoad: metrics.loaded };
  const parts = { config, epoch, manager, host, layouts, holders, namespaces, presence, lower, peers, onboarding };
  const context: KvbmContext = { ...parts, self: manager.attach(), metrics, log, nowMs, stopping };
  await layouts.takeOver((layout, slab) =>
    recoverSlab(layout, slab, {
      manager,
      namespaces,
      count: (outcome, slots) => metrics.recovered(slots, outcome),
      writerOf: (tag) => holders.ghostOf(tag),
    }),
  );
  measureAtScrape(telemetry.metrics, context, config);
  return context;
}

/** One beside each kind of memory that outlives this process. */
function bookFiles({ diskDir }: KvbmConfig, { bookFile }: SlabDirectory): string[] {
  return diskDir === undefined ? [bookFile] : [bookFile, join(diskDir, 'namespaces.json')];
}

function mapWith({ prefault }: KvbmConfig, signal: AbortSignal): MapMemory {
  return async (path, bytes, create) => {
    const memory = await openSharedMemory({ path, bytes, create, signal }, hostMemory());
    if (!prefault) return memory;
    try {
      await memory.prefault({ signal });
      return memory;
    } catch (error) {
      await memory.close();
      if (memory.created) rmSync(path, { force: true });
      throw error;
    }
  };
}

function quotaOf({ tenantQuotaPercent }: KvbmConfig, manager: () => BlockManager): Quota {
  if (tenantQuotaPercent === 100) return () => Number.POSITIVE_INFINITY;
  return (_, tier, arena) => {
    const use = manager()
      .use()
      .find((one) => one.tier === tier && one.arena === arena);
    return Math.max(1, Math.floor(((use?.blocks ?? 0) * tenantQuotaPercent) / 100));
  };
}
