import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Context } from 'mocha';
import { withKeys } from '#cli/keys/key-book.ts';
import type { GatewayConfig } from '#gateway/config.ts';
import type { KeyBook } from '#gateway/tenants/key-book.ts';
import { openStore } from '#lib/store/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { startEtcd } from '#tests/support/etcd.ts';
import { NO_ETCD } from '#tests/support/etcd-binary.ts';
import { skip } from '#tests/support/skip.ts';
import { type Place, places } from './places.ts';

/** A place where API keys are kept. */
export interface KeysPlace {
  /** What tells a gateway of it. */
  readonly config: Partial<GatewayConfig>;
  /** As `stator keys` works with it. */
  readonly book: KeyBook;
  /** Its records, past all that checks them; null: it is one document. */
  readonly records: { read(id: string): Promise<string>; write(id: string, text: string): Promise<void> } | null;
  /** Files that hold everything; empty: a server does. */
  readonly files: readonly string[];
  readonly server?: { kill(): Promise<void>; start(): Promise<void> };
  dispose(): Promise<void>;
}

const namespace = 'keys';

export const keyPlaces: Readonly<Record<string, (context: Context) => Promise<KeysPlace>>> = {
  'a file': async (context) => {
    const place = await placeOf('SQLite in a file', context);
    const folder = path.dirname(path.dirname(place.url.slice('sqlite:'.length)));
    const apiKeysFile = path.join(folder, 'keys.yaml');
    const book = bookOf({ apiKeysFile });
    // A gateway wants a file that is there.
    await book.add({ id: 'first', hash: `sha256:${'0'.repeat(64)}` });
    await book.remove('first');
    const dispose = (): Promise<void> => rm(folder, { recursive: true, force: true });
    return { config: { apiKeysFile }, book, records: null, files: [apiKeysFile], dispose };
  },
  etcd: async (context) => {
    const server = (await startEtcd()) ?? skip(context, NO_ETCD);
    const key = (id: string): string => `/stator/v1/${namespace}/api-keys/${id}`;
    const config = { apiKeysStore: 'discovery:', discovery: server.discoveryUrl, namespace };
    return {
      config,
      book: bookOf(config),
      records: {
        read: async (id) => (await server.client.get(key(id)).string()) ?? '',
        write: async (id, text) => void (await server.client.put(key(id)).value(text)),
      },
      files: [],
      server: { kill: () => server.kill(), start: () => server.restart() },
      dispose: () => server.stop(),
    };
  },
  ...Object.fromEntries(
    Object.keys(places)
      .filter((name) => name !== 'SQLite in memory')
      .map((name) => [name, (context: Context) => storePlace(name, context)]),
  ),
};

async function storePlace(name: string, context: Context): Promise<KeysPlace> {
  const { url, server, dispose } = await placeOf(name, context);
  const options = { telemetry: quietTelemetry(), maxBytes: 1024 ** 3 };
  const file = url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : null;
  return {
    config: { apiKeysStore: url },
    book: bookOf({ apiKeysStore: url }),
    records: {
      read: async (id) => {
        const store = await openStore(url, options);
        const found = await store.get('api-keys', id);
        await store.close();
        return Buffer.from(found?.value ?? []).toString();
      },
      write: async (id, text) => {
        const store = await openStore(url, options);
        await store.put('api-keys', id, Buffer.from(text));
        await store.put('api-keys-changed', 'now', new Uint8Array());
        await store.close();
      },
    },
    files: file === null ? [] : [file, `${file}-wal`],
    ...(server === undefined ? {} : { server }),
    dispose,
  };
}

async function placeOf(name: string, context: Context): Promise<Place> {
  const open = places[name];
  if (open === undefined) throw new Error(`there is no place ${name}`);
  return open(context);
}

/** Every call as a command of its own. */
function bookOf(config: Partial<GatewayConfig>): KeyBook {
  const place = {
    apiKeysFile: config.apiKeysFile ?? '',
    apiKeysStore: config.apiKeysStore,
    discovery: config.discovery ?? 'memory:',
    namespace,
    etcdUsername: undefined,
    etcdPassword: undefined,
  };
  return {
    add: (entry) => withKeys(place, (book) => book.add(entry)),
    list: (onRefused) => withKeys(place, (book) => book.list(onRefused)),
    change: (id, change) => withKeys(place, (book) => book.change(id, change)),
    remove: (id) => withKeys(place, (book) => book.remove(id)),
  };
}

/** What a file holds; empty where there is none. */
export function textOf(file: string): Promise<string> {
  return readFile(file, 'latin1').catch(() => '');
}
