import { join } from 'node:path';
import { dataDirectory } from '#lib/config/directories.ts';
import type { UpConfig } from './worker-command.ts';

/** The gateway's store: a file that the next run on the same port finds again. A second `stator up` has another port. */
export function storeOf({ store, port }: Pick<UpConfig, 'store' | 'port'>): string {
  if (store !== '') return store;
  return port === 0 ? 'memory:' : `sqlite:${join(dataDirectory(), `up-${port}`, 'store.db')}`;
}
