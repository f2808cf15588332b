import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Context } from 'mocha';
import { findPostgres, startPostgres } from '#tests/support/postgres.ts';
import { findRedis, noRedis, startRedis } from '#tests/support/redis.ts';
import { skip } from '#tests/support/skip.ts';

export const noPostgres = 'PostgreSQL (initdb, postgres) is not installed';

/** Where stores lie, and whether several may be open on the same. */
export interface Place {
  readonly url: string;
  readonly shared: boolean;
  /** The server that it needs; undefined: none. */
  readonly server?: { kill(): Promise<void>; start(): Promise<void> };
  dispose(): Promise<void>;
}

export const places: Readonly<Record<string, (context: Context) => Promise<Place>>> = {
  'SQLite in memory': async () => ({ url: 'memory:', shared: false, dispose: async () => {} }),
  'SQLite in a file': async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'stator-store-'));
    const dispose = (): Promise<void> => rm(folder, { recursive: true });
    return { url: `sqlite:${path.join(folder, 'deep', 'store.db')}`, shared: true, dispose };
  },
  PostgreSQL: async (context) => {
    const server = await startPostgres(findPostgres() ?? skip(context, noPostgres));
    return { url: server.url, shared: true, server, dispose: () => server.dispose() };
  },
  Redis: async (context) => {
    const server = await startRedis(findRedis() ?? skip(context, noRedis));
    return { url: server.url, shared: true, server, dispose: () => server.dispose() };
  },
};
