import type { ErrorCode } from '#lib/errors/codes.ts';
import type { ByteRange, ListPage, Metadata, ObjectInfo } from './store.ts';

/** What a failed request means, whatever the service called it. */
export interface Failure {
  readonly code: ErrorCode;
  /** Says what happened and never holds a secret, a signed URL or a header. */
  readonly message: string;
  /** The same request may succeed later. */
  readonly transient: boolean;
  /** The service certainly did not carry it out, so that even a conditional write may be repeated. */
  readonly notApplied: boolean;
}

export interface BackendPut {
  readonly metadata: Metadata;
  readonly ifNoneMatch: boolean;
}

/** Everything that is known before the body is read. */
export interface OpenObject {
  readonly info: ObjectInfo;
  /** Bytes that this answer promises. */
  readonly length: number;
  /** Copies all of them into the targets, one after the other, which have room for exactly so many. Rejects where fewer or more come. */
  readInto(targets: readonly Uint8Array[]): Promise<void>;
  /** Drops the answer unread. */
  discard(): void;
}

/** An upload in parts. Part numbers begin at 1. */
export interface Upload {
  part(number: number, body: Uint8Array, crc32: number, signal: AbortSignal): Promise<void>;
  complete(crc32: number, signal: AbortSignal): Promise<void>;
  abort(signal: AbortSignal): Promise<void>;
}

/**
 * One request each, no retries, full keys. Throws whatever its library throws; `classify` says what that means. The store
 * around it adds keys' prefix, limits, deadlines, retries and metrics.
 */
export interface Backend {
  readonly kind: 's3' | 'azure' | 'directory';
  readonly description: string;
  /** Most keys that `delete` takes. */
  readonly deleteBatch: number;
  put(key: string, body: Uint8Array, crc32: number, put: BackendPut, signal: AbortSignal): Promise<void>;
  beginUpload(key: string, put: BackendPut, signal: AbortSignal): Promise<Upload>;
  open(key: string, range: ByteRange | undefined, signal: AbortSignal): Promise<OpenObject>;
  head(key: string, signal: AbortSignal): Promise<ObjectInfo>;
  delete(keys: readonly string[], signal: AbortSignal): Promise<void>;
  list(prefix: string, page: { cursor: string | undefined; limit: number }, signal: AbortSignal): Promise<ListPage>;
  /** Names of the folders right below a prefix that is empty or ends with a slash, up to the limit. */
  folders(prefix: string, limit: number, signal: AbortSignal): Promise<string[]>;
  setExpiry(prefix: string, days: number, signal: AbortSignal): Promise<void>;
  classify(thrown: unknown): Failure;
  close(): void;
}
