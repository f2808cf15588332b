import { byteVocabulary } from '#core/scheduling/synthetic-token.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { SequenceHandle } from '../common/engine.ts';
import type { BlockHash } from './block-hasher.ts';
import type { BlockPool } from './block-pool.ts';
import type { MockerOptions } from './options.ts';
import type { MockerSequence } from './sequence.ts';
import type { StepBuilder } from './step.ts';

/**
 * Continuous batching over the paged cache: admission in order of priority and arrival, prompts in chunks, every running
 * sequence decoding in each step, and the youngest preempted when blocks run out (it is computed again later).
 */
export class Scheduler {
  readonly #o: MockerOptions;
  readonly #pool: BlockPool;
  readonly #waiting: MockerSequence[] = [];
  #running: MockerSequence[] = [];
  readonly #byHandle = new Map<SequenceHandle, MockerSequence>();
  readonly #prefixHashes = new WeakMap<MockerSequence, BlockHash[]>();

  constructor(options: MockerOptions, pool: BlockPool) {
    this.#o = options;
    this.#pool = pool;
  }

  get waiting(): readonly MockerSequence[] {
    return this.#waiting;
  }

  get running(): number {
    return this.#running.length;
  }

  get size(): number {
    return this.#byHandle.size;
  }

  get pendingPrefillTokens(): number {
    let pending = 0;
    for (const sequence of this.#byHandle.values()) if (!sequence.announced) pending += sequence.pending;
    return pending;
  }

  add(sequence: MockerSequence): void {
    let at = this.#waiting.length;
    while (at > 0 && (this.#waiting[at - 1]?.request.priority ?? 0) < sequence.request.priority) at--;
    this.#waiting.splice(at, 0, sequence);
    this.#byHandle.set(sequence.handle, sequence);
  }

  /** Whether the handle is known; its sequence ends in the next sweep. */
  cancel(handle: SequenceHandle): boolean {
    const sequence = this.#byHandle.get(handle);
    if (sequence === undefined) return false;
    sequence.cancelled = true;
    return true;
  }

  /** Ends cancelled sequences. */
  sweep(step: StepBuilder): void {
    for (const sequence of [...this.#byHandle.values()]) {
      if (sequence.cancelled) this.#finish(step, sequence, FinishReason.CANCELLED);
    }
  }

  /** One step: `prefillBudget` prompt tokens at most, `rate` output tokens of each sequence. */
  step(step: StepBuilder, prefillBudget: number, rate: number): void {
    this.#admit(step.startMs);
    let budget = prefillBudget;
    for (const sequence of [...this.#running]) {
      if (!this.#byHandle.has(sequence.handle) || !this.#holds(sequence)) continue;
      if (sequence.pending > 1 || sequence.outputTokens === 0) {
        const chunk = Math.min(budget, sequence.pending);
        budget -= chunk;
        this.#prefill(step, sequence, chunk);
      } else {
        sequence.credit += rate;
        this.#decode(step, sequence);
      }
    }
  }

  #admit(nowMs: number): void {
    while (this.#running.length < this.#o.maxSequences) {
      const [sequence] = this.#waiting;
      if (sequence === undefined || !this.#reserve(sequence)) return;
      this.#waiting.shift();
      if (sequence.startedMs === 0) sequence.startedMs = nowMs;
      this.#running.push(sequence);
    }
  }

  /** Takes the blocks of all tokens so far; false when there are not enough. */
  #reserve(sequence: MockerSequence): boolean {
    const { blockSize } = this.#o;
    let prefix = this.#prefixHashes.get(sequence);
    if (prefix === undefined) {
      prefix = sequence.hasher.all(Uint32Array.from(sequence.tokens));
      this.#prefixHashes.set(sequence, prefix);
    }
    // At least one token must be computed, else there is nothing to sample from.
    const reusable = Math.floor((sequence.tokens.length - 1) / blockSize);
    const bypass = sequence.request.cache?.bypassPrefixCache ?? false;
    const found = bypass ? 0 : this.#pool.acquire(prefix.slice(0, reusable));
    const needed = Math.ceil(sequence.tokens.length / blockSize) - found;
    if (needed > this.#pool.available) {
      this.#pool.release(prefix.slice(0, found), 0);
      return false;
    }
    this.#pool.allocate(needed);
    sequence.hashes = prefix.slice(0, found);
    sequence.privateBlocks = needed;
    sequence.computed = found * blockSize;
    if (!sequence.announced) sequence.cachedTokens = Math.min(sequence.computed, sequence.promptTokens);
    return true;
  }

  #prefill(step: StepBuilder, sequence: MockerSequence, chunk: number): void {
    if (chunk === 0) return;
    step.prefillSequences++;
    step.prefillTokens += chunk;
    sequence.computed += chunk;
    this.#commit(sequence);
    if (sequence.pending > 0) return;
    if (!sequence.announced) {
      sequence.announced = true;
      step.addPrefilled(sequence);
    }
    this.#emit(step, sequence);
  }

  #decode(step: StepBuilder, sequence: MockerSequence): void {
    if (sequence.credit < 1) return;
    step.decodeSequences++;
    step.decodeContextTokens += sequence.tokens.length;
    while (sequence.credit >= 1) {
      sequence.credit -= 1;
      if (!this.#roomForOne(sequence)) return;
      sequence.computed++;
      this.#commit(sequence);
      if (!this.#emit(step, sequence)) return;
    }
  }

  /** Samples one token; false when the sequence is over. */
  #emit(step: StepBuilder, sequence: MockerSequence): boolean {
    const next = sequence.sample(byteVocabulary.eos);
    if (typeof next === 'object') {
      if (next.reason === 'length') this.#finish(step, sequence, FinishReason.LENGTH);
      else this.#finish(step, sequence, FinishReason.STOP, { stopTokenId: next.tokenId });
      return false;
    }
    step.addToken(sequence, next);
    sequence.append(next);
    const limit = this.#o.faults.failSequenceAfterTokens;
    if (limit > 0 && sequence.outputTokens >= limit) {
      const error = new StatorError('engine_failed', `injected: the sequence failed after ${limit} tokens`);
      this.#finish(step, sequence, FinishReason.ERROR, { error });
      return false;
    }
    if (!sequence.exhausted) return true;
    this.#finish(step, sequence, FinishReason.LENGTH);
    return false;
  }

  /** Makes room for one more token's KV, if need be by preempting the youngest; false when that was this one. */
  #roomForOne(sequence: MockerSequence): boolean {
    const held = (sequence.hashes.length + sequence.privateBlocks) * this.#o.blockSize;
    if (sequence.computed < held) return true;
    while (this.#pool.available < 1) {
      const youngest = this.#running.at(-1) ?? sequence;
      this.#preempt(youngest);
      if (youngest === sequence) return false;
    }
    this.#pool.allocate(1);
    sequence.privateBlocks++;
    return true;
  }

  #preempt(sequence: MockerSequence): void {
    this.#release(sequence);
    this.#prefixHashes.delete(sequence);
    this.#waiting.unshift(sequence);
  }

  /** Shares the blocks that are full and computed. */
  #commit(sequence: MockerSequence): void {
    const { blockSize } = this.#o;
    const prefix = this.#prefixHashes.get(sequence);
    for (let index = sequence.hashes.length; (index + 1) * blockSize <= sequence.computed; index++) {
      const parent = sequence.hashes.at(-1)?.sequence ?? null;
      const hash = prefix?.[index] ?? sequence.hasher.next(parent, this.#blockTokens(sequence, index));
      this.#pool.commit(hash, parent, index);
      sequence.hashes.push(hash);
      sequence.privateBlocks--;
    }
  }

  #blockTokens(sequence: MockerSequence, index: number): Uint32Array {
    const { blockSize } = this.#o;
    return Uint32Array.from(sequence.tokens.slice(index * blockSize, (index + 1) * blockSize));
  }

  #holds(sequence: MockerSequence): boolean {
    return sequence.hashes.length + sequence.privateBlocks > 0;
  }

  #finish(
    step: StepBuilder,
    sequence: MockerSequence,
    reason: FinishReason,
    o: { stopTokenId?: number; error?: StatorError } = {},
  ): void {
    this.#byHandle.delete(sequence.handle);
    const waiting = this.#waiting.indexOf(sequence);
    if (waiting >= 0) this.#waiting.splice(waiting, 1);
    else this.#release(sequence);
    step.finish(sequence, reason, o);
  }

  #release(sequence: MockerSequence): void {
    this.#pool.release(sequence.hashes, sequence.privateBlocks);
    sequence.hashes = [];
    sequence.privateBlocks = 0;
    sequence.computed = 0;
    this.#running = this.#running.filter((other) => other !== sequence);
  }
}
