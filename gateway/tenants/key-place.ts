import type { Logger } from 'pino';
import { isEtcdUrl } from '#lib/discovery/etcd-records.ts';
import type { EtcdOptions } from '#lib/discovery/etcd-target.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { EtcdKeys } from './etcd-keys.ts';
import { StoredKeys } from './stored-keys.ts';

/** The settings that say where keys are, besides files. */
export interface KeyPlace {
  /** A store's URL, an etcd's, or `discovery:` for the one that discovery uses. */
  readonly apiKeysStore: string | undefined;
  readonly discovery: string;
  readonly namespace: string;
  readonly etcdUsername: string | undefined;
  readonly etcdPassword: string | undefined;
}

/** Opens the keys that the settings name, not started yet; null: none are named. Throws `invalid_argument`, and like `openStore`. */
export async function openKeyPlace(
  place: KeyPlace,
  o: { readonly log: Logger; readonly openStore: (url: string) => Promise<Store> },
): Promise<StoredKeys | EtcdKeys | null> {
  const { apiKeysStore, discovery, namespace, etcdUsername: username, etcdPassword: password } = place;
  if (apiKeysStore === undefined) return null;
  const url = apiKeysStore === 'discovery:' ? discovery : apiKeysStore;
  if (url !== apiKeysStore && !isEtcdUrl(url)) {
    const message =
      'Keys lie in discovery only where that is an etcd: name one by --discovery, or use --api-keys-file.';
    throw StatorError.invalid('apiKeysStore', message);
  }
  if (!isEtcdUrl(url)) return new StoredKeys(await o.openStore(url), o.log);
  const etcd: EtcdOptions = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  };
  try {
    return await EtcdKeys.open(url, { namespace, etcd, log: o.log });
  } catch (thrown) {
    const { code, message, field } = StatorError.from(thrown);
    if (code !== 'invalid_argument' || field !== 'discovery') throw thrown;
    throw StatorError.invalid('apiKeysStore', message, { cause: thrown });
  }
}
