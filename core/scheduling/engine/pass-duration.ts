import type { EngineState } from './engine-state.ts';
import type { EngineSequence } from './sequence.ts';
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
    let decoding = 0;
    let contextTokens = 0;
    for (const sequence of pass.sequences) {
      if (!this.#decodes(sequence)) continue;
      decoding++;
      contextTokens += sequence.length;
    }
    return ms + this.decodeMs(decoding, contextTokens);
  }

  /** Milliseconds of a pass in which so many sequences get tokens; `contextTokens`: their lengths in all. */
  decodeMs(sequences: number, contextTokens: number): number {
    const { speedup, decodeSpeedup } = this.#settings;
    if (sequences === 0 || speedup === 0) return 0;
    const active = Math.min(contextTokens, this.#totalTokens);
    const ms = this.#timing.decodeMs(active, this.#totalTokens, Math.floor(contextTokens / sequences));
    return ms / (speedup * decodeSpeedup);
  }

  /** Whether the sequence gets a token in this pass that its prefill does not bring. */
  #decodes(sequence: EngineSequence): boolean {
    if (sequence.role === 'prefill' || sequence.computed < sequence.length) return false;
    if (sequence.scheduledPrefill === 0) return true;
    const { kind, acceptRates } = this.#settings;
    return kind !== 'sglang' && (sequence.outputTokens > 0 || acceptRates.length > 0);
  }
}
