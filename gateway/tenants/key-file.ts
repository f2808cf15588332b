import { readFileSync, statSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import { fieldPath } from '../api/validate.ts';
import { byId, type KeyTable, keyEntry, keysOf, nameField, policyFields, policyOf } from './key-entry.ts';

/** Far above any sensible file of keys. */
const maxBytes = 16 << 20;

const keyDocument = z.strictObject({
  keys: z.array(keyEntry).max(100_000).default([]),
  tenants: z.record(z.union([nameField, z.literal('*')]), z.strictObject(policyFields)).default({}),
});

/** Reads and checks a file of keys. Throws `invalid_argument` with file and field. */
export function loadKeys(path: string): KeyTable {
  const document = readKeyDocument(path);
  const keys = keysOf(document.keys, (field, message) => refused(path, field, message));
  const tenants = new Map(Object.entries(document.tenants).map(([name, fields]) => [name, policyOf(fields)]));
  return { keys, ids: byId(keys), tenants };
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
