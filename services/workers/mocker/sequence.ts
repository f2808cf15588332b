import { create } from '@bufbuild/protobuf';
import type { SimulatedRequest } from '#core/scheduling/engine/engine-model.ts';
import { SyntheticModel } from '#core/scheduling/synthetic-token.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import {
  type GenerateRequest,
  type PositionLogprobs,
  PositionLogprobsSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { SequenceHandle } from '../common/engine.ts';
import type { MockerOptions, ReasoningOptions } from './options.ts';

/** Why a sequence stops with its next token. */
export type Stop = { readonly reason: 'stop'; readonly tokenId: number } | { readonly reason: 'length' };

/** One sequence: its tokens, and what decides the next one. */
export class MockerSequence {
  readonly handle: SequenceHandle;
  readonly request: GenerateRequest;
  readonly salts: { readonly cacheSalt: string; readonly adapter: string };
  readonly promptTokens: number;
  readonly submittedMs: number;
  /** Prompt, then output. */
  readonly tokens: number[];
  readonly maxTokens: number;
  cachedTokens = 0;
  outputTokens = 0;
  readonly #model: SyntheticModel;
  readonly #stops: ReadonlySet<number>;
  readonly #ignoreEos: boolean;
  readonly #minTokens: number;
  readonly #bias: ReadonlyMap<number, number> | null;
  readonly #thinking: ThinkingTokens | null;

  constructor(handle: SequenceHandle, request: GenerateRequest, options: MockerOptions, nowMs: number) {
    this.handle = handle;
    this.request = request;
    this.submittedMs = nowMs;
    this.promptTokens = request.tokenIds.length;
    this.tokens = [...request.tokenIds];
    this.salts = { cacheSalt: request.cache?.cacheSalt ?? '', adapter: request.adapter };
    const { stop, sampling } = request;
    const greedy = sampling?.temperature === 0;
    const { meanOutputTokens } = options;
    const seed = greedy ? 0n : (sampling?.seed ?? 0n);
    this.#model = new SyntheticModel({ seed, adapter: request.adapter, meanOutputTokens });
    for (const tokenId of this.tokens) this.#model.push(tokenId);
    this.#stops = new Set(stop?.stopTokenIds);
    this.#ignoreEos = stop?.ignoreEos ?? false;
    this.#minTokens = Math.max(0, (stop?.minTokens ?? 0) - request.resumedOutputTokens);
    const room = Math.min(options.contextLength, options.kvBlocks * options.blockSize) - this.promptTokens;
    this.maxTokens = Math.min(stop?.maxTokens ?? room, room);
    const bias = Object.entries(sampling?.logitBias ?? {});
    this.#bias = bias.length === 0 ? null : new Map(bias.map(([tokenId, value]) => [Number(tokenId), value]));
    const { resumedOutputTokens } = request;
    const { reasoning } = options;
    this.#thinking = reasoning === undefined ? null : thinkingTokens(reasoning, this.maxTokens + resumedOutputTokens);
  }

  /** What the scheduler needs to know of it. */
  simulated(id: number, blockSize: number): SimulatedRequest {
    const { prefillOnly, handoff, priority, cache, tokenIds } = this.request;
    const { sequenceHashes, localHashes } = hashBlocks(Uint32Array.from(tokenIds), blockSize, this.salts);
    return {
      id,
      promptTokens: this.promptTokens,
      sequenceHashes: packHashes(sequenceHashes),
      localHashes: packHashes(localHashes),
      maxTokens: this.maxTokens,
      priority,
      arrivalMs: this.submittedMs,
      role: prefillOnly ? 'prefill' : handoff === undefined ? 'aggregated' : 'decode',
      bypassPrefixCache: cache?.bypassPrefixCache ?? false,
    };
  }

  /** The next token, or why there is none. */
  sample(eosTokenId: number): number | Stop {
    if (this.outputTokens >= this.maxTokens) return { reason: 'length' };
    const forced = this.#thinking?.at(this.outputTokens + this.request.resumedOutputTokens);
    if (typeof forced === 'number') return forced;
    const mayStop = this.outputTokens >= this.#minTokens && forced !== 'thinking';
    if (this.#model.ends && mayStop && !this.#ignoreEos) return { reason: 'stop', tokenId: eosTokenId };
    const tokenId = this.#bias === null ? this.#model.next() : this.#model.biased(this.#bias);
    const isStop = this.#stops.has(tokenId) || (tokenId === eosTokenId && !this.#ignoreEos);
    return mayStop && isStop ? { reason: 'stop', tokenId } : tokenId;
  }

  /** Log-probabilities of a token at this position, if the request asks for them. */
  logprobs(tokenId: number): PositionLogprobs | null {
    const count = this.request.output?.topLogprobs;
    return count === undefined ? null : positionLogprobs(this.#model, tokenId, count);
  }

  append(tokenId: number): void {
    this.tokens.push(tokenId);
    this.#model.push(tokenId);
    this.outputTokens++;
  }

  /** Whether max_tokens is reached, so that no further step is needed to know it. */
  get exhausted(): boolean {
    return this.outputTokens >= this.maxTokens;
  }

  /** One for each prompt token but the first. */
  promptLogprobs(): PositionLogprobs[] | null {
    const count = this.request.output?.promptLogprobs;
    if (count === undefined) return null;
    const model = new SyntheticModel({ seed: 0n, adapter: this.request.adapter, meanOutputTokens: 0 });
    return this.request.tokenIds.flatMap((tokenId, index) => {
      const position = index === 0 ? [] : [positionLogprobs(model, tokenId, count)];
      model.push(tokenId);
      return position;
    });
  }
}

interface ThinkingTokens {
  /** The token at a position of the output that reasoning decides, or whether the position lies within reasoning. */
  at(position: number): number | 'thinking' | 'answering';
}

/** A function of the position alone, so that a migrated sequence goes on thinking where it was. */
function thinkingTokens(
  { startTokenId, endTokenId, ratio }: ReasoningOptions,
  wantedTokens: number,
): ThinkingTokens | null {
  const last = Math.floor(wantedTokens * ratio) - 1;
  if (last < 1) return null;
  return {
    at(position) {
      if (position === 0) return startTokenId;
      if (position === last) return endTokenId;
      return position < last ? 'thinking' : 'answering';
    },
  };
}

function positionLogprobs(model: SyntheticModel, tokenId: number, count: number): PositionLogprobs {
  return create(PositionLogprobsSchema, { chosen: model.logprobOf(tokenId), top: model.likeliest(count) });
}
