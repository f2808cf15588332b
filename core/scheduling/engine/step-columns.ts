import { type EngineStep, type PassFigures, stepFlags } from './engine-model.ts';
import type { EngineSequence } from './sequence.ts';

/** The columns of a step, reused from one to the next. */
export class StepColumns {
  finished = 0;
  #count = 0;
  #ids: Int32Array;
  #tokens: Int32Array;
  #flags: Uint8Array;
  #cachedTokens: Int32Array;
  #scheduledMs: Float64Array;
  #preemptions: Int32Array;

  constructor(capacity: number) {
    this.#ids = new Int32Array(capacity);
    this.#tokens = new Int32Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#cachedTokens = new Int32Array(capacity);
    this.#scheduledMs = new Float64Array(capacity);
    this.#preemptions = new Int32Array(capacity);
  }

  begin(capacity: number): void {
    this.#count = 0;
    this.finished = 0;
    if (capacity <= this.#ids.length) return;
    this.#ids = new Int32Array(capacity);
    this.#tokens = new Int32Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#cachedTokens = new Int32Array(capacity);
    this.#scheduledMs = new Float64Array(capacity);
    this.#preemptions = new Int32Array(capacity);
  }

  add(sequence: EngineSequence, tokens: number, flags: number): void {
    const at = this.#count++;
    this.#ids[at] = sequence.id;
    this.#tokens[at] = tokens;
    this.#flags[at] = flags;
    if ((flags & stepFlags.finished) !== 0) this.finished++;
    this.#preemptions[at] = sequence.preemptions;
    if ((flags & stepFlags.first) === 0) return;
    this.#cachedTokens[at] = sequence.cachedTokens;
    this.#scheduledMs[at] = sequence.scheduledMs;
  }

  step(startMs: number, durationMs: number, pass: PassFigures): EngineStep {
    return {
      startMs,
      durationMs,
      count: this.#count,
      ids: this.#ids,
      tokens: this.#tokens,
      flags: this.#flags,
      cachedTokens: this.#cachedTokens,
      scheduledMs: this.#scheduledMs,
      preemptions: this.#preemptions,
      pass,
    };
  }
}
