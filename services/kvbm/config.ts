import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';
import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { serviceSettings } from '#lib/service/settings.ts';
import { transferSettings } from '#lib/transfer/settings.ts';
import { directoryPrefix } from './left-directories.ts';
import { storedTierSettings } from './movers/tier-settings.ts';
import { peerSettings } from './peers/settings.ts';

const host = 'Host memory';
const holders = 'Holders';
const onboarding = 'Onboarding';
const events = 'Events';

export const kvbmSettings = defineSettings({
  ...serviceSettings,
  name: setting.string({
    default: 'default',
    group: 'KV block manager',
    help: 'Tells block managers of one user on one machine apart; part of the default of --slab-dir.',
  }),
  hostMib: setting.integer({
    default: 1024,
    min: 1,
    max: 16 * 1024 * 1024,
    unit: 'MiB',
    group: host,
    help: 'Host memory for KV blocks of all layouts.',
  }),
  layoutHostMib: setting.integer({
    default: 16 * 1024 * 1024,
    min: 1,
    max: 16 * 1024 * 1024,
    unit: 'MiB',
    group: host,
    help: 'Host memory for one layout at most; the first one gets all that is left, up to this.',
  }),
  slabDir: setting.optionalString({
    group: host,
    help: 'Directory of the slabs, on tmpfs or huge pages. Default: in /dev/shm, named after user and --name; without /dev/shm in the cache.',
  }),
  prefault: setting.boolean({
    default: true,
    group: host,
    help: 'Gives slabs their pages before they are used, so that no first copy into a slot waits for the system.',
  }),
  discard: setting.boolean({
    default: false,
    group: host,
    help: 'Removes the slabs at the end, so that the next start begins with empty host memory.',
  }),
  evictionPolicy: setting.choice(['lru', 'multi-lru', 'lineage'], {
    default: 'lru',
    group: host,
    help: 'Which block goes when another comes: the longest unused, the least often and longest unused, or the longest unused without children.',
  }),
  tenantQuotaPercent: setting.integer({
    default: 100,
    min: 1,
    max: 100,
    group: host,
    help: 'Part of the slots of a layout that blocks of one cache salt may take, in every tier.',
  }),
  sweepMibPerSecond: setting.integer({
    default: 512,
    min: 0,
    unit: 'MiB',
    group: host,
    help: 'Blocks of an earlier life that are verified in the background, in MiB a second; 0: only before their first use.',
  }),
  maxHolders: setting.integer({ default: 256, min: 1, group: holders, help: 'Workers that are attached at once.' }),
  maxLeases: setting.integer({ default: 4096, min: 1, group: holders, help: 'Leases of one worker at once.' }),
  leaseMs: setting.integer({
    default: 120_000,
    min: 1,
    unit: 'milliseconds',
    group: holders,
    help: 'Milliseconds after which a lease ends that nobody released; readers notice when blocks go under them.',
  }),
  maxNamespaces: setting.integer({
    default: 16_384,
    min: 1,
    group: holders,
    help: 'Namespaces (model, adapter, rank and cache salt) that are known at once.',
  }),
  maxChainBlocks: setting.integer({ default: 65_536, min: 1, group: holders, help: 'Blocks that one call may name.' }),
  heartbeatMs: setting.integer({
    default: 2000,
    min: 10,
    unit: 'milliseconds',
    group: holders,
    help: 'Milliseconds after which a silent Attach stream carries a sign of life.',
  }),
  lostPollMs: setting.integer({
    default: 200,
    min: 1,
    unit: 'milliseconds',
    group: holders,
    help: 'Milliseconds between looks at the locks of workers whose stream ended while they were writing.',
  }),
  onboardTimeoutMs: setting.integer({
    default: 10_000,
    min: 1,
    unit: 'milliseconds',
    group: onboarding,
    help: 'Milliseconds after which Onboard gives up, where the caller does not say.',
  }),
  onboardWindow: setting.integer({
    default: 256,
    min: 1,
    group: onboarding,
    help: 'Blocks of one Onboard that are asked for and not handed over yet.',
  }),
  onboardLoadBlocks: setting.integer({ default: 32, min: 1, group: onboarding, help: 'Blocks of one load at most.' }),
  onboardLoadsPerSource: setting.integer({
    default: 2,
    min: 1,
    group: onboarding,
    help: 'Loads of one Onboard that a source works on at once.',
  }),
  findTimeoutMs: setting.integer({
    default: 200,
    min: 0,
    unit: 'milliseconds',
    group: onboarding,
    help: 'Milliseconds in which object store and peers may say whether they have more of a prompt.',
  }),
  maxPrefetches: setting.integer({
    default: 16,
    min: 0,
    group: onboarding,
    help: 'Prefetches under way at once; hints beyond them are dropped.',
  }),
  ...storedTierSettings,
  ...peerSettings,
  ...transferSettings,
  eventIntervalMs: setting.integer({
    default: 10,
    min: 1,
    unit: 'milliseconds',
    group: events,
    help: 'Milliseconds for which changes of presence are gathered.',
  }),
  eventLimit: setting.integer({
    default: 65_536,
    min: 16,
    group: events,
    help: 'Changes of presence that wait for one reader; beyond them it gets a snapshot instead.',
  }),
  maxWatchers: setting.integer({ default: 64, min: 0, group: events, help: 'WatchEvents streams at once.' }),
});

export type KvbmConfig = SettingsOf<typeof kvbmSettings>;

/** Where the slabs are. */
export function slabDirectory({ slabDir, name }: Pick<KvbmConfig, 'slabDir' | 'name'>): string {
  if (slabDir !== undefined) return slabDir;
  const safe = name.replaceAll(/[^\w.-]/g, '_');
  if (existsSync('/dev/shm')) return `/dev/shm/${directoryPrefix()}${safe}`;
  return join(cacheDirectory(), 'kvbm', safe);
}
