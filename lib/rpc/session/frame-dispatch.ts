import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { ClientSequence, SequenceEvents } from './events.ts';
import type { FrameReader } from './frame-reader.ts';
import type { SlotTable } from './slot-table.ts';

export interface DispatchOptions {
  readonly slots: SlotTable;
  readonly log: Logger;
  /** The sequence got its terminal entry; called before its onFinished. */
  readonly release: (sequence: ClientSequence) => void;
  /** A callback of the sequence threw. */
  readonly fail: (sequence: ClientSequence, error: StatorError) => void;
}

/** Hands the entries of a frame to their sequences. */
export class FrameDispatch {
  readonly #o: DispatchOptions;
  readonly #touched: ClientSequence[] = [];
  #number = 0;

  constructor(options: DispatchOptions) {
    this.#o = options;
  }

  dispatch(frame: FrameReader): void {
    this.#number = frame.number;
    for (let entry = 0; entry < frame.tokens; ) entry = this.#tokens(frame, entry);
    for (const prefilled of frame.prefilled) this.#call(this.#touch(prefilled.slot), (on) => on.onPrefilled(prefilled));
    for (const finished of frame.finished) {
      const sequence = this.#touch(finished.slot);
      if (sequence !== undefined) this.#o.release(sequence);
      this.#call(sequence, (on) => on.onFinished(finished));
    }
    for (const sequence of this.#touched) this.#call(sequence, (on) => on.onFrameEnd());
    this.#touched.length = 0;
  }

  /** Hands out tokens from entry `from` on. Returns the entry to go on with, which is not the end where a callback threw. */
  #tokens(frame: FrameReader, from: number): number {
    const { slots, tokenIds, tokens, logprobs } = frame;
    let next = 0;
    while ((logprobs[next]?.entry ?? tokens) < from) next++;
    let sequence: ClientSequence | undefined;
    let entry = from;
    try {
      for (; entry < tokens; entry++) {
        sequence = this.#touch(slots[entry] ?? 0);
        sequence?.events.onToken(tokenIds[entry] ?? 0);
        for (; logprobs[next]?.entry === entry; next++) {
          const position = logprobs[next]?.position;
          if (position !== undefined) sequence?.events.onLogprobs(position);
        }
      }
    } catch (thrown) {
      if (sequence !== undefined) this.#fail(sequence, thrown);
      return entry + 1;
    }
    return tokens;
  }

  /** The sequence of a slot, noted as touched; undefined for a slot that nobody waits for, which no correct worker sends. */
  #touch(slot: number): ClientSequence | undefined {
    const sequence = this.#o.slots.get(slot);
    if (sequence === undefined || sequence.touchedFrame === this.#number) return sequence;
    sequence.touchedFrame = this.#number;
    sequence.request = undefined;
    this.#touched.push(sequence);
    return sequence;
  }

  #call(sequence: ClientSequence | undefined, callback: (on: SequenceEvents) => void): void {
    if (sequence === undefined) return;
    try {
      callback(sequence.events);
    } catch (thrown) {
      this.#fail(sequence, thrown);
    }
  }

  #fail(sequence: ClientSequence, thrown: unknown): void {
    this.#o.log.error({ err: thrown, slot: sequence.slot }, 'a callback of a sequence failed');
    this.#o.fail(sequence, new StatorError('internal', 'a callback of the sequence failed', { cause: thrown }));
  }
}
