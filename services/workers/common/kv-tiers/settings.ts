import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';

const group = 'KV tiers';

/** Settings of a worker that uses its node's KV block manager. */
export const kvTierSettings = defineSettings({
  kvbm: setting.string({
    default: 'auto',
    group,
    help: "host:port of this machine's KV block manager; auto: the one that discovery shows, if there is one; off: none.",
  }),
  kvbmMode: setting.choice(['preferred', 'required'], {
    default: 'preferred',
    group,
    help: 'Whether the worker takes work while it is not attached to a KV block manager. Requests never fail for want of one.',
  }),
  kvbmTimeoutMs: setting.integer({
    default: 2000,
    min: 1,
    max: 600_000,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds that a short call to the KV block manager may take.',
  }),
  kvbmAttachTimeoutMs: setting.integer({
    default: 60_000,
    min: 1,
    max: 600_000,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds that attaching may take: the first worker of a kind waits until there is host memory for its blocks.',
  }),
  kvbmRetryMs: setting.integer({
    default: 5000,
    min: 1,
    max: 600_000,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds between tries to attach at most; the first ones follow each other faster.',
  }),
  kvOnboardTimeoutMs: setting.integer({
    default: 2000,
    min: 1,
    max: 600_000,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds that a prompt waits for its KV from tiers; what has not come then is computed.',
  }),
  kvOnboard: setting.choice(['always', 'faster', 'off'], {
    default: 'always',
    group,
    help: 'Which KV is brought from tiers: all that is found, what is expected sooner than computing it, or none.',
  }),
  kvOnboardSequences: setting.integer({
    default: 8,
    min: 1,
    max: 4096,
    group,
    help: 'Sequences whose KV comes from tiers at once; others wait, and their blocks are brought into host memory meanwhile.',
  }),
  kvOffload: setting.choice(['missing', 'frequent', 'all', 'off'], {
    default: 'missing',
    group,
    help: 'Which computed blocks are written back: those that no tier has, of these the ones that were computed twice lately, all, or none.',
  }),
  kvOffloadMibPerSecond: setting.number({
    default: 0,
    min: 0,
    unit: 'MiB',
    group,
    help: 'Bandwidth of writing back, in MiB a second; 0: no limit.',
  }),
  kvOffloadQueueBlocks: setting.integer({
    default: 65_536,
    min: 1,
    group,
    help: 'Blocks that wait to be written back at most; further ones are dropped.',
  }),
  kvOffloadBatchBlocks: setting.integer({
    default: 64,
    min: 1,
    max: 4096,
    group,
    help: 'Blocks that are written back in one go at most.',
  }),
  kvOffloadBatches: setting.integer({
    default: 2,
    min: 1,
    max: 64,
    group,
    help: 'Batches that are written back at once.',
  }),
  kvOffloadHoldShare: setting.number({
    default: 0.25,
    min: 0,
    max: 0.9,
    group,
    help: 'Share of the KV cache for blocks that wait to be written back and so are not evicted; beyond it they may go before their turn.',
  }),
  kvOffloadDrainMs: setting.integer({
    default: 2000,
    min: 0,
    max: 600_000,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds for which a worker that stops still writes back what waits.',
  }),
  kvLockDirectory: setting.optionalString({
    group,
    help: 'Directory, the same for workers and KV block manager, of files whose locks tell which workers live. Default: /dev/shm where there is one.',
  }),
});

export type KvTierConfig = SettingsOf<typeof kvTierSettings>;
