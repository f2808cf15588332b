import { setting } from '#lib/config/settings.ts';

const group = 'Replicas';

/** Settings of the exchange between replicas, for the router's table. */
export const peerSettings = {
  replicaSync: setting.boolean({
    default: true,
    group,
    help: 'Whether replicas of the router tell each other of their reservations.',
  }),
  peers: setting.list({
    default: [],
    group,
    help: 'Addresses (host:port) of replicas besides those that discovery finds, each of exactly one replica.',
  }),
  peerBatchMs: setting.integer({
    default: 2,
    min: 1,
    max: 1000,
    group,
    help: 'Milliseconds for which changes are collected into one message; 256 of them go at once.',
  }),
  peerHoldSeconds: setting.integer({
    default: 30,
    min: 0,
    max: 86_400,
    group,
    help: 'Seconds for which the reservations of a replica that cannot be reached count, unless discovery says that it is gone.',
  }),
  peerHeartbeatMs: setting.integer({
    default: 1000,
    min: 10,
    max: 60_000,
    group,
    help: 'Milliseconds between two signs of life; five missed ones end a stream.',
  }),
  peerBufferMib: setting.integer({
    default: 16,
    min: 1,
    max: 65_536,
    group,
    help: 'Mebibytes of changes that wait for a slow replica; when there are more, it gets a snapshot instead.',
  }),
  peerMaxReservations: setting.integer({
    default: 100_000,
    min: 1,
    group,
    help: 'Most reservations of one replica that count.',
  }),
  maxPeers: setting.integer({ default: 64, min: 1, max: 10_000, group, help: 'Most replicas.' }),
};
