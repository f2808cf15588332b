import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import type { Finished, Prefilled, SequenceHandle, StepBatch } from '../engine.ts';
import type { KvObserver } from '../kv-admission.ts';

/** A sequence as the engine has it. */
export interface TrackedSequence {
  readonly request: GenerateRequest;
  /** Tokens of output so far. */
  readonly output: number[];
  /** Blocks of it that were offered to the tiers. */
  offered: number;
}

export interface SequenceListener {
  onPrefilled(sequence: TrackedSequence, info: Prefilled): void;
  onFinished(sequence: TrackedSequence, info: Finished): void;
}

/** The tokens of sequences while they run, prompt and output, for those who want to know what an engine has cached. */
export class SequenceTokens implements KvObserver {
  readonly #wants: (request: GenerateRequest) => boolean;
  readonly #listener: SequenceListener;
  readonly #sequences = new Map<SequenceHandle, TrackedSequence>();

  constructor(wants: (request: GenerateRequest) => boolean, listener: SequenceListener) {
    this.#wants = wants;
    this.#listener = listener;
  }

  submitted(handle: SequenceHandle, request: GenerateRequest): void {
    if (this.#wants(request)) this.#sequences.set(handle, { request, output: [], offered: 0 });
  }

  stepped({ handles, tokenIds, prefilled, finished }: StepBatch): void {
    if (this.#sequences.size === 0) return;
    for (const [entry, handle] of handles.entries()) this.#sequences.get(handle)?.output.push(tokenIds[entry] ?? 0);
    for (const info of prefilled) {
      const sequence = this.#sequences.get(info.handle);
      if (sequence !== undefined) this.#listener.onPrefilled(sequence, info);
    }
    for (const info of finished) {
      const sequence = this.#sequences.get(info.handle);
      this.#sequences.delete(info.handle);
      if (sequence !== undefined) this.#listener.onFinished(sequence, info);
    }
  }
}
