import { StatorError } from '#lib/errors/errors.ts';
import {
  type EngineHandle,
  engineKvAccept,
  engineKvCancel,
  engineKvCopy,
  engineKvFormat,
  engineKvRelease,
  type NativeKvFormat,
} from '#native/llamacpp/index.ts';
import type { EngineKv, KvFormat, KvHold, KvImport, KvPrefix, KvSpan, PromptKeeper } from '../common/engine-kv.ts';
import type { KvMirror } from './kv-mirror.ts';
import { native } from './native-errors.ts';
import type { LlamacppOptions } from './options.ts';

/** What `LlamacppKv` needs of its engine. */
export interface KvContext {
  readonly engine: EngineHandle;
  readonly options: LlamacppOptions;
  /** Name and digest of the model. */
  readonly model: { readonly name: string; readonly sha256: Uint8Array };
  readonly mirror: KvMirror;
  adapterDigest(name: string): Uint8Array | null;
}

/** KV blocks of one llama.cpp context. The addon copies them between steps; here is the bookkeeping of JavaScript's side. */
export class LlamacppKv implements EngineKv, PromptKeeper {
  readonly format: KvFormat;
  readonly #context: KvContext;
  #nextId = 1;
  #copies = 0;

  private constructor(context: KvContext, format: NativeKvFormat) {
    this.#context = context;
    this.format = describe(context, format);
  }

  /** Undefined for a model whose KV cannot be cut into blocks: recurrent ones, or a window shorter than a block. */
  static open(context: KvContext): LlamacppKv | undefined {
    const format = engineKvFormat(context.engine);
    return format === null ? undefined : new LlamacppKv(context, format);
  }

  adapterDigest(name: string): Uint8Array | null {
    return this.#context.adapterDigest(name);
  }

  cachedBlocks(prefix: KvPrefix): number {
    return this.#context.mirror.leading(prefix.sequenceHashes);
  }

  async exportBlocks(prefix: KvPrefix, from: number, into: readonly KvSpan[], signal: AbortSignal): Promise<number[]> {
    const { blocks } = await this.#copy(false, prefix, from, into, signal);
    return new Array<number>(blocks).fill(this.format.blockBytes);
  }

  async importBlocks(prefix: KvPrefix, from: number, spans: readonly KvSpan[], signal: AbortSignal): Promise<KvImport> {
    const { id } = await this.#copy(true, prefix, from, spans, signal);
    const { engine } = this.#context;
    let accepted: Promise<KvHold> | undefined;
    const release = (): void => void engineKvRelease(engine, id).catch(() => {});
    return {
      accept: (sound) => {
        accepted ??= native(() => engineKvAccept(engine, id, sound)).then((blocks) => ({ blocks, release }));
        return accepted;
      },
      discard: () => {
        if (accepted === undefined) release();
      },
    };
  }

  /** An import of nothing holds what is in front of it. */
  async hold(prefix: KvPrefix): Promise<KvHold> {
    const { signal } = new AbortController();
    const before = await this.importBlocks(prefix, this.cachedBlocks(prefix), [], signal);
    return before.accept(0);
  }

  async #copy(
    imports: boolean,
    prefix: KvPrefix,
    from: number,
    spans: readonly KvSpan[],
    signal: AbortSignal,
  ): Promise<{ id: number; blocks: number }> {
    const { engine, options } = this.#context;
    if (signal.aborted) throw new StatorError('cancelled', 'The transfer was cancelled.', { cause: signal.reason });
    if (this.#copies >= options.maxKvTransfers) {
      const limit = options.maxKvTransfers;
      throw new StatorError('overloaded', `The engine copies blocks for ${limit} callers already.`, {
        facts: { limit },
      });
    }
    const device = spans.findIndex((span) => span.device !== undefined);
    if (device >= 0)
      throw StatorError.unsupported(`spans[${device}].device`, 'llama.cpp copies to and from the host only.');
    const id = this.#nextId++;
    const { tokenIds, adapter, cacheSalt } = prefix;
    const cancel = (): void => engineKvCancel(engine, id);
    signal.addEventListener('abort', cancel, { once: true });
    this.#copies++;
    try {
      const blocks = await native(() =>
        engineKvCopy(engine, { id, imports, tokenIds, adapter, cacheSalt, from, spans }),
      );
      return { id, blocks };
    } finally {
      this.#copies--;
      signal.removeEventListener('abort', cancel);
    }
  }
}

function describe({ options, model }: KvContext, format: NativeKvFormat): KvFormat {
  const { keyType, valueType } = options;
  const flash = format.flashAttention ? 'on' : 'off';
  return {
    model: model.name,
    modelDigest: model.sha256,
    engine: `llama.cpp ${format.release}, blocks v1, keys ${keyType}, values ${valueType}, flash attention ${flash}`,
    dtype: keyType === valueType ? keyType : `${keyType}/${valueType}`,
    blockTokens: options.blockSize,
    blockBytes: format.blockBytes,
    rank: 0,
    ranks: 1,
  };
}
