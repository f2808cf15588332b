import { readFileSync, statSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import { fieldPath } from '../api/validate.ts';
import { type Caller, type Policy, unlimited } from './caller.ts';

/** Far above any sensible file of keys. */
const maxBytes = 16 << 20;

const limit = z.int().min(1).optional();

const policyFields = {
  models: z.array(z.string().min(1).max(256)).max(1000).optional(),
  requests_per_minute: limit,
  tokens_per_minute: limit,
  concurrent_requests: limit,
  tokens_per_day: limit,
  tokens_per_month: limit,
  max_priority: z.int().optional(),
  shared_cache: z.boolean().optional(),
};

const nameField = z.string().regex(/^[\w.@:-]{1,128}$/, 'letters, digits and . _ @ : - only, at most 128');

const keyEntry = z.strictObject({
  id: nameField,
  hash: z.string().regex(/^sha256:[0-9a-f]{64}$/, '"sha256:" and 64 hexadecimal digits'),
  tenant: nameField.optional(),
  expires: z.iso.datetime({ offset: true }).optional(),
  disabled: z.boolean().optional(),
  ...policyFields,
});

const keyDocument = z.strictObject({
  keys: z.array(keyEntry).max(100_000).default([]),
  tenants: z.record(z.union([nameField, z.literal('*')]), z.strictObject(policyFields)).default({}),
});

/** A file of keys as it is written: what `stator keys` edits. */
export type KeyDocument = z.input<typeof keyDocument>;

export interface ApiKey {
  readonly caller: Caller;
  /** Unix time in milliseconds from which on it is refused; null: never. */
  readonly expiresUnixMs: number | null;
  readonly disabled: boolean;
}

/** Who may call: by SHA-256 of the key in hexadecimal, and tenants that identity providers vouch for. */
export interface KeyTable {
  readonly keys: ReadonlyMap<string, ApiKey>;
  readonly tenants: ReadonlyMap<string, Policy>;
}

/** Reads and checks a file of keys. Throws `invalid_argument` with file and field. */
export function loadKeys(path: string): KeyTable {
  const document = readKeyDocument(path);
  const keys = new Map<string, ApiKey>();
  const ids = new Set<string>();
  for (const [index, entry] of document.keys.entries()) {
    const hash = entry.hash.slice('sha256:'.length);
    if (ids.has(entry.id)) throw refused(path, `keys[${index}].id`, `the id ${entry.id} is used twice`);
    if (keys.has(hash)) throw refused(path, `keys[${index}].hash`, 'another key has the same hash');
    ids.add(entry.id);
    keys.set(hash, {
      caller: { ...policyOf(entry), id: entry.id, tenant: entry.tenant ?? entry.id },
      expiresUnixMs: entry.expires === undefined ? null : Date.parse(entry.expires),
      disabled: entry.disabled ?? false,
    });
  }
  const tenants = new Map(Object.entries(document.tenants).map(([name, fields]) => [name, policyOf(fields)]));
  return { keys, tenants };
}

/** The checked document; for who edits it. Throws like `loadKeys`. */
export function readKeyDocument(path: string): z.output<typeof keyDocument> {
  const document = parseDocument(readText(path));
  const [syntax] = document.errors;
  if (syntax !== undefined) throw refused(path, '', syntax.message);
  const checked = keyDocument.safeParse(document.toJS() ?? {});
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw refused(path, fieldPath(issue?.path ?? []), issue?.message ?? 'it is no list of keys');
}

function policyOf(fields: z.output<z.ZodObject<typeof policyFields>>): Policy {
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

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > maxBytes) throw new Error(`it has ${size} bytes, more than ${maxBytes}`);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw StatorError.invalid('apiKeysFile', `The file of keys ${path} cannot be read: ${String(cause)}`, { cause });
  }
}

function refused(path: string, field: string, message: string): StatorError {
  return StatorError.invalid('apiKeysFile', `${path}${field === '' ? '' : `: ${field}`}: ${message}`);
}
