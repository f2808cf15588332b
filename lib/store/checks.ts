import { StatorError } from '#lib/errors/errors.ts';
import type { CountOptions, ListOptions, PutOptions } from './store.ts';

const printable = /^[\x20-\x7e]{1,256}$/;

/** Refuses what is no name of a collection, key or counter. */
export function checkName(field: string, name: string): void {
  if (printable.test(name)) return;
  throw StatorError.invalid(field, `\`${field}\` must be 1 to 256 printable ASCII characters`);
}

export function checkPut({ ifVersion, expiresUnixMs }: PutOptions): void {
  if (ifVersion !== undefined && !(Number.isSafeInteger(ifVersion) && ifVersion >= 0))
    throw StatorError.invalid('ifVersion', '`ifVersion` must be a version or 0');
  if (expiresUnixMs !== undefined && expiresUnixMs !== null && !Number.isSafeInteger(expiresUnixMs))
    throw StatorError.invalid('expiresUnixMs', '`expiresUnixMs` must be a whole number of milliseconds');
}

export function checkList({ limit }: ListOptions): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1000) return;
  throw StatorError.invalid('limit', '`limit` must be from 1 to 1000');
}

export function checkSize(value: Uint8Array, most: number): void {
  if (value.length <= most) return;
  const facts = { limit: most, actual: value.length };
  throw StatorError.invalid('value', `A document has at most ${most} bytes, not ${value.length}.`, { facts });
}

export function checkCount(amount: number, { windowMs, limit }: CountOptions): void {
  if (!Number.isSafeInteger(amount)) throw StatorError.invalid('amount', '`amount` must be a whole number');
  if (!Number.isSafeInteger(windowMs) || windowMs < 1)
    throw StatorError.invalid('windowMs', '`windowMs` must be a whole number above 0');
  if (limit !== undefined && !Number.isSafeInteger(limit))
    throw StatorError.invalid('limit', '`limit` must be a whole number');
}
