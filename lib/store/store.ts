import type { StoreMetrics } from './metrics.ts';

/** A document as it stands in the store. */
export interface StoredDocument {
  readonly key: string;
  readonly value: Uint8Array;
  /** Grows with every write of the key, deletion included; opaque otherwise. */
  readonly version: number;
  /** Unix time in milliseconds after which it is gone; null: never. */
  readonly expiresUnixMs: number | null;
}

export interface PutOptions {
  /** Only over this version; 0: only where there is none. Otherwise `conflict`. Absent: over whatever is there. */
  readonly ifVersion?: number;
  /** Absent: never. */
  readonly expiresUnixMs?: number | null;
}

export interface ListOptions {
  /** Only keys that begin so. */
  readonly prefix?: string;
  /** Only keys behind this one in the order asked for. */
  readonly after?: string | null;
  /** Default: `asc`. */
  readonly order?: 'asc' | 'desc';
  /** Most documents, from 1 to 1000. */
  readonly limit: number;
}

export interface CountOptions {
  /** Milliseconds of a window; windows begin at multiples of it since the epoch. */
  readonly windowMs: number;
  /** Nothing is added that would lead beyond it. Absent: no limit. */
  readonly limit?: number;
}

export interface Counted {
  /** Whether the amount was added. */
  readonly allowed: boolean;
  /** What the window holds now. */
  readonly used: number;
  /** Unix time in milliseconds at which the window ends. */
  readonly resetUnixMs: number;
}

/**
 * What several gateways share: documents with versions and expiry, and counters over windows of time. Every call is atomic by
 * itself. Collections and keys are 1 to 256 printable ASCII characters; keys are ordered by their bytes. Calls throw
 * StatorError: `invalid_argument` for what cannot be stored, `conflict` for another version, `storage_unavailable` when the
 * back end cannot be reached or is full.
 */
export interface Store {
  get(collection: string, key: string): Promise<StoredDocument | null>;
  /** The new version. */
  put(collection: string, key: string, value: Uint8Array, options?: PutOptions): Promise<number>;
  /** Whether there was one; `ifVersion`: only that version. */
  delete(collection: string, key: string, options?: { readonly ifVersion?: number }): Promise<boolean>;
  /** Deletes every key that begins so; how many there were. */
  deletePrefix(collection: string, prefix: string): Promise<number>;
  list(collection: string, options: ListOptions): Promise<readonly StoredDocument[]>;
  /** Adds to the counter of that name in the window of now; a negative amount gives back. */
  count(counter: string, amount: number, options: CountOptions): Promise<Counted>;
  /** Idempotent; calls that run end first. */
  close(): Promise<void>;
}

/** What every back end is told. */
export interface StoreBackendOptions {
  readonly metrics: StoreMetrics;
  /** Largest document. */
  readonly maxDocumentBytes: number;
  /** Bytes of all documents beyond which nothing is put. */
  readonly maxBytes: number;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Milliseconds between sweeps of what expired. */
  readonly sweepMs: number;
  readonly onSweepFailed: (error: unknown) => void;
}
