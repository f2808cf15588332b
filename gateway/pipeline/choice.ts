import type { Detokenizer } from '#core/tokens/detokenizer.ts';
import type { StopMatcher } from '#core/tokens/stop-matcher.ts';
import type { PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { AnswerParser } from '../parsing/answer-parser.ts';
import type { AnswerPart } from '../parsing/parts.ts';

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
  /** Text that nobody has taken yet; stop strings and half characters are not in it. Empty where a parser takes it. */
  text = '';
  /** Splits the text into content, reasoning and calls; null: all of it is content. */
  readonly parser: AnswerParser | null;
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

  constructor(
    index: number,
    o: { detokenizer: Detokenizer; stops: StopMatcher | null; minTokens: number; parser: AnswerParser | null },
  ) {
    this.index = index;
    this.parser = o.parser;
    this.#detokenizer = o.detokenizer;
    this.#stops = o.stops;
    this.#minTokens = o.minTokens;
  }

  /** Takes a token from the engine; true if a stop string ended the choice with it. */
  push(tokenId: number): boolean {
    this.tokenIds.push(tokenId);
    const piece = this.#detokenizer.push(tokenId);
    if (piece === '' || this.#stops === null || this.tokenIds.length < this.#minTokens) {
      this.#emit(piece);
      return false;
    }
    return this.#match(this.#stops, piece);
  }

  /** The engine ended the sequence: releases what was withheld. */
  end(reason: 'stop' | 'length', stopTokenId: number | null): void {
    if (this.finish !== null) return;
    const rest = this.#detokenizer.end();
    if (this.#stops === null) this.#append(rest);
    else if (this.#match(this.#stops, rest)) return;
    else this.#append(this.#stops.end());
    this.parser?.finish();
    this.finish = { reason, stopString: null, stopTokenId, error: null };
  }

  fail(error: StatorError): void {
    this.finish ??= { reason: 'error', stopString: null, stopTokenId: null, error };
  }

  /** Whether there is output that nobody has taken yet. */
  get hasOutput(): boolean {
    return this.text !== '' || this.logprobs.length > 0 || this.parser?.hasParts === true;
  }

  /** Why the choice ended, as the client hears it: an answer with a whole call ends for the sake of its calls. */
  get finishReason(): 'stop' | 'length' | 'tool_calls' {
    const reason = this.finish?.reason;
    if (reason === 'length') return 'length';
    return reason === 'stop' && this.parser !== null && this.parser.completeCalls > 0 ? 'tool_calls' : 'stop';
  }

  /** The output in its order, parsed or all of it content. */
  takeParts(): readonly AnswerPart[] {
    if (this.parser === null) {
      const text = this.takeText();
      return text === '' ? [] : [{ kind: 'content', text }];
    }
    this.takenTokens = this.tokenIds.length;
    return this.parser.take();
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
    this.#emit(text);
    if (stopped === null) return false;
    this.parser?.finish();
    this.finish = { reason: 'stop', stopString: stopped, stopTokenId: null, error: null };
    return true;
  }

  /** The text of one token, empty while it is withheld. */
  #emit(text: string): void {
    if (this.parser === null) this.text += text;
    else this.parser.push(text);
  }

  /** Text that belongs to tokens which were counted already. */
  #append(text: string): void {
    if (this.parser === null) this.text += text;
    else this.parser.append(text);
  }
}
