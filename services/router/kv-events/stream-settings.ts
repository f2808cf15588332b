import { type SettingsOf, setting } from '#lib/config/settings.ts';

const group = 'KV events';

/** Settings of engines' own event streams that the router follows by itself. */
export const streamSettings = {
  maxEngineStreams: setting.integer({
    default: 1024,
    min: 0,
    max: 4096,
    group,
    help: "Most engines' own event streams (ZeroMQ) that calls make the router follow, one for each data parallel rank; 0: none.",
  }),
  engineStreamTransports: setting.choice(['tcp+ipc', 'tcp', 'ipc'], {
    default: 'tcp+ipc',
    group,
    help: 'Kinds of addresses at which it may follow them.',
  }),
  engineStreamBlocks: setting.integer({
    default: 1_000_000,
    min: 1,
    group,
    help: 'Most distinct KV blocks that are kept track of for each of them.',
  }),
  engineStreamMessages: setting.integer({
    default: 10_000,
    min: 1,
    max: 1_000_000,
    group,
    help: 'Most messages of each that may wait; further ones are asked for again.',
  }),
  engineStreamReplayMs: setting.integer({
    default: 2000,
    min: 1,
    max: 600_000,
    group,
    help: 'Longest silence of an engine that is asked for missed messages, in milliseconds.',
  }),
};

export type StreamSettings = SettingsOf<typeof streamSettings>;
