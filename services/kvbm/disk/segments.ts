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
  /** Monotonic. */
  readonly nowMs: () => number;
}

/** For so long no file is made after one could not be. */
const retryMs = 10_000;

/** The file of a slot cannot be made: the disk is full, or whatever the cause says. */
export class NoSegment extends Error {
  override readonly name = 'NoSegment';
  readonly code: string;

  constructor(cause: NodeJS.ErrnoException) {
    super(`a file for slots cannot be made: ${cause.code ?? cause.message}`, { cause });
    this.code = cause.code ?? 'EIO';
  }
}

/**
 * The slots of one layout in files of bounded size. A file is made and filled to its full size before the first write
 * into it, so that later writes neither lack room nor change the file system's own records.
 */
export class Segments {
  readonly #spec: SegmentsSpec;
  readonly #slotsEach: number;
  readonly #open: (Promise<SlotFile> | undefined)[] = [];
  /** Those that were made. */
  readonly #made = new Set<number>();
  /** Until when no further file is made, because one could not be. */
  #restingUntilMs = Number.NEGATIVE_INFINITY;
  #problem: NoSegment | undefined;
  #isDirect = true;

  constructor(spec: SegmentsSpec) {
    this.#spec = spec;
    this.#slotsEach = Math.max(1, Math.floor(spec.segmentBytes / spec.slotBytes));
  }

  /** False once a file was opened that does not bypass the page cache. */
  get isDirect(): boolean {
    return this.#isDirect;
  }

  /** Why slots have no files at present; undefined when all that were asked for have. */
  get problem(): string | undefined {
    return this.#problem === undefined ? undefined : `there is no room for all slots: ${this.#problem.code}`;
  }

  /** False for a slot whose file cannot be made, for as long as that is not tried again. */
  hasRoom(slot: number): boolean {
    return this.#made.has(Math.floor(slot / this.#slotsEach)) || this.#spec.nowMs() >= this.#restingUntilMs;
  }

  /** Removes files beyond the slots there are now. Resolves with the slots that files of an earlier life may hold. */
  async existing(): Promise<number> {
    const { folder, files, slots } = this.#spec;
    const wanted = Math.ceil(slots / this.#slotsEach);
    let found = 0;
    for (const name of await files.list(folder)) {
      const number = numberOf(name);
      if (number === undefined) continue;
      if (number >= wanted) await files.remove(path.join(folder, name));
      else found = Math.max(found, await this.#slotsOf(number));
    }
    return Math.min(slots, found);
  }

  async read(slot: number, buffers: readonly Uint8Array[], within = 0): Promise<void> {
    const file = await this.#file(slot);
    await file.read(buffers, this.#position(slot) + within);
  }

  /** From a slot's start on; beyond its end the next slots of the same file follow. */
  async write(slot: number, buffers: readonly Uint8Array[]): Promise<void> {
    const file = await this.#file(slot);
    await file.write(buffers, this.#position(slot));
  }

  /** Whether two slots are in one file. */
  areTogether(one: number, other: number): boolean {
    return Math.floor(one / this.#slotsEach) === Math.floor(other / this.#slotsEach);
  }

  async close(): Promise<void> {
    const open = this.#open.splice(0);
    await Promise.all(open.map((file) => file?.then((opened) => opened.close()).catch(() => undefined)));
  }

  /** Slots up to the end of a file; the last may be shorter than the others. */
  async #slotsOf(segment: number): Promise<number> {
    const { files, slotBytes } = this.#spec;
    const bytes = await files.size(this.#name(segment));
    return segment * this.#slotsEach + Math.min(this.#slotsEach, Math.floor(bytes / slotBytes));
  }

  #name(segment: number): string {
    return path.join(this.#spec.folder, `slots-${String(segment).padStart(5, '0')}.kv`);
  }

  #position(slot: number): number {
    return (slot % this.#slotsEach) * this.#spec.slotBytes;
  }

  #file(slot: number): Promise<SlotFile> {
    const segment = Math.floor(slot / this.#slotsEach);
    const known = this.#open[segment];
    if (known !== undefined) return known;
    if (this.#problem !== undefined && !this.hasRoom(slot)) return Promise.reject(this.#problem);
    const opening = this.#make(segment);
    this.#open[segment] = opening;
    const made = (): void => {
      this.#made.add(segment);
      this.#problem = undefined;
    };
    const failed = (problem: NoSegment): void => {
      this.#open[segment] = undefined;
      this.#problem = problem;
      this.#restingUntilMs = this.#spec.nowMs() + retryMs;
    };
    void opening.then(made, failed);
    return opening;
  }

  async #make(segment: number): Promise<SlotFile> {
    const { files, slots, slotBytes, preallocate } = this.#spec;
    const name = this.#name(segment);
    // Files of an unknown number of slots are read as they are.
    const wanted =
      slots === Number.POSITIVE_INFINITY ? 0 : Math.min(this.#slotsEach, slots - segment * this.#slotsEach);
    const bytes = wanted * slotBytes;
    const file = await files.open(name).catch(noSegment);
    try {
      const size = await file.size();
      if (size < bytes && !(await preallocate(name, bytes))) await this.#fill(file, size, bytes);
    } catch (thrown) {
      await file.close();
      return noSegment(thrown);
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

function noSegment(thrown: unknown): never {
  throw new NoSegment(thrown as NodeJS.ErrnoException);
}

function numberOf(name: string): number | undefined {
  const [, digits] = /^slots-(\d{5})\.kv$/.exec(name) ?? [];
  return digits === undefined ? undefined : Number(digits);
}
