import { setting } from '#lib/config/settings.ts';

/** Settings that keep hostile clients from holding the public port. docs/security.md tells the attacks. */
export const edgeSettings = {
  bodyTimeoutSeconds: setting.number({
    default: 20,
    min: 0.05,
    max: 86_400,
    help: 'Seconds for a request body, and one more for every 4096 bytes that came: bodies that come slower are refused.',
  }),
  messageTimeoutSeconds: setting.number({
    default: 120,
    min: 0.05,
    max: 86_400,
    help: 'Seconds in which the message of a gRPC call must have come, where it has only one.',
  }),
  maxStreams: setting.integer({
    default: 1000,
    min: 1,
    max: 1_000_000,
    help: 'Streams of one HTTP/2 connection at once, and with them gRPC calls; clients wait with more.',
  }),
  maxConnections: setting.integer({
    default: 16_384,
    min: 0,
    help: 'Connections to the public port at once; more are closed. 0: any number.',
  }),
  maxConnectionsPerAddress: setting.integer({
    default: 0,
    min: 0,
    help: 'The same from one address (IPv6: one /64). 0: any number, as behind a proxy.',
  }),
};
