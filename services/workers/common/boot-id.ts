import { readFileSync } from 'node:fs';

/** Identifier of the machine's boot: equal for processes that share memory. Empty where the system has none. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
