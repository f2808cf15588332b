/** What a store says about an object. */
export interface ObjectInfo {
  /** Relative to the store's prefix. */
  readonly key: string;
  readonly size: number;
  /** Changes with the content; opaque. */
  readonly etag: string;
  readonly modifiedMs: number;
  /** CRC-32 (IEEE) of the whole content; undefined where whoever wrote it left none. */
  readonly crc32: number | undefined;
  readonly metadata: Metadata;
}

/** Names are lower case letters, digits and `_`, as both S3 and Azure take them. */
export type Metadata = Readonly<Record<string, string>>;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** For the whole call, waiting and retries included. Default: the store's. */
  readonly timeoutMs?: number | undefined;
}

export interface PutOptions extends CallOptions {
  readonly metadata?: Metadata | undefined;
  /** Fails with `conflict` where the key exists; of several at once exactly one wins. */
  readonly ifNoneMatch?: boolean | undefined;
}

export interface ByteRange {
  readonly offset: number;
  /** Bytes; a range that goes beyond the end of the object is `invalid_argument`. */
  readonly length: number;
}

export interface GetOptions extends CallOptions {
  /** Where the bytes go; must hold them all. Default: a buffer of their size. */
  readonly into?: Uint8Array | undefined;
  readonly range?: ByteRange | undefined;
}

export interface Got {
  /** A view of `into`, or a buffer of its own. */
  readonly bytes: Uint8Array;
  readonly info: ObjectInfo;
}

export interface ListOptions extends CallOptions {
  /** Keys that begin so; need not end at a slash. */
  readonly prefix?: string | undefined;
  /** Of the page before. */
  readonly cursor?: string | undefined;
  /** Most keys of a page, up to 1000. */
  readonly limit?: number | undefined;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modifiedMs: number;
}

export interface ListPage {
  readonly objects: readonly ListedObject[];
  /** Where the next page begins; undefined on the last. */
  readonly cursor: string | undefined;
}

/**
 * Objects under one prefix of a bucket, container or directory. Every call ends by its deadline. Errors are StatorErrors:
 * `not_found`, `conflict`, `invalid_argument`, `unauthenticated`, `permission_denied`, `storage_unavailable` (down, 5xx, cut),
 * `checksum_mismatch`, `overloaded` (too many wait), `deadline_exceeded`, `cancelled`, `unimplemented`.
 */
export interface ObjectStore {
  /** What it is, for logs: no secrets. */
  readonly description: string;
  put(key: string, body: Uint8Array, options?: PutOptions): Promise<void>;
  /** Uploads what comes in parts of `partBytes`, several at once; nothing is visible before all is there. Returns its size. */
  putStream(key: string, source: AsyncIterable<Uint8Array>, options?: PutOptions): Promise<number>;
  /** Whole objects are held against their checksum. */
  get(key: string, options?: GetOptions): Promise<Got>;
  /**
   * Reads a whole object into buffers, one after the other, without comparing checksums: for content that carries its own.
   * `invalid_argument` where they have less room than the object has bytes.
   */
  getInto(key: string, targets: readonly Uint8Array[], options?: CallOptions): Promise<ObjectInfo>;
  /**
   * The content in order, in parts of `partBytes` that are fetched ahead (two) and retried by themselves; returns what the
   * store says of the object. The deadline is each part's. `conflict`: the object was replaced meanwhile.
   */
  getStream(key: string, options?: CallOptions): AsyncGenerator<Uint8Array, ObjectInfo>;
  head(key: string, options?: CallOptions): Promise<ObjectInfo>;
  /** Keys that do not exist are no error. */
  delete(keys: readonly string[], options?: CallOptions): Promise<void>;
  /** One page, in the order of keys. */
  list(options?: ListOptions): Promise<ListPage>;
  /** Names of what is between a prefix that ends with a slash and the next slash of keys: up to 10,000. */
  folders(prefix: string, options?: CallOptions): Promise<string[]>;
  /** Makes the server delete objects of this prefix some days after they were written; `unimplemented` where it cannot. */
  setExpiry(days: number, options?: CallOptions): Promise<void>;
  /** Aborts what runs and closes idle connections. Idempotent. */
  close(): Promise<void>;
}
