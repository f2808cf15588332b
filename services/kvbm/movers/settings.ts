import { defineSettings, setting } from '#lib/config/settings.ts';

const group = 'Offloading';

const filters = ['pass_all', 'presence', 'presence_lfu', 'frequency'] as const;

const filterHelp =
  'all, those that it lacks, of these those that came at least twice lately by an estimate (presence_lfu), or by counters that double and decay (frequency: spares the disk)';

export type FilterName = (typeof filters)[number];

export const moverSettings = defineSettings({
  offloadWhen: setting.choice(['registered', 'pressure'], {
    default: 'registered',
    group,
    help: 'When blocks are copied to colder tiers: as soon as they are in host memory, or once it is filled to --offload-pressure-percent.',
  }),
  offloadPressurePercent: setting.integer({
    default: 75,
    min: 0,
    max: 100,
    group,
    help: 'Part of host memory in use from which blocks are copied under --offload-when pressure.',
  }),
  diskFilter: setting.choice(filters, { default: 'presence', group, help: `Blocks that go to disk: ${filterHelp}.` }),
  objectFilter: setting.choice(filters, {
    default: 'presence',
    group,
    help: 'Blocks that go to the object store, by the same names.',
  }),
  offloadMinFrequency: setting.integer({
    default: 2,
    min: 1,
    group,
    help: 'How often a block must have come for the filters presence_lfu and frequency.',
  }),
  offloadDecaySeconds: setting.integer({
    default: 600,
    min: 1,
    unit: 'seconds',
    group,
    help: 'After so long a count of the filter frequency is one less.',
  }),
  offloadBatchBlocks: setting.integer({ default: 64, min: 1, group, help: 'Blocks of one batch at most.' }),
  offloadMaxWaiting: setting.integer({
    default: 65_536,
    min: 1,
    group,
    help: 'Blocks that wait for one tier; beyond them those of lowest priority are not copied.',
  }),
  diskWriteMibPerSecond: setting.integer({
    default: 0,
    min: 0,
    unit: 'MiB',
    group,
    help: 'Written to disk at most, in MiB a second; 0: no limit.',
  }),
  objectWriteMibPerSecond: setting.integer({
    default: 0,
    min: 0,
    unit: 'MiB',
    group,
    help: 'Written to the object store at most, in MiB a second; 0: no limit.',
  }),
});
