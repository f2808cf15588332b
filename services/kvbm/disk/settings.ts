import { defineSettings, setting } from '#lib/config/settings.ts';

const group = 'Disk tier';

export const diskSettings = defineSettings({
  diskDir: setting.optionalString({ group, help: 'Directory for KV blocks on disk (G3). Unset: none are kept there.' }),
  diskMib: setting.integer({
    default: 16_384,
    min: 1,
    unit: 'MiB',
    group,
    help: 'Disk for KV blocks of all layouts.',
  }),
  layoutDiskMib: setting.integer({
    default: 16 * 1024 * 1024,
    min: 1,
    unit: 'MiB',
    group,
    help: 'Disk for one layout at most; the first one gets all that is left, up to this.',
  }),
  diskSegmentMib: setting.integer({ default: 256, min: 1, max: 65_536, unit: 'MiB', group, help: 'One file at most.' }),
  diskConcurrency: setting.integer({
    default: 4,
    min: 1,
    max: 256,
    group,
    help: 'Reads at once, and half as many writes.',
  }),
  diskDirect: setting.boolean({
    default: true,
    group,
    help: 'Bypasses the page cache (O_DIRECT) where the file system can.',
  }),
});
