import { StatorError } from '#lib/errors/errors.ts';

/** Bytes that one request message may have where nothing else is set: a prompt of a million tokens fits. */
export const DEFAULT_MAX_REQUEST_BYTES: number = 32 * 1024 * 1024;

/** Checks the limit that the server will enforce while it reads, decompressed bytes included. */
export function checkMaxRequestBytes(bytes: number): number {
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 0xffff_ffff)
    throw StatorError.invalid('maxRequestBytes', 'maxRequestBytes must be an integer from 1 to 4294967295');
  return bytes;
}
