import type { Detokenizer } from '#core/tokens/detokenizer.ts';
import type { StopMatcher } from '#core/tokens/stop-matcher.ts';
import type { PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';

/** How a choice ended. */
export interface ChoiceFinish {
  readonly reason: 'stop' | 'length' | 'error';
  readonly stopString: string | null;
  readonly stopTokenId: number | null;
  /** Set exactly for reason `error`. */
  readonly error: StatorError | null;
}

/** Where a choice runs. */
export interface ChoiceWorker {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
}

/**
 * One sequence's output on its way to the client: token ids in, text out. What was produced and not taken yet waits here,
 * bounded by max_tokens, however slowly the client reads.
 */
export class Choice {
  readonly index: number;
  /** Every output token so far. */
  readonly tokenIds: number[] = [];
  /** Text that nobody has taken yet; stop strings and half characters are not in it. */
  text = '';
  /** Log-probabilities that nobody has taken yet. */
  logprobs: PositionLogprobs[] = [];
  finish: ChoiceFinish | null = null;
  /** The worker that runs or ran it; after a migration the last one. null: none took it yet. */
  worker: ChoiceWorker | null = null;
  /** How many of `tokenIds` were taken. */
  takenTokens = 0;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopMatcher | null;
  readonly #minTokens: number;

  constructor(index: number, o: { detokenizer: Detokenizer; stops: StopMatcher | null; minTokens: number }) {
    this.index = index;
    this.#detokenizer = o.detokenizer;
    this.#stops = o.stops;
    this.#minTokens = o.minTokens;
  }

  /** Takes a token from the engine; true if a stop string ended the choice with it. */
  push(tokenId: number): boolean {
    this.tokenIds.push(tokenId);
    const piece = this.#detokenizer.push(tokenId);
    if (piece === '') return false;
    if (this.#stops === null || this.tokenIds.length < this.#minTokens) {
      this.text += piece;
      return false;
    }
    return this.#match(this.#stops, piece);
  }

  /** The engine ended the sequence: releases what was withheld. */
  end(reason: 'stop' | 'length', stopTokenId: number | null): void {
    if (this.finish !== null) return;
    const rest = this.#detokenizer.end();
    if (this.#stops === null) this.text += rest;
    else if (this.#match(this.#stops, rest)) return;
    else this.text += this.#stops.end();
    this.finish = { reason, stopString: null, stopTokenId, error: null };
  }

  fail(error: StatorError): void {
    this.finish ??= { reason: 'error', stopString: null, stopTokenId: null, error };
  }

  takeText(): string {
    const text = this.text;
    this.text = '';
    this.takenTokens = this.tokenIds.length;
    return text;
  }

  takeLogprobs(): PositionLogprobs[] {
    const taken = this.logprobs;
    this.logprobs = [];
    return taken;
  }

  #match(stops: StopMatcher, piece: string): boolean {
    const { text, stopped } = stops.push(piece);
    this.text += text;
    if (stopped === null) return false;
    this.finish = { reason: 'stop', stopString: stopped, stopTokenId: null, error: null };
    return true;
  }
}
