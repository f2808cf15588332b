import { Gauge, type Registry } from 'prom-client';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { counterOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { GatewayConfig } from '../config.ts';
import type { GatewayStores } from '../stores.ts';
import { Access } from './access.ts';
import { AuditLog } from './audit-log.ts';
import { FileKeys } from './file-keys.ts';
import type { Limits } from './limits.ts';
import { OidcVerifier } from './oidc.ts';
import { RateLimits } from './rate-limits.ts';
import { limitMetrics, SharedLimits } from './shared-limits.ts';
import { Tenants, type TenantsOptions } from './tenants.ts';

/** The way in as the settings say. Throws `invalid_argument` for files that cannot be used. */
export function openAccess(config: GatewayConfig, telemetry: Telemetry, stores: GatewayStores): Access {
  const { log, metrics } = telemetry;
  const { apiKeysFile: path, apiKeysReloadSeconds, apiKeysStaleSeconds, auditLog } = config;
  const tenants = new Tenants({
    file: path === undefined ? undefined : new FileKeys(path, { reloadMs: apiKeysReloadSeconds * 1000, log }),
    stored: stores.storedKeys,
    mostStaleMs: apiKeysStaleSeconds === undefined ? null : apiKeysStaleSeconds * 1000,
    limits: limitsOf(config, telemetry, stores.limitsStore),
    verifyToken: verifierOf(config),
  });
  exposeKeys(metrics, tenants);
  const lost = counterOf(metrics, 'stator_gateway_audit_errors_total', 'Failed writes of the audit log.');
  if (auditLog === undefined) return new Access(tenants, null);
  const onLost = (error: Error): void => {
    lost.inc();
    log.error({ err: error }, 'the audit log cannot be written');
  };
  return new Access(tenants, new AuditLog(auditLog, onLost));
}

/** Read when Prometheus asks. */
function exposeKeys(metrics: Registry, tenants: Tenants): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `stator_gateway_api_keys${name}`,
      help,
      registers: [metrics],
      collect() {
        this.set(read());
      },
    });
  };
  gauge('', 'API keys in force.', () => tenants.counts.keys);
  gauge('_refused', 'Records of API keys that are none, and are left out.', () => tenants.counts.refused);
  gauge('_age_seconds', 'Seconds since keys were last known to be as they are where they come from.', () => {
    return tenants.ageMs / 1000;
  });
}

/** Limits last as long and reach as far as the store that they lie in. */
function limitsOf(config: GatewayConfig, telemetry: Telemetry, store: Store): Limits {
  const { limitsSyncMs: syncMs, limitsStoreTimeoutMs: timeoutMs, limitsWithoutStore: withoutStore } = config;
  const leaseMs = config.limitsLeaseSeconds * 1000;
  limitMetrics(telemetry.metrics);
  if ((config.limitsStore ?? config.store) === 'memory:') return new RateLimits();
  return new SharedLimits({ store, telemetry, syncMs, timeoutMs, leaseMs, withoutStore });
}

function verifierOf({
  oidcIssuer,
  oidcAudience,
  oidcTenantClaim,
  apiKeysFile,
}: GatewayConfig): TenantsOptions['verifyToken'] {
  if (oidcIssuer === undefined) return undefined;
  if (apiKeysFile === undefined)
    throw StatorError.invalid('apiKeysFile', 'oidcIssuer needs apiKeysFile, which says what each tenant may do.');
  const verifier = new OidcVerifier({ issuer: oidcIssuer, audience: oidcAudience, tenantClaim: oidcTenantClaim });
  return (token, tenants) => verifier.verify(token, tenants);
}
