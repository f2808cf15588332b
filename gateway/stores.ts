import { StatorError } from '#lib/errors/errors.ts';
import { LateStore } from '#lib/store/late-store.ts';
import { openStore } from '#lib/store/open.ts';
import type { Store } from '#lib/store/store.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { GatewayConfig } from './config.ts';
import { openKeyPlace } from './tenants/key-place.ts';
import type { KeySource } from './tenants/key-source.ts';
import { StoredKeys } from './tenants/stored-keys.ts';

/** What gateways share. */
export interface GatewayStores {
  readonly store: Store;
  /** Of limits and budgets; may be the same. */
  readonly limitsStore: Store;
  /** Read once, and followed until it is closed; undefined: keys are kept in files only. */
  readonly storedKeys: KeySource | undefined;
  close(): Promise<void>;
}

/** Opens the stores that the settings name; those of one URL are one. Throws like `openStore`, but for a store of limits alone. */
export async function openStores(config: GatewayConfig, telemetry: Telemetry): Promise<GatewayStores> {
  const opened = new Map<string, Store>();
  const openNew = (url: string): Promise<Store> =>
    openStore(url, { telemetry, maxBytes: config.storeMaxMib * 1024 ** 2 });
  const open = async (url: string, whereItFails?: (thrown: unknown) => Store): Promise<Store> => {
    const store = opened.get(url) ?? (await openNew(url).catch(whereItFails));
    opened.set(url, store);
    return store;
  };
  // Limits hold without their store in the way that the settings say, also from the start on.
  const openLater = (url: string, thrown: unknown): Store => {
    if (StatorError.from(thrown).code !== 'storage_unavailable') throw thrown;
    telemetry.log.error({ err: thrown }, 'the store of limits cannot be opened yet');
    return new LateStore(() => openNew(url), thrown);
  };
  const close = async (): Promise<void> => {
    for (const store of opened.values()) await store.close();
  };
  try {
    const store = await open(config.store);
    const limitsUrl = config.limitsStore ?? config.store;
    const limitsStore = await open(limitsUrl, (thrown) => openLater(limitsUrl, thrown));
    const storedKeys = (await openKeyPlace(config, { log: telemetry.log, openStore: open })) ?? undefined;
    try {
      if (storedKeys instanceof StoredKeys) await storedKeys.start(config.apiKeysReloadSeconds * 1000);
      else await storedKeys?.start();
    } catch (thrown) {
      await storedKeys?.close();
      throw thrown;
    }
    return { store, limitsStore, storedKeys, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}
