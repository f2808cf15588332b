import path from 'node:path';
import type { SlotFile, SlotFileSystem } from './files.ts';

const zeroBytes = 1 << 20;

export interface SegmentsSpec {
  readonly folder: string;
  readonly slots: number;
  /** Bytes of a slot; a multiple of a page. */
  readonly slotBytes: number;
  /** Bytes of a file at most; at least one slot is in each. */
  readonly segmentBytes: number;
  readonly files: SlotFileSystem;
  /** Memory that starts at a page. */
  readonly allocate: (bytes: number) => Uint8Array;
  /** Takes blocks of the file system for a file; false where it cannot. */
  readonly preallocate: (path: string, bytes: number) => Promise<boolean>;
}

/**
 * The slots of one layout in files of bounded size. A file is made and filled to its full size before the first write
 * into it, so that later writes neither lack room nor change the file system's own records.
 */
export class Segments {
  readonly #spec: SegmentsSpec;
  readonly #slotsEach: number;
  readonly #open: (Promise<SlotFile> | undefined)[] = [];
  #isDirect = true;

  constructor(spec: SegmentsSpec) {
    this.#spec = spec;
    this.#slotsEach = Math.max(1, Math.floor(spec.segmentBytes / spec.slotBytes));
  }

  /** False once a file was opened that does not bypass the page cache. */
  get isDirect(): boolean {
    return this.#isDirect;
  }

  /** Opens what an earlier life left and removes files beyond the slots there are now. Resolves with the slots that have files. */
  async openExisting(): Promise<number> {
    const { folder, files, slots } = this.#spec;
    const wanted = Math.ceil(slots / this.#slotsEach);
    let found = 0;
    for (const name of await files.list(folder)) {
      const number = numberOf(name);
      if (number === undefined) continue;
      if (number >= wanted) await files.remove(path.join(folder, name));
      else found = Math.max(found, number + 1);
    }
    return Math.min(slots, found * this.#slotsEach);
  }

  async read(slot: number, buffers: readonly Uint8Array[], within = 0): Promise<void> {
    const file = await this.#file(slot);
    await file.read(buffers, this.#position(slot) + within);
  }

  async write(slot: number, buffers: readonly Uint8Array[]): Promise<void> {
    const file = await this.#file(slot);
    await file.write(buffers, this.#position(slot));
  }

  async close(): Promise<void> {
    const open = this.#open.splice(0);
    await Promise.all(open.map((file) => file?.then((opened) => opened.close()).catch(() => undefined)));
  }

  #position(slot: number): number {
    return (slot % this.#slotsEach) * this.#spec.slotBytes;
  }

  /** One that could not be made is tried again with the next slot that needs it. */
  #file(slot: number): Promise<SlotFile> {
    const segment = Math.floor(slot / this.#slotsEach);
    const known = this.#open[segment];
    if (known !== undefined) return known;
    const opening = this.#make(segment);
    this.#open[segment] = opening;
    opening.catch(() => {
      if (this.#open[segment] === opening) this.#open[segment] = undefined;
    });
    return opening;
  }

  async #make(segment: number): Promise<SlotFile> {
    const { folder, files, slots, slotBytes, preallocate } = this.#spec;
    const name = path.join(folder, `slots-${String(segment).padStart(5, '0')}.kv`);
    const bytes = Math.min(this.#slotsEach, slots - segment * this.#slotsEach) * slotBytes;
    const file = await files.open(name);
    try {
      const size = await file.size();
      if (size < bytes && !(await preallocate(name, bytes))) await this.#fill(file, size, bytes);
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
    if (!file.isDirect) this.#isDirect = false;
    return file;
  }

  /** From the last whole piece on: whatever is there already stays. */
  async #fill(file: SlotFile, from: number, to: number): Promise<void> {
    const zeros = this.#spec.allocate(zeroBytes);
    for (let at = Math.floor(from / 4096) * 4096; at < to; at += zeroBytes)
      await file.write([zeros.subarray(0, Math.min(zeroBytes, to - at))], at);
  }
}

function numberOf(name: string): number | undefined {
  const [, digits] = /^slots-(\d{5})\.kv$/.exec(name) ?? [];
  return digits === undefined ? undefined : Number(digits);
}
