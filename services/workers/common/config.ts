import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { serviceSettings } from '#lib/service/settings.ts';
import { handoffSettings } from './handoff/settings.ts';
import { kvTierSettings } from './kv-tiers/settings.ts';
import { placeSettings } from './place.ts';

const group = 'Worker';

/** Settings that every worker has, whichever engine it runs. */
export const workerSettings = defineSettings({
  ...serviceSettings,
  canaryIdleSeconds: setting.number({
    default: 30,
    min: 0,
    max: 86_400,
    group,
    help: 'Seconds without traffic after which the worker tests itself with one token; 0: never.',
  }),
  canaryTimeoutSeconds: setting.number({
    default: 30,
    min: 0.01,
    max: 3600,
    group,
    help: 'Seconds that test, and the warm-up before registration, may take.',
  }),
  drainNoticeMs: setting.integer({
    default: 200,
    min: 0,
    max: 60_000,
    group,
    help: 'Milliseconds between announcing that the worker drains and refusing new work.',
  }),
  sessionSlots: setting.integer({ default: 4096, min: 1, group, help: 'Sequences in one gateway session at once.' }),
  sessionResumeGraceMs: setting.integer({
    default: 5000,
    min: 0,
    group,
    help: 'Milliseconds for which a broken session can be resumed.',
  }),
  sessionBufferKib: setting.integer({
    default: 4096,
    min: 16,
    group,
    help: 'KiB of unacknowledged frames after which a session ends.',
  }),
  generateBufferTokens: setting.integer({
    default: 16_384,
    min: 1,
    group,
    help: 'Tokens that a client of Generate may leave unread before it is cut.',
  }),
  kvEventRing: setting.integer({
    default: 65_536,
    min: 1,
    group,
    help: 'KV events kept for subscribers; one that falls further behind is cut.',
  }),
  forwardPassRing: setting.integer({
    default: 1024,
    min: 1,
    group,
    help: 'Forward passes kept for a slow subscriber; older ones are dropped.',
  }),
  subscriptionHeartbeatMs: setting.integer({
    default: 10_000,
    min: 10,
    group,
    help: 'Milliseconds of silence after which a KV event stream sends a heartbeat.',
  }),
  deviceWeight: setting.number({
    default: 1,
    min: 0.001,
    max: 1_000_000,
    group,
    help: "Work that this worker's device does in the time in which the slowest kind does one, for the routing mode device-aware-weighted.",
  }),
  maxSequencesFetchingKv: setting.integer({
    default: 1024,
    min: 1,
    group,
    help: 'Sequences that wait for KV from elsewhere at once; further ones are computed.',
  }),
  keptPromptShare: setting.number({
    default: 0.25,
    min: 0,
    max: 0.9,
    group,
    help: 'Share of the KV cache for prompts that requests ask to keep; 0: none are, and the model card says so.',
  }),
  maxKeptPrompts: setting.integer({ default: 1024, min: 1, group, help: 'Prompts kept at once.' }),
  maxKeepSeconds: setting.integer({
    default: 3600,
    min: 1,
    max: 86_400,
    group,
    help: 'Longest time that a prompt is kept after its request; longer wishes are cut.',
  }),
  ...placeSettings,
  ...handoffSettings,
  ...kvTierSettings,
  maxEmbedRequests: setting.integer({
    default: 64,
    min: 1,
    group,
    help: 'Embed and Score requests at once; more are refused.',
  }),
});

export type WorkerConfig = SettingsOf<typeof workerSettings>;
