import { randomBytes } from 'node:crypto';
import type { SettingsOf } from '#lib/config/settings.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { createTelemetry, type Telemetry } from '#lib/telemetry/telemetry.ts';
import type { processSettings } from './settings.ts';

export type ProcessConfig = SettingsOf<typeof processSettings>;

/** What a service is given besides its configuration. */
export interface ServiceParts {
  readonly telemetry: Telemetry;
  readonly discovery: Discovery;
  /** Aborted when the process begins to stop. */
  readonly shutdown: AbortSignal;
  readonly instanceId: bigint;
}

/** Random and never zero, which stands for no instance. */
export function newInstanceId(): bigint {
  return randomBytes(8).readBigUInt64LE() | 1n;
}

export function openTelemetry(service: string, config: ProcessConfig, instanceId: bigint): Telemetry {
  const { logLevel, logFormat, otlpEndpoint } = config;
  return createTelemetry({ service, instanceId, logLevel, logFormat, otlpEndpoint });
}

export function openConfiguredDiscovery(config: ProcessConfig, telemetry: Telemetry): Promise<Discovery> {
  const {
    discovery,
    namespace,
    discoveryTtlSeconds: ttlSeconds,
    etcdUsername: username,
    etcdPassword: password,
  } = config;
  const etcd = { ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }) };
  return openDiscovery(discovery, { namespace, ttlSeconds, telemetry, etcd });
}
