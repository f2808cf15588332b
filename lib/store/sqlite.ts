import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { StatorError } from '#lib/errors/errors.ts';
import type { SqlDriver, SqlRow, SqlValue } from './driver.ts';
import { checkVersion, migrations } from './migrations.ts';

/** Milliseconds that a statement waits for another process's write. */
const busyTimeoutMs = 5000;
/** SQLite's code for a database that has its largest size. */
const sqliteFull = 13;

/** SQLite in a file, which other processes of this machine may share, or in memory. Statements run on this thread. */
export class SqliteDriver implements SqlDriver {
  readonly name = 'sqlite';
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /** Opens or creates the file; `:memory:` is a database of its own. Throws StatorError `storage_unavailable`. */
  constructor(file: string) {
    try {
      if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      this.#db = new DatabaseSync(file, { timeout: busyTimeoutMs });
      this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA auto_vacuum = INCREMENTAL');
      this.#migrate();
    } catch (thrown) {
      throw failed(thrown);
    }
  }

  async query(sql: string, values: readonly SqlValue[]): Promise<readonly SqlRow[]> {
    try {
      let statement = this.#statements.get(sql);
      if (statement === undefined) {
        statement = this.#db.prepare(sql);
        this.#statements.set(sql, statement);
      }
      return statement.all(...values);
    } catch (thrown) {
      throw failed(thrown);
    }
  }

  async storedBytes(): Promise<number> {
    const [row] = await this.query(
      'SELECT (c.page_count - f.freelist_count) * s.page_size AS bytes FROM pragma_page_count() c, pragma_freelist_count() f, pragma_page_size() s',
      [],
    );
    return Number(row?.['bytes'] ?? 0);
  }

  async close(): Promise<void> {
    this.#statements.clear();
    if (this.#db.isOpen) this.#db.close();
  }

  #migrate(): void {
    const db = this.#db;
    db.exec('BEGIN IMMEDIATE');
    try {
      const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
      checkVersion(version);
      for (const step of migrations.slice(version)) {
        for (const statement of step) db.exec(statement.replaceAll('BYTES', 'BLOB'));
      }
      db.exec(`PRAGMA user_version = ${migrations.length}`);
      db.exec('COMMIT');
    } catch (thrown) {
      db.exec('ROLLBACK');
      throw thrown;
    }
  }
}

function failed(thrown: unknown): StatorError {
  const { errcode, message } = thrown as { errcode?: number; message?: string };
  const said = errcode === sqliteFull ? 'The store is full.' : `The store cannot be used: ${message ?? String(thrown)}`;
  return new StatorError('storage_unavailable', said, { cause: thrown, retryAfterMs: 1000 });
}
