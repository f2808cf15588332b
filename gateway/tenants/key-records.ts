import type { Logger } from 'pino';
import { type ApiKey, apiKeysOf, type KeyEntry, keyEntry } from './key-entry.ts';

interface Refused {
  readonly problem: string;
  /** Kept where another record stands in the way, which may go. */
  readonly value: Uint8Array | null;
}

const mostKeys = 100_000;

/**
 * Keys that are a record each. One that is no key, or is there twice, is left out by itself: what it said before is not in
 * force any more, and the others are not touched.
 */
export class KeyRecords {
  readonly keys = new Map<string, ApiKey>();
  readonly ids = new Map<string, ApiKey>();
  /** Of each record in force. */
  readonly #hashes = new Map<string, readonly string[]>();
  readonly #refused = new Map<string, Refused>();
  readonly #log: Logger;
  readonly #mostKeys: number;

  constructor(log: Logger, most: number = mostKeys) {
    this.#log = log;
    this.#mostKeys = most;
  }

  /** How many are left out. */
  get refused(): number {
    return this.#refused.size;
  }

  get problem(): string | null {
    const [first] = this.#refused;
    if (first === undefined) return null;
    const [id, { problem }] = first;
    return `${this.#refused.size} records are no keys, the first: ${id}: ${problem}`;
  }

  /** At once, for whoever looks keys up. */
  replaceAll(records: Iterable<readonly [id: string, value: Uint8Array]>): void {
    const before = new Map(this.#refused);
    for (const map of [this.keys, this.ids, this.#hashes, this.#refused]) map.clear();
    for (const [id, value] of records) this.#take(id, value, before.get(id));
  }

  put(id: string, value: Uint8Array): void {
    const before = this.#refused.get(id);
    this.#drop(id);
    this.#take(id, value, before);
    this.#retry();
  }

  remove(id: string): void {
    this.#drop(id);
    this.#retry();
  }

  #drop(id: string): void {
    for (const hash of this.#hashes.get(id) ?? []) this.keys.delete(hash);
    this.#hashes.delete(id);
    this.ids.delete(id);
    this.#refused.delete(id);
  }

  #take(id: string, value: Uint8Array, before: Refused | undefined): void {
    const refused = this.#refusal(id, value);
    if (refused === null) return;
    this.#refused.set(id, refused);
    // Nothing of the record itself: it may be a key that somebody put there by mistake.
    if (before?.problem !== refused.problem)
      this.#log.error({ key: id.slice(0, 128), problem: refused.problem }, 'a record of API keys is left out');
  }

  #refusal(id: string, value: Uint8Array): Refused | null {
    const read = readEntry(id, value);
    if (typeof read === 'string') return { problem: read, value: null };
    if (this.#hashes.size >= this.#mostKeys) return { problem: `there are ${this.#mostKeys} keys already`, value };
    const found = apiKeysOf(read);
    if (found.some(([hash]) => this.keys.has(hash))) return { problem: 'another key has the same hash', value };
    for (const [hash, key] of found) this.keys.set(hash, key);
    const [first] = found;
    if (first !== undefined) this.ids.set(id, first[1]);
    this.#hashes.set(
      id,
      found.map(([hash]) => hash),
    );
    return null;
  }

  /** What stood in the way of others may be gone. */
  #retry(): void {
    for (const [id, refused] of [...this.#refused]) {
      if (refused.value === null) continue;
      this.#refused.delete(id);
      this.#take(id, refused.value, refused);
    }
  }
}

/** The entry of a record, or why it is none. */
export function readEntry(id: string, value: Uint8Array): KeyEntry | string {
  let fields: unknown;
  try {
    fields = JSON.parse(Buffer.from(value).toString());
  } catch {
    return 'it is not JSON';
  }
  const checked = keyEntry.safeParse(fields);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    const field = issue?.path.join('.') ?? '';
    return `${field === '' ? '' : `${field}: `}${issue?.message ?? 'it is no key'}`;
  }
  return checked.data.id === id ? checked.data : 'its id is another than its name';
}
