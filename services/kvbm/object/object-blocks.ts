import type { BlockHeader, ExpectedHeader, Hash64 } from '#core/blocks/record/block-header.ts';
import { digestHex, type ObjectName, objectKey } from '#core/blocks/record/object-key.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Limiter } from '#lib/objectstore/limiter.ts';
import type { CallOptions, ObjectStore } from '#lib/objectstore/store.ts';
import type { RestingPlace, StoredRead } from '../movers/depot.ts';
import type { KnownNamespace } from '../namespace-book.ts';
import { tagBytes } from '../stored/cipher.ts';
import { decodePage, encodePage, pageBytes } from '../stored/page.ts';
import type { Sealing, StoredRejection } from '../stored/sealing.ts';

export interface ObjectBlocksParts {
  readonly store: ObjectStore;
  readonly sealing: Sealing;
  readonly hash: Hash64;
  /** Blocks in memory of their own at once, on their way out or in. */
  readonly concurrency: number;
}

/** Whatever it is, it is not ours to delete: a newer version of us, or another cluster's key. */
const foreign = new Set<string>(['unknown_version', 'wrong_key', 'not_encrypted']);

type Miss = { readonly rejection: StoredRejection | 'missing' };
type Found =
  | { readonly header: BlockHeader; readonly checksum: bigint; readonly plain: Uint8Array; readonly rejection?: never }
  | Miss;

/** One block an object: a page with the record, then the bytes. Throws what the object store throws. */
export class ObjectBlocks {
  readonly #parts: ObjectBlocksParts;
  readonly #limiter: Limiter;
  readonly #idle: Uint8Array[] = [];

  constructor(parts: ObjectBlocksParts) {
    this.#parts = parts;
    this.#limiter = new Limiter(parts.concurrency, Number.POSITIVE_INFINITY);
  }

  /** Staging memory in use. */
  get staged(): number {
    return this.#limiter.inside;
  }

  /** False when the bytes are not those of the header: nothing was written. */
  write(place: RestingPlace, header: BlockHeader, room: Uint8Array, signal: AbortSignal): Promise<boolean> {
    return this.#staged(place.layout.slotBytes, signal, async (staging) => {
      const { store, sealing, hash } = this.#parts;
      const sealed = await sealing.seal(header, room.subarray(0, header.payloadBytes));
      if (sealed === undefined) return false;
      encodePage(sealed.page, staging.subarray(0, pageBytes), hash);
      staging.set(sealed.bytes, pageBytes);
      await store.put(keyOf(place), staging.subarray(0, pageBytes + sealed.bytes.length), { signal });
      return true;
    });
  }

  /** What is there is deleted when it is wrong and of our making. */
  async read(
    place: RestingPlace,
    expected: ExpectedHeader,
    room: Uint8Array,
    signal: AbortSignal,
  ): Promise<StoredRead> {
    const isInPlace = !this.#parts.sealing.isEncrypting;
    const read = isInPlace
      ? await this.#readInto(place, expected, new Uint8Array(pageBytes), room, signal)
      : await this.#staged(place.layout.slotBytes + tagBytes, signal, async (staging) => {
          const [page, bytes] = [staging.subarray(0, pageBytes), staging.subarray(pageBytes)];
          const staged = await this.#readInto(place, expected, page, bytes, signal);
          if (staged.rejection === undefined) room.set(staged.plain);
          return staged;
        });
    if (read.rejection === undefined) return { header: read.header, checksum: read.checksum };
    if (read.rejection !== 'missing' && !foreign.has(read.rejection))
      await this.delete(place, {}).catch(() => undefined);
    return { rejection: read.rejection };
  }

  /** The record alone, of a block that this process could read; its bytes are compared when they are read. */
  async readRecord(
    place: RestingPlace,
    expected: ExpectedHeader,
    signal: AbortSignal,
  ): Promise<BlockHeader | undefined> {
    const { store, sealing, hash } = this.#parts;
    const into = new Uint8Array(pageBytes);
    const range = { offset: 0, length: pageBytes };
    const found = await store.get(keyOf(place), { range, into, signal }).catch(missOf);
    if (typeof found === 'string') return undefined;
    const { page } = decodePage(into, expected, hash);
    return page !== undefined && (page.seal !== null) === sealing.isEncrypting ? page.header : undefined;
  }

  async isThere(place: RestingPlace, o: CallOptions): Promise<boolean> {
    return this.#parts.store.head(keyOf(place), o).then(
      ({ size }) => size > pageBytes && size <= place.layout.slotBytes,
      (thrown: unknown) => {
        if (StatorError.from(thrown).code === 'not_found') return false;
        throw thrown;
      },
    );
  }

  delete(place: RestingPlace, o: CallOptions): Promise<void> {
    return this.#parts.store.delete([keyOf(place)], o);
  }

  async #readInto(
    place: RestingPlace,
    expected: ExpectedHeader,
    page: Uint8Array,
    bytes: Uint8Array,
    signal: AbortSignal,
  ): Promise<Found> {
    const { store, sealing, hash } = this.#parts;
    const size = await store.getInto(keyOf(place), [page, bytes], { signal }).then(
      (info) => info.size,
      (thrown: unknown) => missOf(thrown),
    );
    if (typeof size === 'string') return { rejection: size };
    if (size < pageBytes) return { rejection: 'truncated' };
    const decoded = decodePage(page, expected, hash);
    if (decoded.page === undefined) return { rejection: decoded.rejection };
    const payload = bytes.subarray(0, size - pageBytes);
    if (payload.length < decoded.page.header.payloadBytes) return { rejection: 'truncated' };
    const unsealed = await sealing.unseal(decoded.page, bytes, payload.length);
    if (unsealed.rejection !== undefined) return { rejection: unsealed.rejection };
    return { header: decoded.page.header, checksum: unsealed.checksum, plain: unsealed.plain };
  }

  async #staged<T>(bytes: number, signal: AbortSignal, work: (staging: Uint8Array) => Promise<T>): Promise<T> {
    await this.#limiter.enter(signal).catch((reason: unknown) => {
      throw new StatorError('cancelled', 'nobody wants the block any more', { cause: reason });
    });
    const fits = this.#idle.findIndex(({ length }) => length >= bytes);
    const [known] = fits < 0 ? [] : this.#idle.splice(fits, 1);
    const staging = known ?? Buffer.allocUnsafeSlow(bytes);
    try {
      return await work(staging);
    } finally {
      if (this.#idle.length < this.#parts.concurrency) this.#idle.push(staging);
      this.#limiter.leave();
    }
  }
}

function keyOf({ namespace, digest }: RestingPlace): string {
  return objectKey({ ...nameOf(namespace), digest: digestHex(digest) });
}

/** What all keys of a namespace say. */
export function nameOf({ model, modelDigest, tenant, digest }: KnownNamespace): Omit<ObjectName, 'digest'> {
  return { model, modelDigest: modelDigest.slice(0, 16), tenantTag: tenant, namespaceDigest: digest };
}

function missOf(thrown: unknown): Miss['rejection'] {
  const { code } = StatorError.from(thrown);
  if (code === 'not_found') return 'missing';
  // More bytes than a block of this layout can have.
  if (code === 'invalid_argument') return 'wrong_payloadBytes';
  throw thrown;
}
