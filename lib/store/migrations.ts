/**
 * The schema, step by step: step N leads from version N-1 to N and is never changed once released. `BYTES` stands for the
 * database's type of bytes, `BINARY` for the collation that orders text by its bytes.
 */
export const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE stator_documents (
      collection TEXT COLLATE BINARY NOT NULL,
      key TEXT COLLATE BINARY NOT NULL,
      value BYTES NOT NULL,
      version BIGINT NOT NULL,
      expires_ms BIGINT,
      PRIMARY KEY (collection, key)
    )`,
    'CREATE INDEX stator_documents_expiry ON stator_documents (expires_ms) WHERE expires_ms IS NOT NULL',
    `CREATE TABLE stator_counters (
      name TEXT COLLATE BINARY PRIMARY KEY,
      window_ms BIGINT NOT NULL,
      used BIGINT NOT NULL,
      expires_ms BIGINT NOT NULL
    )`,
    'CREATE INDEX stator_counters_expiry ON stator_counters (expires_ms)',
  ],
];

/** Throws for a database that a newer release has changed. */
export function checkVersion(version: number): void {
  if (version <= migrations.length) return;
  throw new Error(`the database has version ${version} of the schema; this release knows ${migrations.length}`);
}
