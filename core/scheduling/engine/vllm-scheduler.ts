import type { EngineState } from './engine-state.ts';
import type { Scheduler } from './scheduler.ts';
import type { EngineSequence } from './sequence.ts';

/**
 * Continuous batching as in vLLM's V1 scheduler: running sequences first, one token each or the next chunk of their prompt,
 * then waiting ones while budget and blocks suffice. When blocks run out, a running sequence gives up all it has.
 */
export class VllmScheduler implements Scheduler {
  plan(state: EngineState, nowMs: number): void {
    this.#continueRunning(state);
    if (!state.pass.preempted) this.#admitWaiting(state, nowMs);
  }

  steady(state: EngineState): boolean {
    const { settings, running, waiting } = state;
    if (running.length > settings.maxBatchedTokens) return false;
    const head = waiting.first();
    if (head === undefined || state.admitted >= settings.maxSequences) return true;
    return head.blockedAt === state.cache.pool.generation || running.length === settings.maxBatchedTokens;
  }

  /** Blocks that must be left when a sequence is admitted. */
  protected spareBlocks(_state: EngineState, _sequence: EngineSequence): number {
    return 0;
  }

  #continueRunning(state: EngineState): void {
    const { running, pass, settings } = state;
    for (let i = 0; i < running.length && pass.tokens < settings.maxBatchedTokens; i++) {
      const sequence = running[i];
      if (sequence === undefined) return;
      if (state.decodesInPlace(sequence)) {
        state.takeOne(sequence);
        continue;
      }
      const left = sequence.length - sequence.computed;
      const budget = settings.maxBatchedTokens - pass.tokens;
      if (!settings.chunkedPrefill && sequence.pendingPrefill > budget) return;
      const tokens = Math.min(left, budget);
      while (!state.cache.canGrow(sequence, sequence.computed + tokens)) {
        const victim = settings.preemption === 'lifo' ? running.at(-1) : running[0];
        if (victim === undefined) return;
        if (running.indexOf(victim) <= i) i--;
        state.preempt(victim);
        if (victim === sequence) break;
      }
      if (sequence.state !== 'running') continue;
      state.cache.grow(sequence, sequence.computed + tokens);
      state.take(sequence, tokens);
    }
  }

  #admitWaiting(state: EngineState, nowMs: number): void {
    const { waiting, pass, settings } = state;
    while (state.admitted < settings.maxSequences && pass.tokens < settings.maxBatchedTokens) {
      const sequence = waiting.first();
      if (sequence === undefined) return;
      const budget = settings.maxBatchedTokens - pass.tokens;
      if (!settings.chunkedPrefill && this.#uncached(state, sequence) > budget) return;
      if (!state.admit(sequence, sequence.length, this.spareBlocks(state, sequence), nowMs)) return;
      if (sequence.state !== 'running') continue;
      const left = sequence.length - sequence.computed;
      state.take(sequence, Math.min(left, budget));
    }
  }

  #uncached(state: EngineState, sequence: EngineSequence): number {
    return sequence.length - state.cache.cachedBlocks(sequence) * state.settings.blockSize;
  }
}
