import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { SqlDriver } from './driver.ts';
import { storeMetrics } from './metrics.ts';
import { SqlStore } from './sql-store.ts';
import type { Store, StoreBackendOptions } from './store.ts';

export interface StoreOptions {
  readonly telemetry: Telemetry;
  /** Bytes of all documents beyond which nothing is put. */
  readonly maxBytes: number;
  /** Largest document. Default 16 MiB. */
  readonly maxDocumentBytes?: number;
  /** Unix time in milliseconds. Default: the system's clock. */
  readonly now?: () => number;
  /** Milliseconds between sweeps of what expired. Default: one minute. */
  readonly sweepMs?: number;
}

const postgresOptions = { connections: 8, timeoutMs: 10_000 };

/**
 * Opens the store that a URL names: `memory:` (gone with the process), `sqlite:/file` (shared by processes of this machine),
 * `postgres://user:password@host:port/database`, `redis://…` or `rediss://user:password@host:port/database`. Throws
 * StatorError `invalid_argument` for anything else and `storage_unavailable` where it cannot be opened.
 */
export async function openStore(url: string, o: StoreOptions): Promise<Store> {
  const { telemetry } = o;
  const options: StoreBackendOptions = {
    metrics: storeMetrics(telemetry.metrics),
    maxBytes: o.maxBytes,
    maxDocumentBytes: o.maxDocumentBytes ?? 16 * 1024 ** 2,
    now: o.now ?? Date.now,
    sweepMs: o.sweepMs ?? 60_000,
    onSweepFailed: (error) => telemetry.log.warn({ err: error }, 'the store could not be swept'),
  };
  const onBroken = (error: Error): void => telemetry.log.warn({ err: error }, 'a connection to the store broke');
  if (/^rediss?:\/\//.test(url)) {
    const { openRedis } = await import('./redis/redis-server.ts');
    const { RedisStore } = await import('./redis/redis-store.ts');
    return new RedisStore(await openRedis(url, onBroken), options);
  }
  return new SqlStore(await openDriver(url, onBroken), options);
}

async function openDriver(url: string, onBroken: (error: Error) => void): Promise<SqlDriver> {
  if (url === 'memory:' || url.startsWith('sqlite:')) {
    const { SqliteDriver } = await import('./sqlite.ts');
    return new SqliteDriver(url === 'memory:' ? ':memory:' : fileOf(url));
  }
  if (/^postgres(ql)?:\/\//.test(url)) {
    const { PostgresDriver } = await import('./postgres.ts');
    return PostgresDriver.open(url, { ...postgresOptions, onBroken });
  }
  const scheme = /^[a-z]{1,20}:/.exec(url)?.[0] ?? 'it';
  const message = `store ${scheme} is not known: use memory:, sqlite:/FILE, postgres://… or redis://…`;
  throw StatorError.invalid('store', message);
}

function fileOf(url: string): string {
  const rest = url.slice('sqlite:'.length);
  if (rest === '') throw StatorError.invalid('store', 'store sqlite: needs a file: sqlite:/FILE');
  return rest.startsWith('//') ? fileURLToPath(`file:${rest}`) : path.resolve(rest);
}
