import type { PromptShape } from '../traces/trace-request.ts';

/** Tokens of outputs that are kept for later prompts. */
const maxKeptTokens = 8_000_000;

/**
 * What the deployment really answered, for traces whose prompts contain earlier outputs: a stand-in would hit no cache.
 * Beyond a bound the oldest are forgotten.
 */
export class LiveOutputs {
  readonly #byId = new Map<number, Uint32Array>();
  readonly #maxTokens: number;
  #tokens = 0;

  constructor(maxTokens = maxKeptTokens) {
    this.#maxTokens = maxTokens;
  }

  keep(outputId: number, tokens: readonly number[]): void {
    this.#tokens += tokens.length - (this.#byId.get(outputId)?.length ?? 0);
    this.#byId.set(outputId, Uint32Array.from(tokens));
    for (const [id, oldest] of this.#byId) {
      if (this.#tokens <= this.#maxTokens) break;
      this.#byId.delete(id);
      this.#tokens -= oldest.length;
    }
  }

  /** Puts outputs that are known over their stand-ins. `tokens`: of a prompt of that shape. */
  fill({ ids, lengths }: PromptShape, tokens: Uint32Array): void {
    let at = 0;
    for (const [run, id] of ids.entries()) {
      const length = lengths[run] ?? 0;
      const output = this.#byId.get(id);
      if (output !== undefined) tokens.set(output.subarray(0, length), at);
      at += length;
    }
  }
}
