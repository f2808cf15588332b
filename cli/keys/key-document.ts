import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type Document, parseDocument } from 'yaml';
import { loadKeys } from '#gateway/tenants/key-file.ts';

/** A new key: 256 random bits. */
export function newKey(): { readonly key: string; readonly hash: string } {
  const key = `sk-stator-${randomBytes(32).toString('base64url')}`;
  return { key, hash: `sha256:${createHash('sha256').update(key).digest('hex')}` };
}

/** The file as it is written, comments included; an empty one where there is none. Throws like `loadKeys`. */
export function openKeyDocument(path: string): Document {
  if (!existsSync(path)) return parseDocument('keys: []\n');
  loadKeys(path);
  return parseDocument(readFileSync(path, 'utf8'));
}

/** Replaces the file at once, readable by its owner only, once what it will hold has been checked. Throws like `loadKeys`. */
export function saveKeyDocument(path: string, document: Document): void {
  const draft = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(draft, document.toString(), { mode: 0o600 });
    loadKeys(draft);
    renameSync(draft, path);
  } finally {
    rmSync(draft, { force: true });
  }
}
