import { StatorError } from '#lib/errors/errors.ts';
import { StoreCalls } from '../calls.ts';
import { checkCount, checkList, checkName, checkPut, checkSize } from '../checks.ts';
import type {
  Counted,
  CountOptions,
  ListOptions,
  PutOptions,
  Store,
  StoreBackendOptions,
  StoredDocument,
} from '../store.ts';
import type { RedisServer } from './redis-server.ts';
import {
  countScript,
  deletePrefixScript,
  deleteScript,
  listScript,
  putScript,
  type RedisScript,
  sweepScript,
} from './scripts.ts';

/** Keys that one script deletes: the server serves nobody else meanwhile. */
const mostAtOnce = 500;

/** The store on a Redis-compatible server, which keeps it as well as it was told to: see docs/tenants.md. */
export class RedisStore implements Store {
  readonly #server: RedisServer;
  readonly #o: StoreBackendOptions;
  readonly #calls: StoreCalls;

  constructor(server: RedisServer, o: StoreBackendOptions) {
    this.#server = server;
    this.#o = o;
    this.#calls = new StoreCalls(o, () => this.#sweep());
  }

  async get(collection: string, key: string): Promise<StoredDocument | null> {
    checkName('collection', collection);
    checkName('key', key);
    const command = ['HMGET', `stator:d:${collection}\n${key}`, 'v', 'n', 'e'];
    const parts = (await this.#calls.run('get', () => this.#server.send(command))) as (Buffer | null)[];
    const [value, version, expires] = parts;
    if (!value || !version || !expires) return null;
    const found = documentOf(key, value, version, expires);
    return found.expiresUnixMs === null || found.expiresUnixMs > this.#o.now() ? found : null;
  }

  async put(collection: string, key: string, value: Uint8Array, o: PutOptions = {}): Promise<number> {
    checkName('collection', collection);
    checkName('key', key);
    checkPut(o);
    checkSize(value, this.#o.maxDocumentBytes);
    const expires = o.expiresUnixMs ?? '';
    const wanted = o.ifVersion ?? 'any';
    const rest = [`${expires}`, `${this.#o.now()}`, `${wanted}`, `${this.#o.maxBytes}`];
    const answer = (await this.#calls.run('put', () =>
      this.#server.run(putScript, [collection, key, value, ...rest]),
    )) as readonly Buffer[];
    const [outcome = '', bytes] = answer.map(String);
    this.#o.metrics.bytes.set(Number(bytes));
    if (outcome === 'full')
      throw new StatorError('storage_unavailable', 'The store is full.', { retryAfterMs: 60_000 });
    if (outcome === 'conflict') throw new StatorError('conflict', `${collection}/${key} has another version by now.`);
    return Number(outcome);
  }

  async delete(collection: string, key: string, o: { readonly ifVersion?: number } = {}): Promise<boolean> {
    checkName('collection', collection);
    checkName('key', key);
    const values = [collection, key, `${o.ifVersion ?? 'any'}`, `${this.#o.now()}`];
    return Number(await this.#calls.run('delete', () => this.#server.run(deleteScript, values))) > 0;
  }

  async deletePrefix(collection: string, prefix: string): Promise<number> {
    checkName('collection', collection);
    checkName('prefix', prefix);
    return this.#calls.run('delete', () => this.#untilFew(deletePrefixScript, [collection, prefix]));
  }

  async list(collection: string, o: ListOptions): Promise<readonly StoredDocument[]> {
    checkName('collection', collection);
    checkList(o);
    const [first, last] = boundsOf(o);
    const values = [collection, first, last, o.order ?? 'asc', `${o.limit}`, `${this.#o.now()}`];
    const parts = (await this.#calls.run('list', () => this.#server.run(listScript, values))) as readonly Buffer[];
    const found: StoredDocument[] = [];
    for (let at = 0; at < parts.length; at += 4) {
      const [key, value, version, expires] = parts.slice(at, at + 4);
      if (key && value && version && expires) found.push(documentOf(String(key), value, version, expires));
    }
    return found;
  }

  async count(counter: string, amount: number, o: CountOptions): Promise<Counted> {
    checkName('counter', counter);
    checkCount(amount, o);
    const window = Math.floor(this.#o.now() / o.windowMs) * o.windowMs;
    const resetUnixMs = window + o.windowMs;
    const limit = o.limit ?? Number.MAX_SAFE_INTEGER;
    const values = [counter, `${window}`, `${amount}`, `${resetUnixMs}`, `${limit}`];
    const answer = await this.#calls.run('count', () => this.#server.run(countScript, values));
    const [allowed, used] = answer as readonly [number, Buffer];
    return { allowed: allowed === 1, used: Number(String(used)), resetUnixMs };
  }

  close(): Promise<void> {
    return this.#calls.close(() => this.#server.close());
  }

  async #sweep(): Promise<void> {
    if (this.#calls.closing) return;
    const rows = await this.#calls.run('sweep', () => this.#untilFew(sweepScript, [`${this.#o.now()}`]));
    this.#o.metrics.expired.inc(rows);
  }

  async #untilFew(script: RedisScript, values: readonly string[]): Promise<number> {
    for (let sum = 0; ; ) {
      const rows = Number(await this.#server.run(script, [...values, `${mostAtOnce}`]));
      sum += rows;
      if (rows < mostAtOnce) return sum;
    }
  }
}

/** Where a list begins and ends in the order of bytes, as ZRANGEBYLEX writes it. */
function boundsOf({ prefix = '', after = null, order = 'asc' }: ListOptions): readonly [string, string] {
  let first = prefix === '' ? '-' : `[${prefix}`;
  let last = prefix === '' ? '+' : `(${prefix}\x7f`;
  if (after === null) return [first, last];
  if (order === 'asc' && after >= prefix) first = `(${after}`;
  else if (order === 'desc' && after < `${prefix}\x7f`) last = `(${after}`;
  return [first, last];
}

function documentOf(key: string, value: Buffer, version: Buffer, expires: Buffer): StoredDocument {
  const expiresUnixMs = expires.length === 0 ? null : Number(String(expires));
  return { key, value, version: Number(String(version)), expiresUnixMs };
}
