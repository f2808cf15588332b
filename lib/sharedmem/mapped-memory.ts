import { StatorError } from '#lib/errors/errors.ts';
import type { MemoryAddon } from './addon.ts';
import { cancelledBy, settled } from './settled.ts';

export interface PrefaultOptions {
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes that have their pages. */
  readonly onProgress?: (bytes: number) => void;
  /** Threads at most; default 2. */
  readonly threads?: number;
}

const PROGRESS_MS = 100;

/** Memory outside of the heap that is given back at a known time, and else when nobody refers to it any more. */
export class MappedMemory {
  /** Empty, and every view of it too, once it is closed: accesses throw or find nothing, they never crash. */
  readonly buffer: Buffer;
  readonly #addon: MemoryAddon;
  #closing: Promise<void> | undefined;

  constructor(buffer: Buffer, addon: MemoryAddon) {
    this.buffer = buffer;
    this.#addon = addon;
  }

  /**
   * Gives the memory its pages now, off the event loop, so that no later access has to wait for one. Rejects with
   * `cancelled`, and with `overloaded` where there is not enough memory.
   */
  async prefault({ signal, onProgress, threads = 2 }: PrefaultOptions = {}): Promise<void> {
    const running = this.#addon.populate(this.buffer, threads);
    const timer = setInterval(() => onProgress?.(running.progress()), PROGRESS_MS);
    try {
      const problem = await settled(running, signal);
      if (signal?.aborted) throw cancelledBy(signal);
      if (problem !== 0) throw new StatorError('overloaded', `The system gives the memory no pages: error ${problem}.`);
      onProgress?.(running.progress());
    } finally {
      clearInterval(timer);
    }
  }

  /** Keeps the memory mapped until the function that it gives is called, whatever `close` does: for I/O on it. */
  hold(): () => void {
    return this.#addon.hold(this.buffer);
  }

  /** Takes the bytes from everyone at once. Resolves when they are unmapped: after what still runs on them. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#addon.release(this.buffer).then(() => {});
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Memory of this process on a 2 MiB boundary, in huge pages where there are some: for staging and direct I/O. */
export function allocateMemory(bytes: number, addon: MemoryAddon): MappedMemory {
  return new MappedMemory(addon.allocate(bytes), addon);
}
