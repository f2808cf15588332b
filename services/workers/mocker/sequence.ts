import { create } from '@bufbuild/protobuf';
import { SyntheticModel } from '#core/scheduling/synthetic-token.ts';
import {
  type GenerateRequest,
  type PositionLogprobs,
  PositionLogprobsSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import type { SequenceHandle } from '../common/engine.ts';
import { type BlockHash, BlockHasher } from './block-hasher.ts';
import type { MockerOptions } from './options.ts';

/** Why a sequence stops with its next token, or null. */
export type Stop = { readonly reason: 'stop'; readonly tokenId: number } | { readonly reason: 'length' };

/** One sequence: its tokens, what of it is computed, the blocks it holds. */
export class MockerSequence {
  readonly handle: SequenceHandle;
  readonly request: GenerateRequest;
  readonly hasher: BlockHasher;
  readonly promptTokens: number;
  readonly submittedMs: number;
  /** Prompt, then output. */
  readonly tokens: number[];
  /** Hashes of the blocks that are shared. */
  hashes: BlockHash[] = [];
  /** Private blocks. */
  privateBlocks = 0;
  /** Tokens whose KV is computed or was found. */
  computed = 0;
  cachedTokens = 0;
  outputTokens = 0;
  startedMs = 0;
  /** The prefilled entry is out; a preempted sequence has no second one. */
  announced = false;
  cancelled = false;
  /** Fraction of a token that its rate owes it. */
  credit = 0;
  readonly #model: SyntheticModel;
  readonly #stops: ReadonlySet<number>;
  readonly #ignoreEos: boolean;
  readonly #minTokens: number;
  readonly #maxTokens: number;
  readonly #bias: ReadonlyMap<number, number> | null;

  constructor(handle: SequenceHandle, request: GenerateRequest, options: MockerOptions, nowMs: number) {
    this.handle = handle;
    this.request = request;
    this.submittedMs = nowMs;
    this.promptTokens = request.tokenIds.length;
    this.tokens = [...request.tokenIds];
    this.hasher = new BlockHasher(options.blockSize, {
      cacheSalt: request.cache?.cacheSalt ?? '',
      adapter: request.adapter,
    });
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
    this.#maxTokens = Math.min(stop?.maxTokens ?? room, room);
    const bias = Object.entries(sampling?.logitBias ?? {});
    this.#bias = bias.length === 0 ? null : new Map(bias.map(([tokenId, value]) => [Number(tokenId), value]));
  }

  /** Prompt tokens, and after a preemption output tokens, that are not computed. */
  get pending(): number {
    return this.tokens.length - this.computed;
  }

  /** The next token, or why there is none. */
  sample(eosTokenId: number): number | Stop {
    if (this.outputTokens >= this.#maxTokens) return { reason: 'length' };
    const mayStop = this.outputTokens >= this.#minTokens;
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
    return this.outputTokens >= this.#maxTokens;
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

function positionLogprobs(model: SyntheticModel, tokenId: number, count: number): PositionLogprobs {
  return create(PositionLogprobsSchema, { chosen: model.logprobOf(tokenId), top: model.likeliest(count) });
}
