import { StatorError } from '#lib/errors/errors.ts';
import type { Metadata } from './store.ts';

/** S3 and Azure take 1024 bytes; the rest is room for the directory's suffixes. */
const MAX_KEY_BYTES = 1000;
/** The least of what file systems, S3 and Azure take. */
const MAX_SEGMENT_BYTES = 240;
const MAX_METADATA_BYTES = 2048;
const segmentPattern = /^[A-Za-z0-9._=@+~-]+$/;
const metadataName = /^[a-z][a-z0-9_]{0,63}$/;
const metadataValue = /^[\x20-\x7e]*$/;

/** Throws `invalid_argument` unless every service and file system takes the key as it is and it cannot leave its prefix. */
export function checkKey(key: string): void {
  const reason = keyProblem(key);
  if (reason !== undefined)
    throw StatorError.invalid('key', `object key ${JSON.stringify(key.slice(0, 80))} ${reason}`);
}

function keyProblem(key: string): string | undefined {
  if (key === '') return 'is empty';
  if (key.length > MAX_KEY_BYTES) return `is longer than ${MAX_KEY_BYTES} bytes`;
  for (const segment of key.split('/')) {
    if (segment === '') return 'has an empty part';
    if (segment === '.' || segment === '..') return `has the part ${JSON.stringify(segment)}`;
    if (segment.length > MAX_SEGMENT_BYTES) return `has a part longer than ${MAX_SEGMENT_BYTES} bytes`;
    // Azure drops dots at the end of a part.
    if (segment.endsWith('.')) return 'has a part that ends with a dot';
    if (!segmentPattern.test(segment)) return 'has characters other than letters, digits and . _ = @ + ~ -';
  }
  return undefined;
}

/** A prefix as callers of `list` give it: the beginning of a key, at a slash or within a part. */
export function checkListPrefix(prefix: string): void {
  if (prefix !== '') checkKey(prefix.endsWith('/') ? prefix.slice(0, -1) : prefix);
}

export function checkMetadata(metadata: Metadata): void {
  let bytes = 0;
  for (const [name, value] of Object.entries(metadata)) {
    const field = `metadata.${name}`;
    if (!metadataName.test(name) || name.startsWith('stator_'))
      throw StatorError.invalid(field, `metadata name ${JSON.stringify(name)} is not lower case letters, digits and _`);
    if (!metadataValue.test(value) || value.trim() !== value)
      throw StatorError.invalid(field, `metadata ${name} must be printable ASCII without blanks around it`);
    bytes += name.length + value.length;
  }
  if (bytes > MAX_METADATA_BYTES)
    throw StatorError.invalid('metadata', `metadata is ${bytes} bytes, more than ${MAX_METADATA_BYTES}`);
}

/** `a/b/` of `/a/b`, `a/b` or `a/b/`; empty stays empty. */
export function normalPrefix(prefix: string): string {
  const trimmed = prefix.replace(/^\/+|\/+$/g, '');
  if (trimmed === '') return '';
  checkKey(trimmed);
  return `${trimmed}/`;
}
