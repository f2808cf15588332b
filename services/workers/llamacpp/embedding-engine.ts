import { create } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import { type ModelCard, Pooling, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import {
  type EmbedderHandle,
  embedderCreate,
  embedderRun,
  embedderStop,
  type ModelHandle,
  modelFree,
  type VocabTable,
} from '#native/llamacpp/index.ts';
import type { EmbedInput, Engine, EngineListener, EngineText, KvEventChange } from '../common/engine.ts';
import { buildCard } from './card.ts';
import { digestFile } from './digest.ts';
import { openModel } from './model.ts';
import { native } from './native-errors.ts';
import type { LlamacppOptions } from './options.ts';
import { type EmbeddingPooling, nativePooling } from './pooling.ts';
import { checkedTokens } from './request.ts';
import { threadsOf, unreadable } from './sizes.ts';
import { engineText } from './text.ts';

interface Running {
  readonly embedder: EmbedderHandle;
  readonly card: ModelCard;
  readonly vocab: VocabTable;
  readonly model: ModelHandle;
  readonly text: EngineText;
}

/** Inputs of one pass at most; the rest of a request follows in further passes. */
const maxPassInputs = 32;
/** Tokens of one input at most unless the configuration says otherwise; attention needs an input whole in one pass. */
const defaultInputLimit = 2048;

/** An embedding or reranking model on llama.cpp. It does not generate. */
export class EmbeddingEngine implements Engine {
  readonly #options: LlamacppOptions;
  readonly #pooling: EmbeddingPooling;
  readonly #log: Logger;
  #running: Running | undefined;
  #stopped = false;
  #inputs = 0;
  /** Calls wait for each other here instead of holding a pool thread each. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: LlamacppOptions, pooling: EmbeddingPooling, log: Logger) {
    this.#options = options;
    this.#pooling = pooling;
    this.#log = log;
  }

  get text(): EngineText {
    return this.#started().text;
  }

  get card(): ModelCard {
    return this.#started().card;
  }

  async start(_: EngineListener, { signal }: { signal: AbortSignal }): Promise<void> {
    const options = this.#options;
    const file = await digestFile(options.modelPath, options.cacheDir, signal).catch((cause) => {
      throw unreadable(options.modelPath, cause);
    });
    const { model, info, vocab } = await openModel(options, this.#log);
    try {
      signal.throwIfAborted();
      const trained = info.trainedContextLength;
      const contextLength = options.contextLength ?? Math.min(trained, defaultInputLimit);
      if (contextLength > trained) {
        throw StatorError.invalid('contextLength', `The model was trained with ${trained} tokens of context.`);
      }
      const batchTokens = Math.max(options.batchTokens, contextLength);
      const pooling = nativePooling(this.#pooling);
      const settings = { batchTokens, maxSequences: maxPassInputs, threads: threadsOf(options), pooling };
      const embedder = await native(() => embedderCreate(model, settings));
      const sizes = { contextLength, kvBlocks: 0, batchTokens };
      const tasks = [this.#pooling === Pooling.RANK ? Task.SCORE : Task.EMBEDDING];
      const card = buildCard({ options, info, vocab, file, sizes, pooling: this.#pooling, tasks });
      this.#running = { embedder, card, vocab, model, text: engineText(model, vocab) };
    } catch (thrown) {
      modelFree(model);
      throw thrown;
    }
  }

  submit(): void {
    throw StatorError.unsupported('model', `${this.card.name} does not generate text.`);
  }

  cancel(): void {}

  load(): RankLoad[] {
    return [create(RankLoadSchema, { runningSequences: this.#inputs })];
  }

  async clearCache(): Promise<number> {
    return 0;
  }

  kvSnapshot(): readonly KvEventChange[] {
    return [];
  }

  async embed(
    inputs: readonly EmbedInput[],
    options: { pooling: Pooling; normalize: boolean; signal: AbortSignal },
  ): Promise<Float32Array[]> {
    if (this.#pooling === Pooling.RANK)
      throw StatorError.unsupported('model', `${this.card.name} scores; it does not embed.`);
    if (options.pooling !== Pooling.UNSPECIFIED && options.pooling !== this.#pooling) {
      throw StatorError.unsupported('pooling', `${this.card.name} pools in its own way only.`);
    }
    const tokens = inputs.map(({ tokenIds }, index) => this.#checked(`inputs[${index}]`, tokenIds));
    return this.#run(tokens, options.normalize, options.signal);
  }

  async score(
    query: EmbedInput,
    documents: readonly EmbedInput[],
    options: { signal: AbortSignal },
  ): Promise<number[]> {
    if (this.#pooling !== Pooling.RANK)
      throw StatorError.unsupported('model', `${this.card.name} embeds; it does not score.`);
    const pairs = documents.map(({ tokenIds }, index) =>
      this.#checked(`documents[${index}]`, this.#pair(query.tokenIds, tokenIds)),
    );
    const scores = await this.#run(pairs, false, options.signal);
    return scores.map((score) => score[0] ?? 0);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    if (this.#running === undefined) return;
    embedderStop(this.#running.embedder);
    await this.#last.catch(() => {});
    modelFree(this.#running.model);
    this.#running = undefined;
  }

  /** Query and document as rerankers were trained on them: [BOS] query [EOS] [SEP] document [EOS], as llama.cpp's server does. */
  #pair(query: Uint32Array, document: Uint32Array): Uint32Array {
    const { special, addBos, addEos } = this.#started().vocab;
    const ends = new Set([special.bos, special.eos, special.sep]);
    const bare = (tokens: Uint32Array): Uint32Array => {
      const from = tokens.length > 0 && ends.has(tokens[0] ?? -1) ? 1 : 0;
      const to = tokens.length > from && ends.has(tokens.at(-1) ?? -1) ? tokens.length - 1 : tokens.length;
      return tokens.subarray(from, to);
    };
    const end = special.eos ?? special.sep;
    const bos = addBos && special.bos !== null ? [special.bos] : [];
    const eos = addEos && end !== null ? [end] : [];
    const sep = special.sep === null ? [] : [special.sep];
    return Uint32Array.from([...bos, ...bare(query), ...eos, ...sep, ...bare(document), ...eos]);
  }

  #checked(field: string, tokenIds: Uint32Array): Uint32Array {
    const { vocab, card } = this.#started();
    const limit = card.limits?.contextLength ?? 0;
    if (tokenIds.length === 0) throw StatorError.invalid(field, 'The input has no tokens.');
    if (tokenIds.length > limit) {
      const message = `The input has ${tokenIds.length} tokens; at most ${limit} are possible.`;
      throw new StatorError('context_length_exceeded', message, { field, facts: { limit, actual: tokenIds.length } });
    }
    return checkedTokens(field, tokenIds, vocab.size);
  }

  async #run(inputs: readonly Uint32Array[], normalize: boolean, signal: AbortSignal): Promise<Float32Array[]> {
    this.#inputs += inputs.length;
    const before = this.#last;
    const vectors: Float32Array[] = [];
    const run = async (): Promise<Float32Array[]> => {
      await before.catch(() => {});
      for (let first = 0; first < inputs.length; first += maxPassInputs) {
        signal.throwIfAborted();
        const pass = inputs.slice(first, first + maxPassInputs);
        const { embedder } = this.#started();
        vectors.push(...(await native(() => embedderRun(embedder, pass, normalize))));
      }
      return vectors;
    };
    const result = run().finally(() => {
      this.#inputs -= inputs.length;
    });
    this.#last = result.catch(() => {});
    return result;
  }

  #started(): Running {
    if (this.#running === undefined || this.#stopped) throw new StatorError('not_ready', 'The engine is not running.');
    return this.#running;
  }
}
