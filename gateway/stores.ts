import { openStore } from '#lib/store/open.ts';
import type { Store } from '#lib/store/store.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { GatewayConfig } from './config.ts';

/** What gateways share. */
export interface GatewayStores {
  readonly store: Store;
  /** Of limits and budgets; may be the same. */
  readonly limitsStore: Store;
}

/** The store of limits as the settings say. Throws like `openStore`. */
export async function openLimitsStore(config: GatewayConfig, store: Store, telemetry: Telemetry): Promise<Store> {
  const { limitsStore: url, storeMaxMib } = config;
  return url === undefined ? store : openStore(url, { telemetry, maxBytes: storeMaxMib * 1024 ** 2 });
}
