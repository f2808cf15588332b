import type { ApiKey } from './key-entry.ts';

/** Where keys come from. Changes there are in force here without a restart. */
export interface KeySource {
  /** By SHA-256 of the key. */
  readonly keys: ReadonlyMap<string, ApiKey>;
  readonly ids: ReadonlyMap<string, ApiKey>;
  /** Why what is there is not, or not all of it, in force; null: it is. */
  readonly problem: string | null;
  /** Records that are no keys, and are left out. */
  readonly refused: number;
  /** `performance.now()` when the keys were last known to be as they are there. */
  readonly seenMs: number;
  close(): Promise<void>;
}
