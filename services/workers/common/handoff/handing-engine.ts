import { create } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { FinishReason, type GenerateRequest, StopConditionsSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { type KvHandoff, KvHandoffSchema } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Engine, EngineListener, Finished, SequenceHandle, StepBatch } from '../engine.ts';
import { EngineAround } from '../engine-around.ts';
import type { KvSpan } from '../engine-kv.ts';
import { promptPrefix } from '../kv-prefix.ts';
import { checksumsOf } from './checksums.ts';
import { formatDigest, prefixDigest } from './digests.ts';
import type { HandoffMetrics, HandoffOutcome } from './metrics.ts';
import type { Room, Staging } from './staging.ts';

export interface HandingEngineOptions {
  readonly staging: Staging;
  /** Where ReleaseHandoff is answered; known once the worker listens. */
  readonly holder: () => { readonly address: string; readonly tls: boolean };
  readonly ttlMs: number;
  readonly log: Logger;
  readonly metrics: () => HandoffMetrics | undefined;
  /** The engine has its card. */
  readonly onStarted: () => void;
}

interface Prefill {
  readonly request: GenerateRequest;
  readonly ending: AbortController;
  firstTokenId: number | undefined;
  /** Its prompt is computed, and its KV on its way out. */
  isComputed: boolean;
}

/**
 * An engine that ends prefills with a handoff. To the engine inside a prefill is a request for one token; its full blocks
 * are then copied out to where decode workers can fetch them. A prefill whose KV finds no room, or goes wrong, ends with a
 * handoff all the same: decode computes what it does not get.
 */
export class HandingEngine extends EngineAround {
  readonly #o: HandingEngineOptions;
  readonly #prefills = new Map<SequenceHandle, Prefill>();
  #listener: EngineListener | undefined;
  #closed = false;

  constructor(inner: Engine, options: HandingEngineOptions) {
    super(inner);
    this.#o = options;
  }

  /** Whatever the engine says of itself: its blocks can leave and enter, so prompts can be handed over and taken. */
  override get card(): ModelCard {
    const { card, kv } = this.inner;
    if (kv === undefined || card.capabilities === undefined) return card;
    return { ...card, capabilities: { ...card.capabilities, kvTransfer: true } };
  }

  override async start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    this.#listener = listener;
    const own: EngineListener = {
      onStep: (step) => listener.onStep(this.#prefills.size === 0 ? step : this.#withoutPrefills(step)),
      onFatal: (error) => {
        this.#close();
        listener.onFatal(error);
      },
    };
    await super.start(own, options);
    const { releaseHandoff: inner } = this.inner;
    // Whether blocks can leave an engine is known once it has loaded its model.
    if (this.inner.kv !== undefined)
      this.releaseHandoff = async (id) =>
        (await this.#o.staging.free(id, 'released')) || ((await inner?.call(this.inner, id)) ?? false);
    this.#o.onStarted();
  }

  override submit(handle: SequenceHandle, request: GenerateRequest): void {
    // An engine whose blocks cannot leave it ends prefills in its own way, if it can.
    if (!request.prefillOnly || this.inner.kv === undefined) {
      super.submit(handle, request);
      return;
    }
    const stop = { ...(request.stop ?? create(StopConditionsSchema)), maxTokens: 1 };
    super.submit(handle, { ...request, prefillOnly: false, stop });
    this.#prefills.set(handle, { request, ending: new AbortController(), firstTokenId: undefined, isComputed: false });
  }

  override cancel(handle: SequenceHandle): void {
    const prefill = this.#prefills.get(handle);
    if (prefill === undefined || !prefill.isComputed) super.cancel(handle);
    else prefill.ending.abort(new StatorError('cancelled', 'The prefill was cancelled.'));
  }

  override async stop(): Promise<void> {
    this.#close();
    await super.stop();
  }

  /** The step as the worker sees it: prefills go on until their KV can be fetched. */
  #withoutPrefills(step: StepBatch): StepBatch {
    for (const [index, handle] of step.handles.entries()) {
      const prefill = this.#prefills.get(handle);
      if (prefill !== undefined) prefill.firstTokenId = step.tokenIds[index];
    }
    const finished = step.finished.filter((each) => {
      const prefill = this.#prefills.get(each.handle);
      if (prefill === undefined) return true;
      if (each.reason === FinishReason.LENGTH && prefill.firstTokenId !== undefined) {
        prefill.isComputed = true;
        void this.#handOver(each, prefill);
        return false;
      }
      this.#prefills.delete(each.handle);
      return true;
    });
    return finished.length === step.finished.length ? step : { ...step, finished };
  }

  async #handOver(finished: Finished, prefill: Prefill): Promise<void> {
    const begunMs = performance.now();
    const { signal } = prefill.ending;
    let staged: Staged = { outcome: 'failed', handoff: {} };
    try {
      staged = await this.#stage(prefill.request, signal);
    } catch (thrown) {
      if (!signal.aborted)
        this.#o.log.warn({ err: thrown, requestId: prefill.request.requestId }, 'KV could not be handed over');
    }
    if (signal.aborted && staged.handoff.handoffId !== undefined)
      void this.#o.staging.free(staged.handoff.handoffId, 'unused');
    this.#o.metrics()?.handedOver(signal.aborted ? 'cancelled' : staged.outcome, performance.now() - begunMs);
    if (this.#closed || this.#prefills.get(finished.handle) !== prefill) return;
    this.#prefills.delete(finished.handle);
    const handoff = signal.aborted ? null : this.#handoffOf(prefill, staged);
    const reason = signal.aborted ? FinishReason.CANCELLED : FinishReason.HANDOFF;
    this.#listener?.onStep(stepOf({ ...finished, reason, handoff }));
  }

  #handoffOf({ firstTokenId }: Prefill, { handoff }: Staged): KvHandoff {
    const { address, tls } = this.#o.holder();
    return create(KvHandoffSchema, {
      deadlineUnixMs: BigInt(Math.floor(Date.now() + this.#o.ttlMs)),
      ...(firstTokenId === undefined ? {} : { firstTokenId }),
      ...(handoff.handoffId === undefined ? {} : { holderAddress: address, holderTls: tls }),
      ...handoff,
    });
  }

  /** Copies the prompt's full blocks out. What it holds when it fails is freed. */
  async #stage(request: GenerateRequest, signal: AbortSignal): Promise<Staged> {
    const { kv } = this.inner;
    const prefix = kv === undefined || !mayHandOver(request) ? null : promptPrefix(request, kv.format.blockTokens);
    if (kv === undefined || prefix === null) return { outcome: 'short', handoff: {} };
    const { blockTokens, blockBytes } = kv.format;
    const blocks = prefix.sequenceHashes.length;
    const room = this.#o.staging.reserve(blocks * blockBytes);
    if (room === null) return { outcome: 'full', handoff: {} };
    try {
      const spans = Array.from({ length: blocks }, (_, index) => spanOf(room, index, blockBytes));
      const written = await kv.exportBlocks(prefix, 0, spans, signal);
      signal.throwIfAborted();
      if (written.length === 0) throw StatorError.notFound('The blocks of the prompt have left the cache.');
      const { offers, deadlineUnixMs } = await this.#o.staging.lend(
        room,
        written.map((bytes, index) => ({ offset: index * blockBytes, bytes })),
      );
      const tokens = written.length * blockTokens;
      const handoff = {
        handoffId: room.id,
        deadlineUnixMs,
        tokens,
        offers,
        blockBytes: written,
        blockChecksums: packHashes(await checksumsOf(spans.slice(0, written.length), written, signal)),
        formatDigest: formatDigest(kv, request.adapter),
        prefixDigest: prefixDigest(prefix, tokens),
      };
      return { outcome: 'staged', handoff };
    } catch (thrown) {
      await this.#o.staging.free(room.id, 'unused');
      throw thrown;
    }
  }

  #close(): void {
    this.#closed = true;
    for (const { ending } of this.#prefills.values()) ending.abort(new StatorError('draining', 'The engine stops.'));
    this.#prefills.clear();
  }
}

interface Staged {
  readonly outcome: HandoffOutcome;
  readonly handoff: Partial<
    Pick<
      KvHandoff,
      'handoffId' | 'deadlineUnixMs' | 'tokens' | 'blockBytes' | 'blockChecksums' | 'formatDigest' | 'prefixDigest'
    >
  > & { readonly offers?: { backend: string; agentMetadata: Uint8Array; descriptors: Uint8Array }[] };
}

/** Decode computes prompts anew whose KV is not a function of their tokens alone, or that ask for it. */
function mayHandOver({ media, cache }: GenerateRequest): boolean {
  return media.length === 0 && cache?.bypassPrefixCache !== true;
}

function spanOf({ memory }: Room, index: number, bytes: number): KvSpan {
  return { memory, offset: index * bytes, bytes };
}

function stepOf(finished: Finished): StepBatch {
  const none = new Uint32Array();
  const lists = { prefilled: [], finished: [finished], logprobs: [], kvEvents: [] };
  return { handles: none, tokenIds: none, ...lists, forwardPass: null };
}
