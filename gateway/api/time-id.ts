import { randomBytes } from 'node:crypto';

/** An id whose order is that of creation, to the millisecond. */
export function timeId(prefix: string, nowMs: number = Date.now()): string {
  return `${prefix}${nowMs.toString(16).padStart(12, '0')}${randomBytes(10).toString('hex')}`;
}
