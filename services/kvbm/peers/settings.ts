import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';

const group = 'Other nodes';

export const peerSettings = defineSettings({
  peers: setting.boolean({
    default: true,
    group,
    help: 'Lends blocks to the block managers of other nodes and fetches theirs. Without it neither happens.',
  }),
  peerFanout: setting.integer({
    default: 3,
    min: 1,
    max: 64,
    group,
    help: 'Nodes that are asked for one prompt at most.',
  }),
  peerProbes: setting.integer({
    default: 1,
    min: 0,
    max: 64,
    group,
    help: 'Of them, nodes that are asked though their summary says no, because it may be older than the blocks.',
  }),
  peerSummaryMs: setting.integer({
    default: 2000,
    min: 10,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds between two looks at the summary of a node.',
  }),
  peerStageMs: setting.integer({
    default: 10_000,
    min: 1,
    unit: 'milliseconds',
    group,
    help: 'Milliseconds for which blocks are kept for another node at most, and that one load from a node may take.',
  }),
  peerStagedMib: setting.integer({
    default: 256,
    min: 1,
    unit: 'MiB',
    group,
    help: 'Blocks that are kept for other nodes at once; whoever asks for more gets less.',
  }),
  peerStages: setting.integer({ default: 256, min: 1, group, help: 'Stages of other nodes at once.' }),
  peerPulls: setting.integer({ default: 8, min: 1, group, help: 'Loads from other nodes at once.' }),
  peerTransfer: setting.choice(['auto', 'shm', 'nixl', 'tcp'], {
    default: 'auto',
    group,
    help: 'How bytes come from other nodes; auto takes the first of shm, nixl and tcp that works.',
  }),
  peerTransferHost: setting.string({
    default: '127.0.0.1',
    group,
    help: 'Address on which other nodes read blocks over TCP. Beyond loopback it takes --internal-token, or mutual TLS.',
  }),
});

export type PeerConfig = SettingsOf<typeof peerSettings>;
