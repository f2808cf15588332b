import { z } from 'zod';
import { type Caller, type Policy, unlimited } from './caller.ts';

const limit = z.int().min(1).optional();

export const policyFields = {
  models: z.array(z.string().min(1).max(256)).max(1000).optional(),
  requests_per_minute: limit,
  tokens_per_minute: limit,
  concurrent_requests: limit,
  tokens_per_day: limit,
  tokens_per_month: limit,
  max_priority: z.int().optional(),
  shared_cache: z.boolean().optional(),
};

export const nameField = z.string().regex(/^[\w.@:-]{1,128}$/, 'letters, digits and . _ @ : - only, at most 128');
const hashField = z.string().regex(/^sha256:[0-9a-f]{64}$/, '"sha256:" and 64 hexadecimal digits');
const timeField = z.iso.datetime({ offset: true });

/** A key as files and stores hold it: never the key itself. */
export const keyEntry = z.strictObject({
  id: nameField,
  hash: hashField,
  /** The key before this one, until its time. */
  previous: z.strictObject({ hash: hashField, expires: timeField }).optional(),
  tenant: nameField.optional(),
  expires: timeField.optional(),
  disabled: z.boolean().optional(),
  ...policyFields,
});

export type KeyEntry = z.output<typeof keyEntry>;

export interface ApiKey {
  readonly caller: Caller;
  /** Unix time in milliseconds from which on it is refused; null: never. */
  readonly expiresUnixMs: number | null;
  readonly disabled: boolean;
}

/** Who may call: by SHA-256 of the key in hexadecimal, and tenants that identity providers vouch for. */
export interface KeyTable {
  readonly keys: ReadonlyMap<string, ApiKey>;
  readonly ids: ReadonlyMap<string, ApiKey>;
  readonly tenants: ReadonlyMap<string, Policy>;
}

export function policyOf(fields: z.output<z.ZodObject<typeof policyFields>>): Policy {
  return {
    ...unlimited,
    models: fields.models ?? null,
    requestsPerMinute: fields.requests_per_minute ?? null,
    tokensPerMinute: fields.tokens_per_minute ?? null,
    concurrentRequests: fields.concurrent_requests ?? null,
    tokensPerDay: fields.tokens_per_day ?? null,
    tokensPerMonth: fields.tokens_per_month ?? null,
    maxPriority: fields.max_priority ?? null,
    sharedCache: fields.shared_cache ?? false,
  };
}

/** A key, and the one before it, by their hashes in hexadecimal; the newer one first. */
export function apiKeysOf(entry: KeyEntry): [hash: string, key: ApiKey][] {
  const caller: Caller = { ...policyOf(entry), id: entry.id, tenant: entry.tenant ?? entry.id };
  const disabled = entry.disabled ?? false;
  const expires = timeOf(entry.expires);
  const current: ApiKey = { caller, expiresUnixMs: expires, disabled };
  const name = (hash: string): string => hash.slice('sha256:'.length);
  if (entry.previous === undefined || entry.previous.hash === entry.hash) return [[name(entry.hash), current]];
  const until = timeOf(entry.previous.expires) ?? 0;
  const previous: ApiKey = { caller, expiresUnixMs: Math.min(until, expires ?? until), disabled };
  return [
    [name(entry.hash), current],
    [name(entry.previous.hash), previous],
  ];
}

/** The keys of a list by their hashes; `refuse` makes the error for what is there twice. */
export function keysOf(
  entries: readonly KeyEntry[],
  refuse: (field: string, message: string) => Error,
): Map<string, ApiKey> {
  const keys = new Map<string, ApiKey>();
  const ids = new Set<string>();
  for (const [index, entry] of entries.entries()) {
    if (ids.has(entry.id)) throw refuse(`keys[${index}].id`, `the id ${entry.id} is used twice`);
    ids.add(entry.id);
    for (const [name, key] of apiKeysOf(entry)) {
      if (keys.has(name)) throw refuse(`keys[${index}].hash`, 'another key has the same hash');
      keys.set(name, key);
    }
  }
  return keys;
}

/** The same keys by their ids; what replaced another counts. */
export function byId(keys: ReadonlyMap<string, ApiKey>): Map<string, ApiKey> {
  const ids = new Map<string, ApiKey>();
  for (const key of keys.values()) if (!ids.has(key.caller.id)) ids.set(key.caller.id, key);
  return ids;
}

/** An entry whose key was replaced; the one before is good for so long. */
export function rotated({ previous: _, hash, ...entry }: KeyEntry, newHash: string, keepMs: number): KeyEntry {
  const previous = { hash, expires: new Date(Date.now() + keepMs).toISOString() };
  return { ...entry, hash: newHash, ...(keepMs > 0 ? { previous } : {}) };
}

function timeOf(text: string | undefined): number | null {
  return text === undefined ? null : Date.parse(text);
}
