import { StatorError } from '#lib/errors/errors.ts';
import { revoked, SLOTS, slotOf } from '../regions.ts';

const LINES = 256;
const LINE_WORDS = 16;
const WORD_BYTES = 8;

/** Offset there, offset in `scratch`. `unread` is called before it fails where the words were not begun to be read. */
type ReadWords = (words: readonly { there: number; here: number }[], unread: () => void) => Promise<void>;

/**
 * A table that peers read along with data: the id of the region in each slot. One-sided reads go on after memory was
 * deregistered where NIXL copies between processes, so that only this tells whether what was read was still meant.
 */
export class Fence {
  readonly table = new Uint8Array(SLOTS * WORD_BYTES);
  /** Where other agents' words are read to, a line for each transfer. */
  readonly scratch = new Uint8Array(LINES * LINE_WORDS * WORD_BYTES);
  readonly #words = new DataView(this.table.buffer);
  readonly #read = new DataView(this.scratch.buffer);
  readonly #free = Array.from({ length: LINES }, (_, line) => line);

  lend(id: number): void {
    this.#words.setBigUint64(slotOf(id) * WORD_BYTES, BigInt(id), true);
  }

  revoke(id: number): void {
    this.#words.setBigUint64(slotOf(id) * WORD_BYTES, 0n, true);
  }

  /** Checks regions of a peer: `read` copies words of its table. Throws `not_found`. */
  async check(ids: readonly number[], read: ReadWords): Promise<void> {
    for (let first = 0; first < ids.length; first += LINE_WORDS)
      await this.#checkLine(ids.slice(first, first + LINE_WORDS), read);
  }

  async #checkLine(ids: readonly number[], read: ReadWords): Promise<void> {
    const line = this.#free.pop();
    if (line === undefined) throw new StatorError('overloaded', 'Too many transfers run at once.');
    const here = (index: number): number => (line * LINE_WORDS + index) * WORD_BYTES;
    const words = ids.map((id, index) => ({ there: slotOf(id) * WORD_BYTES, here: here(index) }));
    // A line whose read failed is not used again: NIXL may still write to it.
    await read(words, () => this.#free.push(line));
    const valid = ids.every((id, index) => this.#read.getBigUint64(here(index), true) === BigInt(id));
    this.#free.push(line);
    if (!valid) throw revoked();
  }
}
