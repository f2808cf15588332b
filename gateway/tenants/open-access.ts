import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { GatewayConfig } from '../config.ts';
import type { GatewayStores } from '../stores.ts';
import { Access } from './access.ts';
import { AuditLog } from './audit-log.ts';
import type { Limits } from './limits.ts';
import { OidcVerifier } from './oidc.ts';
import { RateLimits } from './rate-limits.ts';
import { limitMetrics, SharedLimits } from './shared-limits.ts';
import { Tenants, type TenantsOptions } from './tenants.ts';

/** The way in as the settings say. Throws `invalid_argument` for files that cannot be used. */
export function openAccess(config: GatewayConfig, telemetry: Telemetry, stores: GatewayStores): Access {
  const { log, metrics } = telemetry;
  const { apiKeysFile, apiKeysReloadSeconds, auditLog } = config;
  const keys = gaugeOf(metrics, 'stator_gateway_api_keys', 'API keys in force.');
  const tenants = new Tenants({
    keysFile: apiKeysFile,
    storedKeys: stores.storedKeys,
    reloadMs: apiKeysReloadSeconds * 1000,
    limits: limitsOf(config, telemetry, stores.limitsStore),
    log,
    onKeys: (count) => keys.set(count),
    verifyToken: verifierOf(config),
  });
  const lost = counterOf(metrics, 'stator_gateway_audit_errors_total', 'Failed writes of the audit log.');
  if (auditLog === undefined) return new Access(tenants, null);
  const onLost = (error: Error): void => {
    lost.inc();
    log.error({ err: error }, 'the audit log cannot be written');
  };
  return new Access(tenants, new AuditLog(auditLog, onLost));
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
