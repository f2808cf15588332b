import type { KeyEntry } from './key-entry.ts';

/** A place of keys, for who changes them. */
export interface KeyBook {
  /** Throws `conflict` where there is one of that id. */
  add(entry: KeyEntry): Promise<void>;
  /** Every key, by id; `onRefused` is told of records that are none. */
  list(onRefused: (id: string, problem: string) => void): Promise<readonly KeyEntry[]>;
  /** Changes a key in one step. Throws `not_found`. */
  change(id: string, change: (entry: KeyEntry) => KeyEntry): Promise<void>;
  /** Takes a key, or what should be one, away. Throws `not_found`. */
  remove(id: string): Promise<void>;
}
