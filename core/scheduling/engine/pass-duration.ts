import type { EngineState } from './engine-state.ts';
import type { EngineSettings, TimingModel } from './settings.ts';

/** How long a pass takes: its prefill part and its decode part, one after the other. */
export class PassDuration {
  readonly #settings: EngineSettings;
  readonly #timing: TimingModel;
  readonly #totalTokens: number;

  constructor(settings: EngineSettings, timing: TimingModel) {
    this.#settings = settings;
    this.#timing = timing;
    this.#totalTokens = settings.totalBlocks * settings.blockSize;
  }

  /** Milliseconds of the pass that the state has put together. */
  of(state: EngineState): number {
    const { speedup } = this.#settings;
    if (speedup === 0) return 0;
    const { pass } = state;
    let ms = 0;
    if (pass.prefillTokens > 0) ms += this.#timing.prefillMs(pass.prefillTokens, pass.prefillSequences) / speedup;
    let emitting = 0;
    let contextTokens = 0;
    for (const sequence of pass.sequences) {
      // A prefill worker's only token comes with the prefill itself.
      if (sequence.role === 'prefill' || sequence.computed < sequence.length) continue;
      emitting++;
      contextTokens += sequence.length;
    }
    return ms + this.decodeMs(emitting, contextTokens, state.cache.pool.active);
  }

  /** Milliseconds of a pass in which so many sequences get tokens; `contextTokens`: their lengths in all. */
  decodeMs(sequences: number, contextTokens: number, activeBlocks: number): number {
    const { speedup, decodeSpeedup, blockSize, kind } = this.#settings;
    if (sequences === 0 || speedup === 0) return 0;
    // SGLang's mocker counts the batch's tokens, vLLM's the blocks in use.
    const active = kind === 'sglang' ? Math.min(contextTokens, this.#totalTokens) : activeBlocks * blockSize;
    const ms = this.#timing.decodeMs(active, this.#totalTokens, Math.floor(contextTokens / sequences));
    return ms / (speedup * decodeSpeedup);
  }
}
