import { crc32 } from 'node:zlib';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Backend, OpenObject } from './backend.ts';
import { Deadline } from './deadline.ts';
import { download } from './download.ts';
import { checkKey, checkListPrefix, checkMetadata, normalPrefix } from './keys.ts';
import { type ObjectStoreMetrics, type Operation, objectStoreMetrics } from './metrics.ts';
import { type RequestLimits, Requests } from './requests.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  Got,
  ListedObject,
  ListOptions,
  ListPage,
  ObjectInfo,
  ObjectStore,
  PutOptions,
} from './store.ts';
import { uploadParts } from './upload.ts';

export interface BackendStoreOptions extends RequestLimits {
  readonly prefix: string;
  /** For a whole call that sets no deadline of its own. */
  readonly timeoutMs: number;
  /** Bytes of a part of `putStream`; the services take 5 MiB at least. */
  readonly partBytes: number;
  /** Parts of one upload at once; so many are held in memory. */
  readonly partConcurrency: number;
  readonly telemetry: Pick<Telemetry, 'log' | 'metrics'>;
}

const MAX_PAGE = 1000;
const MAX_FOLDERS = 10_000;

/** A back end with all that is the same for each: prefix, checks, deadlines, limits, retries, checksums, metrics. */
export class BackendStore implements ObjectStore {
  readonly description: string;
  readonly #backend: Backend;
  readonly #o: BackendStoreOptions;
  readonly #prefix: string;
  readonly #requests: Requests;
  readonly #metrics: ObjectStoreMetrics;
  readonly #shutdown = new AbortController();

  constructor(backend: Backend, o: BackendStoreOptions) {
    this.description = backend.description;
    this.#backend = backend;
    this.#o = o;
    this.#prefix = normalPrefix(o.prefix);
    this.#metrics = objectStoreMetrics(o.telemetry.metrics);
    this.#requests = new Requests(backend, o, this.#metrics);
  }

  async put(key: string, body: Uint8Array, o: PutOptions = {}): Promise<void> {
    const { full, metadata, ifNoneMatch } = this.#target(key, o);
    using call = this.#call('put', key, o);
    const checksum = crc32(body);
    const send = (signal: AbortSignal) => this.#backend.put(full, body, checksum, { metadata, ifNoneMatch }, signal);
    await this.#send('put', key, call.signal, send, !ifNoneMatch);
    this.#count('out', body.length);
  }

  async putStream(key: string, source: AsyncIterable<Uint8Array>, o: PutOptions = {}): Promise<number> {
    const { full, metadata, ifNoneMatch } = this.#target(key, o);
    using call = this.#call('put', key, o);
    const { signal } = call;
    const begin = (own: AbortSignal) => this.#backend.beginUpload(full, { metadata, ifNoneMatch }, own);
    const upload = await this.#send('begin', key, signal, begin, false);
    try {
      const { size, checksum } = await uploadParts(source, {
        partBytes: this.#o.partBytes,
        concurrency: this.#o.partConcurrency,
        signal,
        send: async (number, bytes) => {
          const partChecksum = crc32(bytes);
          const send = (own: AbortSignal) => upload.part(number, bytes, partChecksum, own);
          await this.#send('part', key, signal, send);
          this.#count('out', bytes.length);
        },
      });
      await this.#send('complete', key, signal, (own) => upload.complete(checksum, own), false);
      return size;
    } catch (thrown) {
      await this.#abandon(key, (own) => upload.abort(own));
      throw StatorError.from(thrown);
    }
  }

  async get(key: string, o: GetOptions = {}): Promise<Got> {
    const full = this.#key(key);
    const { range, into } = o;
    if (range !== undefined) checkRange(range);
    if (range?.length === 0) return { bytes: new Uint8Array(0), info: await this.head(key, o) };
    using call = this.#call('get', key, o);
    const send = async (signal: AbortSignal): Promise<Got> => {
      const open = await this.#backend.open(full, range, signal);
      const bytes = targetOf(open, range, into);
      await open.readInto([bytes]);
      if (range === undefined) verify(key, bytes, open.info.crc32);
      return { bytes, info: { ...open.info, key } };
    };
    const got = await this.#send('get', key, call.signal, send);
    this.#count('in', got.bytes.length);
    return got;
  }

  async getInto(key: string, targets: readonly Uint8Array[], o: CallOptions = {}): Promise<ObjectInfo> {
    const full = this.#key(key);
    using call = this.#call('get', key, o);
    const info = await this.#send('get', key, call.signal, async (signal) => {
      const open = await this.#backend.open(full, undefined, signal);
      await open.readInto(firstBytes(open, targets));
      return { ...open.info, key };
    });
    this.#count('in', info.size);
    return info;
  }

  getStream(key: string, o: CallOptions = {}): AsyncGenerator<Uint8Array, ObjectInfo> {
    checkKey(key);
    return download(this, key, { ...o, partBytes: this.#o.partBytes, ahead: 2 });
  }

  async head(key: string, o: CallOptions = {}): Promise<ObjectInfo> {
    const full = this.#key(key);
    using call = this.#call('head', key, o);
    const info = await this.#send('head', key, call.signal, (signal) => this.#backend.head(full, signal));
    return { ...info, key };
  }

  async delete(keys: readonly string[], o: CallOptions = {}): Promise<void> {
    const full = keys.map((key) => this.#key(key));
    using call = this.#call('delete', `${keys.length} objects`, o);
    const { deleteBatch } = this.#backend;
    const starts = Array.from({ length: Math.ceil(full.length / deleteBatch) }, (_, index) => index * deleteBatch);
    let next = 0;
    const work = async () => {
      for (let start = starts[next++]; start !== undefined; start = starts[next++]) {
        const batch = full.slice(start, start + deleteBatch);
        const subject = keys[start] ?? '';
        await this.#send('delete', subject, call.signal, (signal) => this.#backend.delete(batch, signal));
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.#o.concurrency, starts.length) }, work));
  }

  async list(o: ListOptions = {}): Promise<ListPage> {
    const { prefix = '', limit = MAX_PAGE, cursor } = o;
    checkListPrefix(prefix);
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE)
      throw StatorError.invalid('limit', `limit must be a whole number from 1 to ${MAX_PAGE}`);
    using call = this.#call('list', prefix, o);
    const page = { cursor, limit };
    const send = (signal: AbortSignal) => this.#backend.list(this.#prefix + prefix, page, signal);
    const found = await this.#send('list', prefix, call.signal, send);
    return { cursor: found.cursor, objects: found.objects.map((object) => this.#relative(object)) };
  }

  async folders(prefix: string, o: CallOptions = {}): Promise<string[]> {
    checkListPrefix(prefix);
    using call = this.#call('list', prefix, o);
    const send = (signal: AbortSignal) => this.#backend.folders(this.#prefix + prefix, MAX_FOLDERS, signal);
    return this.#send('list', prefix, call.signal, send);
  }

  async setExpiry(days: number, o: CallOptions = {}): Promise<void> {
    if (!Number.isInteger(days) || days < 1) throw StatorError.invalid('days', 'days must be a whole number from 1');
    using call = this.#call('expiry', this.#prefix, o);
    const send = (signal: AbortSignal) => this.#backend.setExpiry(this.#prefix, days, signal);
    await this.#send('expiry', this.#prefix, call.signal, send);
  }

  async close(): Promise<void> {
    this.#shutdown.abort(new StatorError('cancelled', 'the object store is closed'));
    this.#backend.close();
  }

  #send<T>(
    op: Operation,
    subject: string,
    signal: AbortSignal,
    send: (signal: AbortSignal) => Promise<T>,
    idempotent = true,
  ): Promise<T> {
    return this.#requests.send({ op, subject, signal, send, idempotent });
  }

  /** What was uploaded so far costs money until it is aborted; a failure to do so must not hide the first one. */
  async #abandon(key: string, abort: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const signal = this.#shutdown.signal;
    await this.#send('abort', key, signal, abort).catch((error: unknown) =>
      this.#o.telemetry.log.warn({ err: error, key }, 'an unfinished upload stays in the object store'),
    );
  }

  #call(op: string, subject: string, o: CallOptions): Deadline {
    return new Deadline(`${op} of ${subject}`, o.timeoutMs ?? this.#o.timeoutMs, [o.signal, this.#shutdown.signal]);
  }

  #key(key: string): string {
    checkKey(key);
    return this.#prefix + key;
  }

  #target(key: string, o: PutOptions) {
    const { metadata = {}, ifNoneMatch = false } = o;
    checkMetadata(metadata);
    return { full: this.#key(key), metadata, ifNoneMatch };
  }

  #relative(object: ListedObject): ListedObject {
    return { ...object, key: object.key.slice(this.#prefix.length) };
  }

  #count(direction: 'in' | 'out', bytes: number): void {
    this.#metrics.bytes.inc({ backend: this.#backend.kind, direction }, bytes);
  }
}

function checkRange({ offset, length }: ByteRange): void {
  for (const [name, value] of Object.entries({ offset, length }))
    if (!Number.isSafeInteger(value) || value < 0)
      throw StatorError.invalid(`range.${name}`, `range.${name} must be a whole number from 0`);
}

function targetOf(open: OpenObject, range: ByteRange | undefined, into: Uint8Array | undefined): Uint8Array {
  const problem =
    range !== undefined && open.length !== range.length
      ? StatorError.invalid('range', `range goes beyond the object's ${open.info.size} bytes`)
      : into !== undefined && into.length < open.length
        ? StatorError.invalid('into', `the buffer of ${into.length} bytes cannot hold ${open.length}`)
        : undefined;
  if (problem === undefined) return into?.subarray(0, open.length) ?? Buffer.allocUnsafeSlow(open.length);
  open.discard();
  throw problem;
}

/** So much of the targets as the object has bytes. */
function firstBytes(open: OpenObject, targets: readonly Uint8Array[]): Uint8Array[] {
  let left = open.length;
  const parts = targets.map((target) => {
    const part = target.subarray(0, left);
    left -= part.length;
    return part;
  });
  if (left === 0) return parts;
  open.discard();
  const room = open.length - left;
  throw StatorError.invalid('targets', `the buffers of ${room} bytes cannot hold ${open.length}`);
}

function verify(key: string, bytes: Uint8Array, wanted: number | undefined): void {
  if (wanted === undefined) return;
  const found = crc32(bytes);
  if (found !== wanted)
    throw new StatorError(
      'checksum_mismatch',
      `object ${key} has CRC-32 ${found.toString(16)}, not ${wanted.toString(16)}`,
    );
}
