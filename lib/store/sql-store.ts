import { StatorError } from '#lib/errors/errors.ts';
import { StoreCalls } from './calls.ts';
import { checkCount, checkList, checkName, checkPut, checkSize } from './checks.ts';
import type { SqlDriver, SqlRow, SqlValue } from './driver.ts';
import type { StoreOperation } from './metrics.ts';
import type {
  Counted,
  CountOptions,
  ListOptions,
  PutOptions,
  Store,
  StoreBackendOptions,
  StoredDocument,
} from './store.ts';

/** Rows that one sweep of what expired deletes at a time, so that no other call waits long. */
const sweepRows = 500;
/** Behind every key that begins with a prefix, because keys are printable ASCII. */
const afterAll = '\x7f';
const alive = '(expires_ms IS NULL OR expires_ms > ?)';

/** The store over SQL. Single statements, so that every call is atomic in either database. */
export class SqlStore implements Store {
  readonly #driver: SqlDriver;
  readonly #o: StoreBackendOptions;
  readonly #calls: StoreCalls;

  constructor(driver: SqlDriver, o: StoreBackendOptions) {
    this.#driver = driver;
    this.#o = o;
    this.#calls = new StoreCalls(o, () => this.#sweep());
  }

  async get(collection: string, key: string): Promise<StoredDocument | null> {
    checkName('collection', collection);
    checkName('key', key);
    const sql = `SELECT key, value, version, expires_ms FROM stator_documents WHERE collection = ? AND key = ? AND ${alive}`;
    const [row] = await this.#run('get', sql, [collection, key, this.#o.now()]);
    return row === undefined ? null : documentOf(row);
  }

  async put(collection: string, key: string, value: Uint8Array, o: PutOptions = {}): Promise<number> {
    checkName('collection', collection);
    checkName('key', key);
    checkPut(o);
    checkSize(value, this.#o.maxDocumentBytes);
    await this.#checkRoom();
    const now = this.#o.now();
    const expires = o.expiresUnixMs ?? null;
    const [row] =
      o.ifVersion === undefined || o.ifVersion === 0
        ? await this.#insert({ collection, key, value, expires, now, fresh: o.ifVersion === 0 })
        : await this.#run(
            'put',
            `UPDATE stator_documents SET value = ?, expires_ms = ?, version = CASE WHEN version >= ? THEN version + 1 ELSE ? END
              WHERE collection = ? AND key = ? AND version = ? AND ${alive} RETURNING version`,
            [value, expires, stampOf(now), stampOf(now), collection, key, o.ifVersion, now],
          );
    if (row !== undefined) return Number(row['version']);
    throw new StatorError('conflict', `${collection}/${key} has another version by now.`);
  }

  async delete(collection: string, key: string, o: { readonly ifVersion?: number } = {}): Promise<boolean> {
    checkName('collection', collection);
    checkName('key', key);
    const versioned = o.ifVersion === undefined ? '' : ' AND version = ?';
    const sql = `DELETE FROM stator_documents WHERE collection = ? AND key = ?${versioned} AND ${alive} RETURNING key`;
    const version = o.ifVersion === undefined ? [] : [o.ifVersion];
    return (await this.#run('delete', sql, [collection, key, ...version, this.#o.now()])).length > 0;
  }

  async deletePrefix(collection: string, prefix: string): Promise<number> {
    checkName('collection', collection);
    checkName('prefix', prefix);
    const sql = 'DELETE FROM stator_documents WHERE collection = ? AND key >= ? AND key < ? RETURNING key';
    return (await this.#run('delete', sql, [collection, prefix, prefix + afterAll])).length;
  }

  async list(collection: string, o: ListOptions): Promise<readonly StoredDocument[]> {
    checkName('collection', collection);
    checkList(o);
    const descending = o.order === 'desc';
    const after = o.after ?? null;
    const prefix = o.prefix ?? '';
    const conditions = ['collection = ?', alive];
    const values: SqlValue[] = [collection, this.#o.now()];
    if (prefix !== '') {
      conditions.push('key >= ? AND key < ?');
      values.push(prefix, prefix + afterAll);
    }
    if (after !== null) {
      conditions.push(descending ? 'key < ?' : 'key > ?');
      values.push(after);
    }
    const sql = `SELECT key, value, version, expires_ms FROM stator_documents WHERE ${conditions.join(' AND ')}
      ORDER BY key ${descending ? 'DESC' : 'ASC'} LIMIT ?`;
    return (await this.#run('list', sql, [...values, o.limit])).map(documentOf);
  }

  async count(counter: string, amount: number, o: CountOptions): Promise<Counted> {
    checkName('counter', counter);
    checkCount(amount, o);
    const now = this.#o.now();
    const window = Math.floor(now / o.windowMs) * o.windowMs;
    const resetUnixMs = window + o.windowMs;
    const limit = o.limit ?? Number.MAX_SAFE_INTEGER;
    if (amount > limit) return { allowed: false, used: await this.#used(counter, window), resetUnixMs };
    // A window that another clock began earlier than ours counts as the one of now.
    const sql = `INSERT INTO stator_counters (name, window_ms, used, expires_ms) VALUES (?, ?, ?, ?)
      ON CONFLICT (name) DO UPDATE SET
        used = CASE WHEN stator_counters.window_ms >= excluded.window_ms THEN stator_counters.used + excluded.used ELSE excluded.used END,
        window_ms = CASE WHEN stator_counters.window_ms >= excluded.window_ms THEN stator_counters.window_ms ELSE excluded.window_ms END,
        expires_ms = excluded.expires_ms
      WHERE stator_counters.window_ms < excluded.window_ms OR stator_counters.used + excluded.used <= ?
      RETURNING used`;
    const [row] = await this.#run('count', sql, [counter, window, amount, resetUnixMs, limit]);
    if (row !== undefined) return { allowed: true, used: Number(row['used']), resetUnixMs };
    return { allowed: false, used: await this.#used(counter, window), resetUnixMs };
  }

  close(): Promise<void> {
    return this.#calls.close(() => this.#driver.close());
  }

  /** Deletes what expired. */
  async #sweep(): Promise<void> {
    const now = this.#o.now();
    for (const [table, key] of [
      ['stator_documents', 'collection, key'],
      ['stator_counters', 'name'],
    ] as const) {
      const sql = `DELETE FROM ${table} WHERE (${key}) IN (SELECT ${key} FROM ${table} WHERE expires_ms <= ? LIMIT ${sweepRows}) RETURNING 1 AS one`;
      for (let rows = sweepRows; rows === sweepRows && !this.#calls.closing; ) {
        rows = (await this.#run('sweep', sql, [now])).length;
        this.#o.metrics.expired.inc(rows);
      }
    }
  }

  #insert(o: {
    collection: string;
    key: string;
    value: Uint8Array;
    expires: number | null;
    now: number;
    fresh: boolean;
  }): Promise<readonly SqlRow[]> {
    const onlyDead = o.fresh
      ? 'WHERE stator_documents.expires_ms IS NOT NULL AND stator_documents.expires_ms <= ?'
      : '';
    // Versions begin at the time, so that a key which was deleted never comes back with an old one.
    const sql = `INSERT INTO stator_documents (collection, key, value, version, expires_ms) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value, expires_ms = excluded.expires_ms,
        version = CASE WHEN stator_documents.version >= excluded.version THEN stator_documents.version + 1 ELSE excluded.version END
      ${onlyDead} RETURNING version`;
    const values = [o.collection, o.key, o.value, stampOf(o.now), o.expires];
    return this.#run('put', sql, o.fresh ? [...values, o.now] : values);
  }

  async #used(counter: string, window: number): Promise<number> {
    const sql = 'SELECT used FROM stator_counters WHERE name = ? AND window_ms >= ?';
    const [row] = await this.#run('count', sql, [counter, window]);
    return Number(row?.['used'] ?? 0);
  }

  async #checkRoom(): Promise<void> {
    const bytes = await this.#driver.storedBytes();
    this.#o.metrics.bytes.set(bytes);
    if (bytes < this.#o.maxBytes) return;
    throw new StatorError('storage_unavailable', 'The store is full.', { retryAfterMs: 60_000 });
  }

  #run(operation: StoreOperation, sql: string, values: readonly SqlValue[]): Promise<readonly SqlRow[]> {
    return this.#calls.run(operation, () => this.#driver.query(sql, values));
  }
}

/** The least version of a write at that time: no key is written a thousand times a millisecond. */
function stampOf(nowMs: number): number {
  return nowMs * 1000;
}

function documentOf(row: SqlRow): StoredDocument {
  const expires = row['expires_ms'];
  const value = row['value'];
  if (!(value instanceof Uint8Array)) throw new StatorError('internal', 'a document in the store has no bytes');
  return {
    key: String(row['key']),
    value,
    version: Number(row['version']),
    expiresUnixMs: expires === null || expires === undefined ? null : Number(expires),
  };
}
