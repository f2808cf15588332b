import type { BlockHeader, ExpectedHeader, Hash64 } from '#core/blocks/record/block-header.ts';
import { Limiter } from '#lib/objectstore/limiter.ts';
import type { StoredRead } from '../movers/depot.ts';
import { tagBytes } from '../stored/cipher.ts';
import { type DecodedPage, decodePage, encodePage, pageBytes } from '../stored/page.ts';
import type { Sealing } from '../stored/sealing.ts';
import type { Segments } from './segments.ts';
import { WriteRuns } from './write-runs.ts';

export interface DiskSlotsParts {
  readonly segments: Segments;
  /** Page and padded block; a multiple of a page. */
  readonly slotBytes: number;
  readonly sealing: Sealing;
  readonly hash: Hash64;
  /** Reads at once, and half as many writes: nobody waits for those. */
  readonly concurrency: number;
  /** Memory that starts at a page. */
  readonly allocate: (bytes: number) => Uint8Array;
  /** Whether memory starts at a page. */
  readonly isAligned: (memory: Uint8Array) => boolean;
}

/**
 * Blocks in the slots of a disk: a page with the record, then the bytes. Nothing is flushed and no order of writes is
 * relied on: whatever a crash leaves contradicts its own checksums and is never believed. Rejects with the system's codes.
 */
export class DiskSlots {
  readonly #parts: DiskSlotsParts;
  readonly #reads: Limiter;
  readonly #writes: Limiter;
  /** Of a slot's size each, for pages, and for blocks that cannot be transferred from where they are. */
  readonly #idle: Uint8Array[] = [];
  readonly #none = new AbortController().signal;
  readonly #running = new Set<Promise<unknown>>();
  /** The last of those that write into a slot, or wait to. */
  readonly #writers = new Map<number, Promise<unknown>>();
  readonly #runs: WriteRuns;

  constructor(parts: DiskSlotsParts) {
    this.#parts = parts;
    this.#reads = new Limiter(parts.concurrency, Number.POSITIVE_INFINITY);
    this.#writes = new Limiter(Math.ceil(parts.concurrency / 2), Number.POSITIVE_INFINITY);
    this.#runs = new WriteRuns({
      ...parts,
      afterOthers: (slot, work) => this.#afterOthers(slot, work),
      inTurn: (work) => this.#inTurn(this.#writes, work),
    });
  }

  /** Reads and writes under way or waiting. */
  get pending(): number {
    return this.#running.size;
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /**
   * Writes a block from host memory. `room` is where it stands, with all that is up to the end of its last page. False when
   * its bytes are not those of the header: nothing was written.
   */
  async write(slot: number, header: BlockHeader, room: Uint8Array): Promise<boolean> {
    const sealed = await this.#parts.sealing.seal(header, room.subarray(0, header.payloadBytes));
    if (sealed === undefined) return false;
    const padded = roundUp(header.payloadBytes);
    if (sealed.bytes.buffer === room.buffer && this.#isDirect(room, padded)) {
      await this.#runs.write(slot, { page: sealed.page, bytes: room.subarray(0, padded) });
      return true;
    }
    await this.#alone(slot, async (staging) => {
      encodePage(sealed.page, staging, this.#parts.hash);
      staging.set(sealed.bytes, pageBytes);
      await this.#parts.segments.write(slot, [staging.subarray(0, pageBytes + padded)]);
    });
    return true;
  }

  /** Reads a block into host memory, if it is the one that is expected. After a rejection the room holds anything. */
  async read(
    slot: number,
    expected: ExpectedHeader & { readonly payloadBytes: number },
    room: Uint8Array,
  ): Promise<StoredRead> {
    const { segments, sealing, hash } = this.#parts;
    const bytes = expected.payloadBytes;
    const padded = roundUp(bytes);
    const unseal = async (decoded: DecodedPage, block: Uint8Array): Promise<StoredRead> => {
      if (decoded.page === undefined) return { rejection: decoded.rejection };
      const unsealed = await sealing.unseal(decoded.page, block, bytes);
      if (unsealed.rejection !== undefined) return { rejection: unsealed.rejection };
      if (block !== room) room.set(unsealed.plain);
      return { header: decoded.page.header, checksum: unsealed.checksum };
    };
    const fill = async (page: Uint8Array, block: Uint8Array): Promise<DecodedPage> => {
      await segments.read(slot, [page, block]);
      return decodePage(page, expected, hash);
    };
    if (sealing.isEncrypting || !this.#isDirect(room, padded))
      return this.#inTurn(this.#reads, async (staging) => {
        const block = staging.subarray(pageBytes);
        return unseal(await fill(staging.subarray(0, pageBytes), block.subarray(0, padded)), block);
      });
    // The next read begins while the checksum of this one is computed.
    const decoded = await this.#inTurn(this.#reads, (staging) =>
      fill(staging.subarray(0, pageBytes), room.subarray(0, padded)),
    );
    return unseal(decoded, room);
  }

  /** The record in a slot, its bytes unread. */
  readPage(slot: number): Promise<DecodedPage> {
    return this.#inTurn(this.#reads, async (staging) => {
      const page = staging.subarray(0, pageBytes);
      await this.#parts.segments.read(slot, [page]);
      return decodePage(page, {}, this.#parts.hash);
    });
  }

  /** Overwrites a slot's record and bytes if its page is to go; the decision and the write are one step for other writers. */
  erase(slot: number, isToGo: (page: DecodedPage) => boolean): Promise<boolean> {
    return this.#alone(slot, async (staging) => {
      const { segments, hash, slotBytes } = this.#parts;
      const page = staging.subarray(0, pageBytes);
      await segments.read(slot, [page]);
      if (!isToGo(decodePage(page, {}, hash))) return false;
      const zeros = staging.subarray(0, slotBytes).fill(0);
      await segments.write(slot, [zeros]);
      return true;
    });
  }

  /** In place only between whole pages: what lies behind the block belongs to it. */
  #isDirect(room: Uint8Array, padded: number): boolean {
    return room.length >= padded && this.#parts.isAligned(room);
  }

  #alone<T>(slot: number, work: (staging: Uint8Array) => Promise<T>): Promise<T> {
    return this.#afterOthers(slot, () => this.#inTurn(this.#writes, work));
  }

  /** One writer of a slot after the other. */
  #afterOthers<T>(slot: number, work: () => Promise<T>): Promise<T> {
    const before = this.#writers.get(slot);
    const own = (before ?? Promise.resolve()).then(work);
    const done = own.catch(() => undefined);
    this.#writers.set(slot, done);
    void done.then(() => {
      if (this.#writers.get(slot) === done) this.#writers.delete(slot);
    });
    return own;
  }

  #inTurn<T>(limiter: Limiter, work: (staging: Uint8Array) => Promise<T>): Promise<T> {
    const running = this.#withStaging(limiter, work);
    this.#running.add(running);
    const ended = (): boolean => this.#running.delete(running);
    void running.then(ended, ended);
    return running;
  }

  async #withStaging<T>(limiter: Limiter, work: (staging: Uint8Array) => Promise<T>): Promise<T> {
    await limiter.enter(this.#none);
    const staging = this.#idle.pop() ?? this.#parts.allocate(this.#parts.slotBytes + tagBytes);
    try {
      return await work(staging);
    } finally {
      this.#idle.push(staging);
      limiter.leave();
    }
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / pageBytes) * pageBytes;
}
