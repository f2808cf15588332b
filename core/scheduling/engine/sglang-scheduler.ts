import type { EngineState } from './engine-state.ts';
import type { Scheduler } from './scheduler.ts';
import type { EngineSequence } from './sequence.ts';
import type { EngineSettings, SglangSettings } from './settings.ts';

/** Part of its remaining output that a running sequence is expected to need at first, and at least as a part of that. */
const initialRatio = 0.7;
const leastOfInitial = 0.14;
/** Passes in which the expectation sinks from the first to the least. */
const decayPasses = 600;
/** More waiting sequences than this are taken in their order: sorting them would cost more than it saves. */
const lpmLimit = 128;

/** Tokens that a prefill batch may still take. */
interface PrefillBudget {
  /** Of the pool, less what running sequences are expected to need. */
  pool: number;
  input: number;
  chunk: number;
}

/**
 * SGLang's scheduler: as long as a batch of prompts can be formed, it alone is computed; otherwise every running sequence
 * decodes. Admission reserves a part of the output that running sequences may still produce, which shrinks from pass to pass;
 * when the pool runs out all the same, the sequence with the least output is retracted and the part is the initial one again.
 */
export class SglangScheduler implements Scheduler {
  readonly #o: SglangSettings;
  readonly #first: number;
  readonly #least: number;
  readonly #decay: number;
  #ratio: number;

  constructor(settings: EngineSettings) {
    this.#o = settings.sglang;
    this.#first = initialRatio * settings.sglang.conservativeness;
    this.#least = this.#first * leastOfInitial;
    this.#decay = (this.#first - this.#least) / decayPasses;
    this.#ratio = this.#first;
  }

  plan(state: EngineState, nowMs: number): void {
    if (this.#o.policy === 'lpm') orderByPrefix(state);
    this.#prefill(state, nowMs);
    if (state.pass.sequences.length === 0) this.#decode(state);
    // Prompts that were begun hold each other's blocks: one has to begin again.
    const stuck = state.pass.sequences.length === 0 ? leastOutput(state.running) : undefined;
    if (stuck !== undefined && (state.running.length > 1 || stuck.pendingPrefill === 0)) state.preempt(stuck);
  }

  steady(state: EngineState): boolean {
    if (state.pendingPrefill > 0 && state.running.some((sequence) => sequence.pendingPrefill > 0)) return false;
    return state.waiting.size === 0 || state.admitted >= state.settings.maxSequences;
  }

  passed(passes: number): void {
    for (let i = 0; i < passes; i++) this.#ratio = Math.max(this.#least, this.#ratio - this.#decay);
  }

  #prefill(state: EngineState, nowMs: number): void {
    const { running, waiting, settings } = state;
    const { maxPrefillTokens, chunkedPrefillTokens } = this.#o;
    if (waiting.size === 0 && state.pendingPrefill === 0) return;
    const budget: PrefillBudget = {
      pool: state.cache.pool.available * settings.blockSize - this.#expectedOutput(running),
      input: settings.chunkedPrefill
        ? Math.min(maxPrefillTokens, settings.maxBatchedTokens)
        : settings.maxBatchedTokens,
      chunk: settings.chunkedPrefill ? chunkedPrefillTokens : Number.POSITIVE_INFINITY,
    };
    // What was begun in chunks, or came from a lower tier, goes on first.
    for (const sequence of [...running]) if (sequence.pendingPrefill > 0) this.#continue(state, sequence, budget);
    while (state.admitted < settings.maxSequences && budget.chunk > 0 && budget.input > 0) {
      const sequence = waiting.first();
      if (sequence === undefined || !this.#admit(state, sequence, budget, nowMs)) break;
    }
  }

  #continue(state: EngineState, sequence: EngineSequence, budget: PrefillBudget): void {
    const tokens = this.#chunkOf(state, sequence.length - sequence.computed, budget);
    if (tokens === 0 || !state.cache.canGrow(sequence, sequence.computed + tokens)) return;
    state.cache.grow(sequence, sequence.computed + tokens);
    state.take(sequence, tokens);
    this.#spend(state, sequence, tokens, budget);
  }

  #admit(state: EngineState, sequence: EngineSequence, budget: PrefillBudget, nowMs: number): boolean {
    const cached = state.cache.cachedBlocks(sequence) * state.settings.blockSize;
    if (sequence.needsTransfer) return state.admit(sequence, sequence.length, 0, nowMs);
    const left = sequence.length - cached;
    const tokens = this.#chunkOf(state, left, budget);
    const reserve = tokens < left ? 0 : this.#reserve(sequence);
    if (tokens === 0 || this.#paged(state, tokens) + reserve >= budget.pool) return this.#alone(state, sequence, nowMs);
    if (!state.admit(sequence, cached + tokens, 0, nowMs)) {
      this.#ratio = this.#first;
      return false;
    }
    if (sequence.state !== 'running') return true;
    const taken = this.#takeHeld(state, sequence, tokens);
    this.#spend(state, sequence, taken, budget);
    return true;
  }

  /** A sequence for which the reserve can never be had runs when it is alone: otherwise it would wait for ever. */
  #alone(state: EngineState, sequence: EngineSequence, nowMs: number): boolean {
    if (state.admitted > 0 || state.pass.sequences.length > 0) return false;
    const most = state.settings.chunkedPrefill ? this.#longest(state) : state.settings.maxBatchedTokens;
    const cached = state.cache.cachedBlocks(sequence) * state.settings.blockSize;
    const target = Math.min(sequence.length, cached + most);
    if (!state.admit(sequence, target, 0, nowMs)) return false;
    if (sequence.state === 'running') this.#takeHeld(state, sequence, most);
    return false;
  }

  /** Takes the tokens of a sequence just admitted, of which more may be cached by now than when its blocks were counted. */
  #takeHeld(state: EngineState, sequence: EngineSequence, tokens: number): number {
    const { cache, settings } = state;
    const wanted = Math.min(tokens, sequence.length - sequence.computed);
    if (cache.canGrow(sequence, sequence.computed + wanted)) cache.grow(sequence, sequence.computed + wanted);
    const taken = Math.min(wanted, sequence.blockCount * settings.blockSize - sequence.computed);
    if (taken > 0) state.take(sequence, taken);
    return taken;
  }

  /** Tokens of a prompt of which `left` are left that this batch computes; 0: it has to wait. */
  #chunkOf(state: EngineState, left: number, budget: PrefillBudget): number {
    const most = Math.min(budget.chunk, budget.input);
    if (!state.settings.chunkedPrefill || left <= this.#longest(state)) return left > most ? 0 : left;
    const { blockSize } = state.settings;
    return most < blockSize ? most : Math.floor(most / blockSize) * blockSize;
  }

  /** A longer prompt is computed in chunks. */
  #longest({ settings }: EngineState): number {
    return Math.min(this.#o.chunkedPrefillTokens, this.#o.maxPrefillTokens, settings.maxBatchedTokens);
  }

  #spend(state: EngineState, sequence: EngineSequence, tokens: number, budget: PrefillBudget): void {
    budget.pool -= this.#paged(state, tokens) + (sequence.computed < sequence.length ? 0 : this.#reserve(sequence));
    budget.input -= tokens;
    budget.chunk -= tokens;
  }

  #decode(state: EngineState): void {
    const { running, settings, pass } = state;
    this.#retract(state);
    for (const sequence of running) {
      if (sequence.pendingPrefill > 0) continue;
      const tokens = Math.min(sequence.length - sequence.computed, settings.maxBatchedTokens - pass.tokens);
      if (tokens === 1 && state.decodesInPlace(sequence)) {
        state.takeOne(sequence);
        continue;
      }
      if (tokens === 0 || !state.cache.canGrow(sequence, sequence.computed + tokens)) continue;
      state.cache.grow(sequence, sequence.computed + tokens);
      state.take(sequence, tokens);
    }
  }

  /** Until the rest has the blocks that its next tokens need. */
  #retract(state: EngineState): void {
    const { running, cache } = state;
    let needed = 0;
    for (const sequence of running)
      if (sequence.pendingPrefill === 0) needed += cache.blocksOf(sequence.length) - sequence.blockCount;
    while (needed > cache.pool.available) {
      const victim = leastOutput(running);
      if (victim === undefined) return;
      if (victim.pendingPrefill === 0) needed -= cache.blocksOf(victim.length) - victim.blockCount;
      state.preempt(victim);
      this.#ratio = this.#first;
    }
  }

  #expectedOutput(running: readonly EngineSequence[]): number {
    let tokens = 0;
    for (const sequence of running) tokens += this.#reserve(sequence) * this.#ratio;
    return tokens;
  }

  #reserve(sequence: EngineSequence): number {
    return Math.min(sequence.remainingTokens, this.#o.clipMaxNewTokens);
  }

  #paged({ cache, settings }: EngineState, tokens: number): number {
    return cache.blocksOf(tokens) * settings.blockSize;
  }
}

/** The first of those with the least output. */
function leastOutput(running: readonly EngineSequence[]): EngineSequence | undefined {
  let least = running[0];
  for (const sequence of running)
    if (least !== undefined && sequence.outputTokens < least.outputTokens) least = sequence;
  return least;
}

/** Longest cached prefix first; who has as much keeps the order. */
function orderByPrefix({ waiting, cache }: EngineState): void {
  if (waiting.size < 2 || waiting.size > lpmLimit) return;
  const scored = waiting.items().map((sequence) => ({ sequence, blocks: cache.cachedBlocks(sequence) }));
  scored.sort((a, b) => b.blocks - a.blocks);
  waiting.reorder(scored.map(({ sequence }) => sequence));
}
