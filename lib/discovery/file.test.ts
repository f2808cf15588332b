import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { describeDiscovery } from './conformance.ts';
import { openDiscovery } from './open.ts';

describeDiscovery('file', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'stator-discovery-'));
  const url = `file:${directory}`;
  const ttlSeconds = 1.5;
  return {
    open: (namespace) => openDiscovery(url, { namespace, ttlSeconds, telemetry: quietTelemetry() }),
    url,
    ttlSeconds,
    dispose: () => rm(directory, { recursive: true, force: true }),
  };
});
