import { HashRows } from '#core/kv-events/hash-rows.ts';

/** Absent blocks remembered at most. */
const mostAbsent = 16_384;

/**
 * What is known of objects without asking: which are there, from listings and own writes (64 bits each, so a hint: whoever
 * reads finds out), and which were absent a moment ago. Both are bounded.
 */
export class KnownObjects {
  readonly #present = new HashRows(2);
  readonly #mostPresent: number;
  readonly #absentMs: number;
  /** Until when, by key; the oldest first. */
  readonly #absent = new Map<string, number>();

  constructor(mostPresent: number, absentMs: number) {
    this.#mostPresent = mostPresent;
    this.#absentMs = absentMs;
  }

  get count(): number {
    return this.#present.count;
  }

  get isFull(): boolean {
    return this.#present.count >= this.#mostPresent;
  }

  has(namespace: string, digest: Uint32Array): boolean {
    return this.#present.find(...wordsOf(namespace, digest)) >= 0;
  }

  add(namespace: string, digest: Uint32Array): void {
    this.#absent.delete(keyOf(namespace, digest));
    const [low, high] = wordsOf(namespace, digest);
    if (!this.isFull && this.#present.find(low, high) < 0) this.#present.add(low, high);
  }

  delete(namespace: string, digest: Uint32Array): void {
    const row = this.#present.find(...wordsOf(namespace, digest));
    if (row >= 0) this.#present.delete(row);
  }

  isAbsent(namespace: string, digest: Uint32Array, nowMs: number): boolean {
    return nowMs < (this.#absent.get(keyOf(namespace, digest)) ?? 0);
  }

  setAbsent(namespace: string, digest: Uint32Array, nowMs: number): void {
    const key = keyOf(namespace, digest);
    this.#absent.delete(key);
    this.#absent.set(key, nowMs + this.#absentMs);
    const [oldest] = this.#absent.keys();
    if (this.#absent.size > mostAbsent && oldest !== undefined) this.#absent.delete(oldest);
  }

  /** Forgets that anything is absent: the store changed in a way that nobody told. */
  clear(): void {
    this.#present.clear();
    this.#absent.clear();
  }
}

/** The digest is of tokens alone: equal prefixes of two namespaces differ here. */
function wordsOf(namespace: string, digest: Uint32Array): [low: number, high: number] {
  const salt = Number.parseInt(namespace.slice(0, 8), 16);
  return [((digest[0] ?? 0) ^ salt) >>> 0, digest[1] ?? 0];
}

function keyOf(namespace: string, digest: Uint32Array): string {
  return `${namespace}:${digest.join()}`;
}
