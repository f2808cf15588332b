import { Pool, type PoolClient } from 'pg';
import { StatorError } from '#lib/errors/errors.ts';
import type { SqlDriver, SqlRow, SqlValue } from './driver.ts';
import { checkVersion, migrations } from './migrations.ts';

/** Any number that no other program locks: gateways that start at once migrate one after the other. */
const migrationLock = 7_284_650_219;
/** How long the size of the tables is taken for true. */
const sizeAgeMs = 10_000;

export interface PostgresOptions {
  /** Connections at once. */
  readonly connections: number;
  /** For one statement, waiting for a connection included twice at most. */
  readonly timeoutMs: number;
  /** Told of connections that broke while nobody used them. */
  readonly onBroken: (error: Error) => void;
}

/** PostgreSQL, for gateways on several machines. */
export class PostgresDriver implements SqlDriver {
  readonly name = 'postgres';
  readonly #pool: Pool;
  readonly #sql = new Map<string, string>();
  #size: { readonly bytes: number; readonly atMs: number } | null = null;

  private constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Connects and brings the schema up to date. Throws StatorError `storage_unavailable`. */
  static async open(url: string, o: PostgresOptions): Promise<PostgresDriver> {
    const pool = new Pool({
      connectionString: url,
      max: o.connections,
      connectionTimeoutMillis: o.timeoutMs,
      query_timeout: o.timeoutMs,
      application_name: 'stator',
    });
    pool.on('error', o.onBroken);
    try {
      await migrate(pool);
    } catch (thrown) {
      await pool.end();
      throw failed(thrown);
    }
    return new PostgresDriver(pool);
  }

  async query(sql: string, values: readonly SqlValue[]): Promise<readonly SqlRow[]> {
    try {
      const { rows } = await this.#pool.query<Record<string, unknown>>(this.#numbered(sql), values.map(bufferOf));
      return rows;
    } catch (thrown) {
      throw failed(thrown);
    }
  }

  async storedBytes(): Promise<number> {
    const nowMs = performance.now();
    if (this.#size === null || nowMs - this.#size.atMs > sizeAgeMs) {
      const [row] = await this.query("SELECT pg_total_relation_size('stator_documents') AS bytes", []);
      this.#size = { bytes: Number(row?.['bytes'] ?? 0), atMs: nowMs };
    }
    return this.#size.bytes;
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  /** PostgreSQL numbers its placeholders. */
  #numbered(sql: string): string {
    let numbered = this.#sql.get(sql);
    if (numbered === undefined) {
      let number = 0;
      numbered = sql.replace(/\?/g, () => `$${++number}`);
      this.#sql.set(sql, numbered);
    }
    return numbered;
  }
}

function bufferOf(value: SqlValue): string | number | null | Buffer {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}

async function migrate(pool: Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [migrationLock]);
    await client.query('CREATE TABLE IF NOT EXISTS stator_schema (version INTEGER NOT NULL)');
    await applySteps(client);
    await client.query('COMMIT');
  } catch (thrown) {
    await client.query('ROLLBACK').catch(() => {});
    throw thrown;
  } finally {
    client.release();
  }
}

async function applySteps(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ version: number }>('SELECT version FROM stator_schema');
  const version = rows[0]?.version ?? 0;
  checkVersion(version);
  for (const step of migrations.slice(version)) {
    for (const statement of step) {
      await client.query(statement.replaceAll('COLLATE BINARY', 'COLLATE "C"').replaceAll('BYTES', 'BYTEA'));
    }
  }
  await client.query('DELETE FROM stator_schema');
  await client.query('INSERT INTO stator_schema (version) VALUES ($1)', [migrations.length]);
}

function failed(thrown: unknown): StatorError {
  const { message } = thrown as Error;
  return new StatorError('storage_unavailable', `The store cannot be used: ${message}`, {
    cause: thrown,
    retryAfterMs: 1000,
  });
}
