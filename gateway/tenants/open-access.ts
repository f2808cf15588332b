import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { GatewayConfig } from '../config.ts';
import { Access } from './access.ts';
import { AuditLog } from './audit-log.ts';
import { Tenants } from './tenants.ts';

/** The way in as the settings say. Throws `invalid_argument` for files that cannot be used. */
export function openAccess(config: GatewayConfig, { log, metrics }: Telemetry): Access {
  const { apiKeysFile, apiKeysReloadSeconds, auditLog } = config;
  const keys = gaugeOf(metrics, 'stator_gateway_api_keys', 'API keys in force.');
  const tenants = new Tenants({
    keysFile: apiKeysFile,
    reloadMs: apiKeysReloadSeconds * 1000,
    log,
    onKeys: (count) => keys.set(count),
  });
  if (auditLog === undefined) return new Access(tenants, null);
  const lost = counterOf(metrics, 'stator_gateway_audit_errors_total', 'Failed writes of the audit log.');
  const onLost = (error: Error): void => {
    lost.inc();
    log.error({ err: error }, 'the audit log cannot be written');
  };
  return new Access(tenants, new AuditLog(auditLog, onLost));
}
