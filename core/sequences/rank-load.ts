/** A prompt that a rank computes or will. */
export interface Prefill {
  readonly tokens: number;
  /** Milliseconds that a model of the engine expects; undefined: none does. */
  readonly expectedMs: number | undefined;
}

/** Weights of blocks are held in this fraction of one, so that sums are exact and return to zero. */
export const weightUnits = 4096;

/** What is in flight on one rank. All counts are integers. */
export class RankLoad {
  requests = 0;
  /** Different prompt blocks plus the blocks that single requests have for themselves. */
  blocks = 0;
  /** What the decay of expected output takes off the blocks, in weight units. */
  discount = 0;
  /** Tokens of prompts and outputs, done and expected. */
  tokens = 0;

  readonly #prefills = new Set<Prefill>();
  #prefillTokens = 0;
  #expectedMs = 0;
  #withoutModel = 0;
  #oldest: Prefill | undefined;
  #oldestSinceMs = 0;

  get activeBlocks(): number {
    return this.blocks - this.discount / weightUnits;
  }

  /** Prompt tokens not reported as computed, whatever a model says. */
  get waitingPrefillTokens(): number {
    return this.#prefillTokens;
  }

  beginPrefill(prefill: Prefill, nowMs: number): void {
    if (prefill.tokens === 0) return;
    this.#prefills.add(prefill);
    this.#count(prefill, 1);
    if (this.#oldest === undefined) this.#anchor(prefill, nowMs);
  }

  endPrefill(prefill: Prefill, nowMs: number): void {
    if (!this.#prefills.delete(prefill)) return;
    this.#count(prefill, -1);
    if (this.#oldest === prefill) this.#anchor(this.#prefills.values().next().value, nowMs);
  }

  /**
   * Prompt tokens not computed. Where a model says how long the oldest prompt takes, the time since it became the oldest
   * counts as work done, which goes on into later prompts if all have a model.
   */
  prefillTokensAt(nowMs: number): number {
    const oldest = this.#oldest;
    if (oldest?.expectedMs === undefined) return this.#prefillTokens;
    const elapsed = Math.max(0, nowMs - this.#oldestSinceMs);
    const done = oldest.expectedMs > 0 ? Math.floor((oldest.tokens * elapsed) / oldest.expectedMs) : oldest.tokens;
    if (this.#withoutModel > 0) return this.#prefillTokens - Math.min(done, oldest.tokens);
    return Math.max(0, this.#prefillTokens - done);
  }

  /** Milliseconds until the modelled prompts are computed; undefined: one has no model. */
  prefillMsAt(nowMs: number): number | undefined {
    if (this.#withoutModel > 0) return undefined;
    return this.#oldest === undefined ? 0 : Math.max(0, this.#expectedMs - Math.max(0, nowMs - this.#oldestSinceMs));
  }

  #count({ tokens, expectedMs }: Prefill, sign: 1 | -1): void {
    this.#prefillTokens += sign * tokens;
    if (expectedMs === undefined) this.#withoutModel += sign;
    else this.#expectedMs += sign * expectedMs;
  }

  #anchor(prefill: Prefill | undefined, nowMs: number): void {
    this.#oldest = prefill;
    this.#oldestSinceMs = nowMs;
  }
}
