import { type SettingsOf, setting } from '#lib/config/settings.ts';

const group = 'KV events';

/** Settings of what the router knows of workers' caches, for the router's table. */
export const kvEventSettings = {
  kvEvents: setting.boolean({
    default: true,
    group,
    help: 'Whether the router follows the KV events of workers that promise them.',
  }),
  maxIndexBlocks: setting.integer({
    default: 50_000_000,
    min: 1000,
    group,
    help: 'Most distinct KV blocks in the index, all tiers together; further ones are dropped and counted.',
  }),
  maxIndexSlots: setting.integer({
    default: 16_384,
    min: 2,
    max: 1_000_000,
    group,
    help: 'Most data parallel ranks of workers in the index; one that is filled anew counts twice.',
  }),
  kvHitWindow: setting.integer({
    default: 0,
    min: 0,
    max: 1_000_000,
    group,
    help: 'Lookups for which the index remembers the blocks that they found, told by Match and /query; 0: none.',
  }),
  kvEventBlocksPerTurn: setting.integer({
    default: 2000,
    min: 16,
    max: 1_000_000,
    group,
    help: 'KV blocks applied or forgotten before requests are looked at again.',
  }),
  kvEventSnapshots: setting.integer({
    default: 16,
    min: 1,
    max: 10_000,
    group,
    help: 'Snapshots of workers that are asked for at once; the others wait.',
  }),
  kvEventSourceSeconds: setting.number({
    default: 10,
    min: 0.01,
    max: 3600,
    group,
    help: 'Seconds after which a worker that promises KV events and sends none counts as without a source.',
  }),
  kvEventSilenceSeconds: setting.number({
    default: 60,
    min: 0.01,
    max: 86_400,
    group,
    help: 'Seconds without any message, signs of life included, after which a stream of KV events is opened again.',
  }),
  kvEventRetryMs: setting.integer({
    default: 10_000,
    min: 1,
    max: 600_000,
    group,
    help: 'Longest wait before a broken stream of KV events is opened again, in milliseconds.',
  }),
  kvEventPulseMs: setting.integer({
    default: 1000,
    min: 1,
    max: 60_000,
    group,
    help: 'Milliseconds between two looks at streams that are silent or never match.',
  }),
  neverMatchedEvents: setting.integer({
    default: 20,
    min: 1,
    group,
    help: 'Stored events of a worker before it may count as one whose events never match.',
  }),
  neverMatchedRequests: setting.integer({
    default: 20,
    min: 1,
    group,
    help: 'Requests that repeat a prompt on the same worker and match nothing before it does.',
  }),
};

export type KvEventSettings = SettingsOf<typeof kvEventSettings>;
