import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { encodePage, pageBytes, type StoredPage } from '../stored/page.ts';
import type { Segments } from './segments.ts';

/** Of blocks that are written together at most: larger writes are no faster. */
const runBytes = 2 << 20;

export interface WriteRunsParts {
  readonly segments: Segments;
  readonly slotBytes: number;
  readonly hash: Hash64;
  /** Begins when nobody else writes into the slot, and keeps others from it until it is done. */
  readonly afterOthers: <T>(slot: number, work: () => Promise<T>) => Promise<T>;
  /** Begins when few enough writes are under way, with memory of a slot's size. */
  readonly inTurn: (work: (staging: Uint8Array) => Promise<void>) => Promise<void>;
}

/** A block that can be written from where it stands. */
interface SealedBlock {
  readonly page: StoredPage;
  /** Whole pages. */
  readonly bytes: Uint8Array;
}

interface Waiting extends SealedBlock {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Writes blocks, and those that wait for neighbouring slots of the same file in one go with them. */
export class WriteRuns {
  readonly #parts: WriteRunsParts;
  readonly #waiting = new Map<number, Waiting>();

  constructor(parts: WriteRunsParts) {
    this.#parts = parts;
  }

  write(slot: number, block: SealedBlock): Promise<void> {
    return this.#parts.afterOthers(slot, () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#waiting.set(slot, { ...block, resolve, reject });
      void this.#parts.inTurn((staging) => this.#writeRun(slot, staging)).catch(reject);
      return promise;
    });
  }

  /** Never rejects: each block of the run hears of it. */
  async #writeRun(slot: number, staging: Uint8Array): Promise<void> {
    const { segments, hash } = this.#parts;
    if (!this.#waiting.has(slot)) return;
    const { first, run } = this.#take(slot, Math.floor(staging.length / pageBytes));
    try {
      const buffers = run.flatMap(({ page, bytes }, at) => {
        const room = staging.subarray(at * pageBytes, (at + 1) * pageBytes);
        encodePage(page, room, hash);
        return [room, bytes];
      });
      await segments.write(first, buffers);
      for (const { resolve } of run) resolve();
    } catch (thrown) {
      for (const { reject } of run) reject(thrown);
    }
  }

  /** What waits for the slot and for those around it without a gap. */
  #take(slot: number, mostBlocks: number): { readonly first: number; readonly run: Waiting[] } {
    const { slotBytes } = this.#parts;
    const most = Math.min(mostBlocks, Math.max(1, Math.floor(runBytes / slotBytes)));
    let [first, last] = [slot, slot];
    while (last - first + 1 < most && this.#joins(last, last + 1)) last += 1;
    while (last - first + 1 < most && this.#joins(first - 1, first)) first -= 1;
    const run: Waiting[] = [];
    for (let at = first; at <= last; at += 1) {
      const block = this.#waiting.get(at);
      this.#waiting.delete(at);
      if (block !== undefined) run.push(block);
    }
    return { first, run };
  }

  #joins(before: number, after: number): boolean {
    const { segments, slotBytes } = this.#parts;
    const one = this.#waiting.get(before);
    return (
      one !== undefined &&
      this.#waiting.has(after) &&
      one.bytes.length + pageBytes === slotBytes &&
      segments.areTogether(before, after)
    );
  }
}
