/** A value of a statement or of a row. */
export type SqlValue = string | number | null | Uint8Array;
export type SqlRow = Readonly<Record<string, unknown>>;

/** A database that speaks the SQL which SQLite and PostgreSQL have in common; `?` stands for a value. */
export interface SqlDriver {
  readonly name: 'sqlite' | 'postgres';
  query(sql: string, values: readonly SqlValue[]): Promise<readonly SqlRow[]>;
  /** Bytes that documents take, as the database says; may be some seconds old. */
  storedBytes(): Promise<number>;
  close(): Promise<void>;
}
