import type { ClientSequence } from './events.ts';

/** Sequences by slot. A slot is given out again only after its terminal entry; the last one freed first, so that numbers stay small. */
export class SlotTable {
  readonly #sequences: (ClientSequence | undefined)[] = [];
  readonly #free: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(slot: number): ClientSequence | undefined {
    return this.#sequences[slot];
  }

  /** A slot that is free. */
  nextSlot(): number {
    return this.#free.pop() ?? this.#sequences.length;
  }

  add(sequence: ClientSequence): void {
    this.#sequences[sequence.slot] = sequence;
    this.#size++;
  }

  remove(sequence: ClientSequence): void {
    if (this.#sequences[sequence.slot] !== sequence) return;
    this.#sequences[sequence.slot] = undefined;
    this.#free.push(sequence.slot);
    this.#size--;
  }

  all(): ClientSequence[] {
    return this.#sequences.filter((sequence) => sequence !== undefined);
  }

  /** Forgets everything: slots of a session that is gone mean nothing in the next. */
  clear(): void {
    this.#sequences.length = 0;
    this.#free.length = 0;
    this.#size = 0;
  }
}
