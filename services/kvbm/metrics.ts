import { Counter, Gauge, type Registry } from 'prom-client';
import type { ArenaUse, BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockCounters } from '#core/blocks/block-store.ts';
import { counterOf, histogramOf } from '#lib/telemetry/metrics.ts';
import type { KvbmConfig } from './config.ts';
import type { KvbmContext } from './context.ts';
import { tierNames } from './names.ts';

type Count = (value?: number, label?: string) => void;

export interface KvbmMetrics {
  readonly onboards: Count;
  readonly recovered: Count;
  readonly unsound: Count;
  readonly suspects: Count;
  readonly expired: Count;
  readonly resnapshots: Count;
  readonly prefetches: Count;
  readonly matches: Count;
  /** Blocks came from a source. */
  loaded(source: number, blocks: number, bytes: number, seconds: number): void;
  /** Counters of every part, by name without prefix, values of labels in braces. */
  totals(): Promise<Record<string, number>>;
}

const seconds = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];
const prefix = 'stator_kvbm_';

/** What the block manager counts, as metrics. */
const managerCounters = {
  reserved: ['reserved_blocks_total', 'Slots reserved, in every tier.'],
  duplicates: ['duplicate_blocks_total', 'Blocks written while another wrote the same, and was first.'],
  refusedCommits: ['refused_commits_total', "Commits of slots that were not the holder's under that generation."],
  aborted: ['aborted_blocks_total', 'Slots given back unwritten.'],
  evictedByQuota: ['evicted_by_quota_blocks_total', 'Blocks that went because their tenant was at its quota.'],
  purged: ['purged_blocks_total', 'Blocks dropped because their tenant was purged.'],
  refusedFull: ['refused_full_total', 'Reservations refused because nothing more could go.'],
  refusedQuota: ['refused_quota_total', "Reservations refused because of the tenant's quota."],
  matchedBlocks: ['matched_blocks_total', 'Blocks asked for that some tier had.'],
  missedBlocks: ['missed_blocks_total', 'Blocks asked for that none had, and those after them.'],
} as const satisfies Record<Exclude<keyof BlockCounters, 'registered' | 'evicted'>, readonly [string, string]>;

const tierCounters = {
  registered: ['registered_blocks_total', 'Blocks that others could find from then on.'],
  evicted: ['evicted_blocks_total', 'Blocks that went to make room.'],
} as const;

export function kvbmMetrics(registry: Registry, manager: BlockManager): KvbmMetrics {
  countManager(registry, manager);
  const counter = (name: string, help: string, label?: string): Count => {
    const counts = counterOf<string>(registry, `${prefix}${name}`, help, label === undefined ? [] : [label]);
    return (value = 1, labelled = '') => counts.inc(label === undefined ? {} : { [label]: labelled }, value);
  };
  const blocks = counter('onboarded_blocks_total', 'Blocks pinned for workers, by where they came from.', 'source');
  const bytes = counter('onboarded_bytes_total', 'Bytes of them.', 'source');
  const took = histogramOf(registry, `${prefix}onboard_load_seconds`, 'Seconds of one load of an Onboard.', seconds, [
    'source',
  ]);
  return {
    onboards: counter('onboards_total', 'Onboard calls, by how they ended.', 'end'),
    recovered: counter('recovered_slots_total', 'Slots of an earlier life, by what became of them.', 'outcome'),
    unsound: counter('unsound_blocks_total', 'Blocks in host memory that were dropped because their bytes were wrong.'),
    suspects: counter('suspect_slots_total', 'Slots whose bytes a worker found to be wrong.'),
    expired: counter('expired_leases_total', 'Leases that nobody released in time.'),
    resnapshots: counter('event_overflows_total', 'Times that a reader of events was too slow and got a snapshot.'),
    prefetches: counter('prefetches_total', 'Prefetches, by what became of them.', 'outcome'),
    matches: counter('found_blocks_total', 'Blocks of prompts that were matched, by their warmest tier.', 'tier'),
    loaded(source, count, size, inSeconds) {
      const name = tierNames[source] ?? 'peer';
      blocks(count, name);
      bytes(size, name);
      took.observe({ source: name }, inSeconds);
    },
    totals: () => totalsOf(registry),
  };
}

function countManager(registry: Registry, manager: BlockManager): void {
  const registers = [registry];
  for (const [key, [name, help]] of Object.entries(managerCounters))
    new Counter({
      ...{ name: `${prefix}${name}`, help, registers },
      collect() {
        this.reset();
        this.inc(manager.counters[key as keyof BlockCounters]);
      },
    });
  for (const [key, [name, help]] of Object.entries(tierCounters))
    new Counter({
      ...{ name: `${prefix}${name}`, help, registers, labelNames: ['tier'] },
      collect() {
        this.reset();
        for (const [tier, count] of manager.tierCounters[key as keyof typeof tierCounters].entries())
          this.inc({ tier: tierNames[tier] ?? '' }, count);
      },
    });
}

async function totalsOf(registry: Registry): Promise<Record<string, number>> {
  const metrics = await registry.getMetricsAsJSON();
  const counters = metrics.filter(({ name, type }) => name.startsWith(prefix) && String(type) === 'counter');
  return Object.fromEntries(
    counters.flatMap(({ name, values }) =>
      values.map(({ labels, value }) => {
        const labelled = Object.values(labels).join();
        return [`${name.slice(prefix.length)}${labelled === '' ? '' : `{${labelled}}`}`, value];
      }),
    ),
  );
}

/** What has a level at any time is measured when it is asked for. */
export function measureAtScrape(registry: Registry, context: KvbmContext, config: KvbmConfig): void {
  const { manager, holders, presence, namespaces, host, layouts, epoch } = context;
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `${prefix}${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge('epoch', "The block manager's life.", () => epoch);
  gauge('holders', 'Workers that are attached, or lost and not proven dead.', () => holders.size);
  gauge('holder_limit', 'Most of them.', () => config.maxHolders);
  gauge(
    'lost_holders',
    'Workers whose stream ended and that may still write.',
    () => [...holders.all()].filter(({ lost }) => lost).length,
  );
  gauge('leases', 'Leases in force, those of movers included.', () => manager.leases);
  gauge('lease_limit', 'Most leases of one worker.', () => config.maxLeases);
  gauge('namespaces', 'Namespaces that are known.', () => namespaces.size);
  gauge('namespace_limit', 'Most of them.', () => config.maxNamespaces);
  gauge('layouts', 'Layouts that have host memory.', () => host.layouts().length);
  gauge('host_bytes', 'Bytes of the slabs.', () => layouts.usedBytes);
  gauge('host_limit_bytes', 'Most of them.', () => config.hostMib * 2 ** 20);
  gauge('index_bytes', 'Memory of the index of blocks.', () => manager.bytes);
  gauge(
    'unverified_slots',
    'Blocks of an earlier life that were not compared with their checksums yet.',
    () => host.unverified,
  );
  gauge('event_readers', 'Streams that follow presence.', () => presence.readers);
  measureArenas(registry, manager);
}

const states = [
  'free',
  'partial',
  'registered',
  'evictable',
  'doomed',
  'revoked',
] as const satisfies readonly (keyof ArenaUse)[];

function measureArenas(registry: Registry, manager: BlockManager): void {
  new Gauge({
    name: `${prefix}slots`,
    help: 'Slots, by tier and state; evictable ones are among the registered.',
    labelNames: ['tier', 'state'],
    registers: [registry],
    collect() {
      this.reset();
      for (const use of manager.use())
        for (const state of states) this.inc({ tier: tierNames[use.tier], state }, use[state]);
    },
  });
}
