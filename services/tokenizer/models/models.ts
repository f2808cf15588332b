import type { Logger } from 'pino';
import type { TemplateSources } from '#core/chat/render.ts';
import { type ModelSet, ModelSets } from '#core/models/model-sets.ts';
import { createTokenTable, type TokenTable } from '#core/tokens/token-table.ts';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import type { Discovery, Watch } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerMetrics } from '../metrics.ts';
import type { SegmentCache } from '../segment-cache.ts';
import { CachedEncoder } from '../text-encoder.ts';
import type { Vocabulary } from '../vocabulary.ts';

/** A vocabulary with what is made from it once. */
export interface LoadedVocabulary {
  readonly vocabulary: Vocabulary;
  readonly encoder: CachedEncoder;
  readonly table: TokenTable;
}

/** A model that can be asked. */
export interface ServedModel extends LoadedVocabulary {
  readonly name: string;
  readonly card: ModelCard;
  readonly templates: TemplateSources;
  readonly eosTokenIds: readonly number[];
  readonly bosTokenId: number | null;
  readonly digest: Uint8Array;
}

export interface ModelsOptions {
  readonly discovery: Discovery;
  readonly load: (model: ModelSet, signal: AbortSignal) => Promise<Vocabulary>;
  readonly cache: SegmentCache | null;
  readonly metrics: TokenizerMetrics;
  readonly log: Logger;
  readonly maxVocabularies: number;
}

/** The models that discovery lists, their vocabularies loaded as soon as a worker announces them. */
export class Models {
  readonly #options: ModelsOptions;
  readonly #sets: ModelSets;
  readonly #watch: Watch;
  readonly #stop = new AbortController();
  /** By the digest of the tokenizer; a failed one is dropped, so that the next request tries again. */
  readonly #vocabularies = new Map<string, Promise<LoadedVocabulary>>();

  constructor(options: ModelsOptions) {
    this.#options = options;
    const { discovery, metrics, log } = options;
    this.#sets = new ModelSets((instance, { name }) => {
      metrics.digestConflicts.inc();
      log.warn({ model: name, worker: instance.address }, 'card set aside: another digest holds this model name');
    });
    this.#watch = discovery.watch(ServiceKind.WORKER, {
      onUp: (instance) => this.#changed(() => this.#sets.upsert(instance)),
      onChange: (instance) => this.#changed(() => this.#sets.upsert(instance)),
      onDown: (instance) => this.#changed(() => this.#sets.remove(instance.instanceId)),
    });
    this.#watch.synced.catch(() => {});
  }

  /** Resolves when discovery has told what is there. */
  get synced(): Promise<void> {
    return this.#watch.synced;
  }

  /** Throws `model_not_found`, or whatever kept its vocabulary from loading. */
  async get(name: string): Promise<ServedModel> {
    const model = this.#sets.find(name)?.set;
    if (model === undefined)
      throw new StatorError('model_not_found', `The model \`${name}\` does not exist.`, { field: 'model' });
    return serve(model, await this.#vocabulary(model));
  }

  close(): void {
    this.#stop.abort(new StatorError('draining', 'The tokenizer is stopping.'));
    this.#watch.close();
    for (const key of this.#vocabularies.keys()) this.#drop(key);
  }

  #changed(apply: () => void): void {
    apply();
    this.#options.metrics.models.set(this.#sets.all().length);
    for (const model of this.#sets.all()) {
      this.#vocabulary(model).catch((error: unknown) => {
        this.#options.log.warn({ err: error, model: model.name }, 'vocabulary cannot be loaded');
      });
    }
  }

  #vocabulary(model: ModelSet): Promise<LoadedVocabulary> {
    const key = vocabularyKey(model.card);
    const known = this.#vocabularies.get(key);
    const loading = known ?? this.#load(model, key);
    this.#vocabularies.delete(key);
    this.#vocabularies.set(key, loading);
    if (known === undefined) {
      loading.catch(() => {
        if (this.#vocabularies.get(key) === loading) this.#vocabularies.delete(key);
      });
      this.#shrink();
    }
    return loading;
  }

  async #load(model: ModelSet, key: string): Promise<LoadedVocabulary> {
    const { log, metrics } = this.#options;
    const startMs = performance.now();
    const vocabulary = await this.#options.load(model, this.#stop.signal);
    const loaded = {
      vocabulary,
      encoder: new CachedEncoder(vocabulary, this.#options.cache, `${key.slice(0, 16)}:`),
      table: createTokenTable({ ...vocabulary.data, eosTokenIds: [] }),
    };
    const ms = Math.round(performance.now() - startMs);
    log.info({ model: model.name, tokens: loaded.table.size, ms }, 'vocabulary loaded');
    metrics.vocabularies.set(this.#vocabularies.size);
    return loaded;
  }

  /** Vocabularies of models that are gone leave first; those of listed models stay whatever the bound says. */
  #shrink(): void {
    const wanted = new Set(this.#sets.all().map((model) => vocabularyKey(model.card)));
    for (const key of [...this.#vocabularies.keys()]) {
      if (this.#vocabularies.size <= this.#options.maxVocabularies) break;
      if (!wanted.has(key)) this.#drop(key);
    }
  }

  #drop(key: string): void {
    const loading = this.#vocabularies.get(key);
    this.#vocabularies.delete(key);
    loading?.then(({ vocabulary }) => vocabulary.close()).catch(() => {});
    this.#options.metrics.vocabularies.set(this.#vocabularies.size);
  }
}

function vocabularyKey(card: ModelCard): string {
  const digest = card.tokenizer?.digest ?? new Uint8Array(0);
  return Buffer.from(digest.length > 0 ? digest : card.digest).toString('hex');
}

/** The card's word counts first; what it leaves out comes from the vocabulary. */
function serve(model: ModelSet, loaded: LoadedVocabulary): ServedModel {
  const { vocabulary } = loaded;
  const spec = model.card.tokenizer;
  const digest = spec?.digest ?? new Uint8Array(0);
  return {
    ...loaded,
    name: model.name,
    card: model.card,
    templates: {
      main: spec?.chatTemplate === undefined || spec.chatTemplate === '' ? vocabulary.chatTemplate : spec.chatTemplate,
      named: spec?.namedChatTemplates ?? {},
    },
    eosTokenIds: spec !== undefined && spec.eosTokenIds.length > 0 ? spec.eosTokenIds : vocabulary.eosTokenIds,
    bosTokenId: spec?.bosTokenId ?? vocabulary.bosTokenId,
    digest: digest.length > 0 ? digest : vocabulary.digest,
  };
}
