import type { KvCache } from './kv-cache.ts';
import type { EngineSequence } from './sequence.ts';
import type { EngineSettings } from './settings.ts';
import type { WaitQueue } from './wait-queue.ts';

/** The pass that is being put together. */
export interface Pass {
  readonly sequences: EngineSequence[];
  /** Tokens it computes, prefill and decode. */
  tokens: number;
  prefillTokens: number;
  prefillSequences: number;
  decodeSequences: number;
  decodeContextTokens: number;
  /** A sequence had to give its blocks back. */
  preempted: boolean;
}

/** What schedulers work on: who waits, who runs, who holds what, and the next pass. */
export class EngineState {
  readonly settings: EngineSettings;
  readonly cache: KvCache;
  readonly waiting: WaitQueue;
  /** In order of admission. */
  readonly running: EngineSequence[] = [];
  /** Admitted, but their KV is on its way. */
  readonly transferring: EngineSequence[] = [];
  readonly pass: Pass = {
    sequences: [],
    tokens: 0,
    prefillTokens: 0,
    prefillSequences: 0,
    decodeSequences: 0,
    decodeContextTokens: 0,
    preempted: false,
  };
  /** Prompt tokens of all sequences that are not computed yet. */
  pendingPrefill = 0;

  readonly #blockSize: number;

  constructor(settings: EngineSettings, cache: KvCache, waiting: WaitQueue) {
    this.settings = settings;
    this.#blockSize = settings.blockSize;
    this.cache = cache;
    this.waiting = waiting;
  }

  /** Sequences that count against the limit of those computed at once. */
  get admitted(): number {
    return this.running.length + this.transferring.length;
  }

  beginPass(): void {
    const { pass } = this;
    pass.sequences.length = 0;
    pass.tokens = 0;
    pass.prefillTokens = 0;
    pass.prefillSequences = 0;
    pass.decodeSequences = 0;
    pass.decodeContextTokens = 0;
    pass.preempted = false;
  }

  /**
   * Admits the sequence at the head of the queue with blocks for its first `tokens` tokens, if `spare` further ones would be
   * left. False: it does not fit.
   */
  admit(sequence: EngineSequence, tokens: number, spare: number, nowMs: number): boolean {
    const { cache, settings } = this;
    if (sequence.blockedAt === cache.pool.generation) return false;
    this.pendingPrefill -= sequence.pendingPrefill;
    const admitted = cache.admit(sequence, tokens, spare);
    this.pendingPrefill += sequence.pendingPrefill;
    if (!admitted) {
      sequence.blockedAt = cache.pool.generation;
      return false;
    }
    this.waiting.remove(sequence);
    if (sequence.scheduledMs < 0) {
      sequence.scheduledMs = nowMs;
      sequence.cachedTokens = Math.min(sequence.computed, sequence.promptTokens);
    }
    const delayMs = this.#transferMs(sequence);
    if (delayMs > 0 && settings.speedup > 0) {
      sequence.state = 'transferring';
      sequence.readyMs = nowMs + delayMs / settings.speedup;
      this.transferring.push(sequence);
    } else this.#start(sequence);
    return true;
  }

  /** Sequences whose KV has come run from now on. */
  startTransferred(nowMs: number): void {
    for (let i = 0; i < this.transferring.length; ) {
      const sequence = this.transferring[i];
      if (sequence === undefined || sequence.readyMs > nowMs) i++;
      else {
        this.transferring.splice(i, 1);
        this.#start(sequence);
      }
    }
  }

  /** The pass computes the sequence's next `tokens` tokens, whose blocks it has. */
  take(sequence: EngineSequence, tokens: number): void {
    const { pass } = this;
    const prefill = Math.min(tokens, sequence.pendingPrefill);
    sequence.scheduled = tokens;
    sequence.scheduledPrefill = prefill;
    sequence.computed += tokens;
    this.pendingPrefill -= prefill;
    pass.sequences.push(sequence);
    pass.tokens += tokens;
    if (prefill > 0) {
      pass.prefillTokens += prefill;
      pass.prefillSequences++;
    } else {
      pass.decodeSequences++;
      pass.decodeContextTokens += sequence.computed;
    }
    this.cache.commit(sequence);
  }

  /** `take` for a sequence that decodes one token and has room for it: what most passes mostly do. */
  takeOne(sequence: EngineSequence): void {
    const { pass } = this;
    sequence.scheduled = 1;
    sequence.scheduledPrefill = 0;
    sequence.computed++;
    pass.sequences.push(sequence);
    pass.tokens++;
    pass.decodeSequences++;
    pass.decodeContextTokens += sequence.computed;
    if (sequence.computed === (sequence.hashedBlocks + 1) * this.#blockSize) this.cache.commit(sequence);
  }

  /** Whether `takeOne` is for it. */
  decodesInPlace(sequence: EngineSequence): boolean {
    const { computed } = sequence;
    const wants = sequence.promptTokens + sequence.outputTokens - computed;
    return wants === 1 && computed >= sequence.prefillUntil && computed < sequence.blockCount * this.#blockSize;
  }

  /** Takes everything from a running sequence; it waits again, before all others. */
  preempt(sequence: EngineSequence): void {
    const { pass } = this;
    pass.preempted = true;
    sequence.preemptions++;
    if (sequence.scheduled > 0) this.#untake(sequence);
    this.running.splice(this.running.lastIndexOf(sequence), 1);
    this.pendingPrefill -= sequence.pendingPrefill;
    this.cache.release(sequence);
    sequence.prefillUntil = sequence.length;
    this.pendingPrefill += sequence.pendingPrefill;
    sequence.state = 'waiting';
    this.waiting.addFirst(sequence);
  }

  #untake(sequence: EngineSequence): void {
    const { pass } = this;
    pass.sequences.splice(pass.sequences.lastIndexOf(sequence), 1);
    pass.tokens -= sequence.scheduled;
    if (sequence.scheduledPrefill > 0) {
      pass.prefillTokens -= sequence.scheduledPrefill;
      pass.prefillSequences--;
    } else {
      pass.decodeSequences--;
      pass.decodeContextTokens -= sequence.computed;
    }
    sequence.scheduled = 0;
  }

  #start(sequence: EngineSequence): void {
    sequence.state = 'running';
    this.running.push(sequence);
    if (!sequence.needsTransfer) return;
    // The last token is computed here: its output is the first one.
    sequence.needsTransfer = false;
    sequence.computed = sequence.length - 1;
    this.cache.commit(sequence);
  }

  #transferMs(sequence: EngineSequence): number {
    const { transfer } = this.settings;
    let ms = sequence.onboardMs;
    sequence.onboardMs = 0;
    if (sequence.needsTransfer && transfer.gigabytesPerSecond > 0) {
      const tokens = sequence.length - (transfer.mode === 'full_prompt' ? 0 : sequence.computed);
      ms += (tokens * transfer.bytesPerToken) / (transfer.gigabytesPerSecond * 1e6);
    }
    return ms;
  }
}
