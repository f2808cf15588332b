import { create } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { FinishReason, type GenerateRequest, UsageSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Engine, EngineListener, Finished, SequenceHandle, StepBatch } from './engine.ts';
import { EngineAround } from './engine-around.ts';
import type { KvHold, KvPrefix } from './engine-kv.ts';
import { KvFetch } from './kv-fetch.ts';
import { type KvAdmissionMetrics, kvAdmissionMetrics } from './kv-metrics.ts';
import { mayReuseKv, promptPrefix, reusableBlocks } from './kv-prefix.ts';
import { toSequenceError } from './sequence.ts';

/** Somewhere that KV blocks may come from: tiers below the engine, or a prefill worker. */
export interface KvSource {
  /** For metrics and logs, for example "tiers". */
  readonly name: string;
  /** Whether it may have something for the request; decided at once and cheaply, most requests pass by a source that says no. */
  concerns(request: GenerateRequest): boolean;
  /**
   * Makes leading blocks of the prompt cached in the engine, those included that it has already; null: nothing was there. What
   * it rejects with costs only the reuse. It is given up when the signal aborts: what it holds then, it releases itself.
   */
  fetch(request: GenerateRequest, prefix: KvPrefix, signal: AbortSignal): Promise<KvHold | null>;
  /** The request is computed without asking any source. */
  passedBy?(request: GenerateRequest): void;
}

/** Sees what the engine takes and does; for write-back. Called before the worker gets a step. */
export interface KvObserver {
  submitted(handle: SequenceHandle, request: GenerateRequest): void;
  stepped(step: StepBatch): void;
}

export interface KvAdmissionOptions {
  /** Asked in turn, until the engine has every block that reuse can spare. */
  readonly sources: readonly KvSource[];
  readonly observers?: readonly KvObserver[];
  /** Sequences that wait for KV at most; further ones are computed. */
  readonly maxFetching: number;
  /** Milliseconds that one source may take. */
  readonly fetchTimeoutMs: number;
  /** Milliseconds after which fetched blocks are let go although their sequence has not begun. */
  readonly holdTimeoutMs: number;
  readonly log: Logger;
  readonly metrics: Registry;
}

interface Held {
  readonly holds: readonly KvHold[];
  readonly timer: NodeJS.Timeout;
}

/**
 * An engine whose sequences first get what others have computed of their prompts: the inner engine sees a sequence only
 * once its sources have made blocks cached, and shares those blocks as it shares any. Whatever goes wrong with a source, the
 * sequence is computed.
 */
export class AdmittingEngine extends EngineAround {
  readonly #o: KvAdmissionOptions;
  readonly #fetching = new Map<SequenceHandle, KvFetch>();
  readonly #held = new Map<SequenceHandle, Held>();
  /** Sequences that ended before the engine had them, for the next turn of the event loop. */
  readonly #ended: Finished[] = [];
  #sweeping: NodeJS.Immediate | undefined;
  #listener: EngineListener | undefined;
  #metrics: KvAdmissionMetrics | undefined;
  #closed = false;

  constructor(inner: Engine, options: KvAdmissionOptions) {
    super(inner);
    this.#o = options;
  }

  override async start(
    listener: EngineListener,
    options: { signal: AbortSignal; onProgress?(fraction: number): void },
  ): Promise<void> {
    this.#listener = listener;
    const own = {
      onStep: (step: StepBatch) => this.#onStep(step, listener),
      onFatal: (error: Error) => this.#onFatal(error, listener),
    };
    await super.start(own, options);
    this.#metrics = kvAdmissionMetrics(this.#o.metrics, this.card.name, {
      fetching: () => this.#fetching.size,
      holding: () => this.#held.size,
    });
  }

  override submit(handle: SequenceHandle, request: GenerateRequest): void {
    const sources = this.#sourcesFor(request);
    if (sources !== null && this.#fetch(handle, request, sources)) return;
    for (const source of this.#o.sources) source.passedBy?.(request);
    this.#admit(handle, request);
  }

  override cancel(handle: SequenceHandle): void {
    const fetch = this.#fetching.get(handle);
    if (fetch === undefined) {
      super.cancel(handle);
      return;
    }
    this.#fetching.delete(handle);
    fetch.giveUp();
    this.#endLater(finishedUnbegun(handle, fetch.request, FinishReason.CANCELLED, null));
  }

  /** Sequences that wait for KV count as queued, with their whole prompts. */
  override load(): RankLoad[] {
    const ranks = super.load();
    if (this.#fetching.size === 0) return ranks;
    const loads = ranks.map((rank) => create(RankLoadSchema, rank));
    for (const { request } of this.#fetching.values()) {
      const rank = loads.find(({ dataParallelRank }) => dataParallelRank === request.dataParallelRank) ?? loads[0];
      if (rank === undefined) break;
      rank.queuedSequences++;
      rank.pendingPrefillTokens += BigInt(request.tokenIds.length);
    }
    return loads;
  }

  override async stop(): Promise<void> {
    this.#close();
    await super.stop();
  }

  #sourcesFor(request: GenerateRequest): readonly KvSource[] | null {
    const { sources, maxFetching } = this.#o;
    if (this.inner.kv === undefined || this.#closed || !mayReuseKv(request)) return null;
    if (!sources.some((source) => source.concerns(request))) return null;
    if (this.#fetching.size < maxFetching) return sources.filter((source) => source.concerns(request));
    this.#metrics?.skipped('full');
    return null;
  }

  /** Begins to fetch; false: the engine has everything already, or there is nothing that a block could hold. */
  #fetch(handle: SequenceHandle, request: GenerateRequest, sources: readonly KvSource[]): boolean {
    const { kv } = this.inner;
    if (kv === undefined) return false;
    const { blockTokens } = kv.format;
    const prefix = promptPrefix(request, blockTokens);
    if (prefix === null) return false;
    const wanted = reusableBlocks(request.tokenIds.length, blockTokens);
    // What a prefill worker hands over is more than blocks, so it is asked whatever is cached.
    if (request.handoff === undefined && kv.cachedBlocks(prefix) >= wanted) return false;
    const { fetchTimeoutMs: timeoutMs, log } = this.#o;
    const fetch = new KvFetch({ request, prefix, sources, wanted, kv, timeoutMs, log, metrics: this.#metrics });
    this.#fetching.set(handle, fetch);
    void fetch.run().then((holds) => this.#fetched(handle, fetch, holds));
    return true;
  }

  /** `holds` is null for a fetch that was given up: its sequence has ended. */
  #fetched(handle: SequenceHandle, fetch: KvFetch, holds: readonly KvHold[] | null): void {
    if (holds === null) return;
    if (this.#fetching.get(handle) !== fetch) {
      for (const hold of holds) hold.release();
      return;
    }
    this.#fetching.delete(handle);
    try {
      this.#admit(handle, fetch.request);
    } catch (thrown) {
      for (const hold of holds) hold.release();
      this.#endLater(finishedUnbegun(handle, fetch.request, FinishReason.ERROR, StatorError.from(thrown)));
      return;
    }
    if (holds.length === 0) return;
    const timer = setTimeout(() => this.#letGo(handle), this.#o.holdTimeoutMs).unref();
    this.#held.set(handle, { holds, timer });
  }

  #admit(handle: SequenceHandle, request: GenerateRequest): void {
    const { handoff, ...rest } = request;
    // What was handed over is cached by now.
    super.submit(handle, handoff === undefined || this.inner.kv === undefined ? request : rest);
    for (const observer of this.#o.observers ?? []) observer.submitted(handle, request);
  }

  #onStep(step: StepBatch, listener: EngineListener): void {
    for (const observer of this.#o.observers ?? []) observer.stepped(step);
    listener.onStep(step);
    if (this.#held.size === 0) return;
    for (const { handle } of step.prefilled) this.#letGo(handle);
    for (const { handle } of step.finished) this.#letGo(handle);
  }

  /** The sequence shares its blocks now, or is over, or took too long to begin. */
  #letGo(handle: SequenceHandle): void {
    const held = this.#held.get(handle);
    if (held === undefined) return;
    this.#held.delete(handle);
    clearTimeout(held.timer);
    for (const hold of held.holds) hold.release();
  }

  #endLater(finished: Finished): void {
    this.#ended.push(finished);
    this.#sweeping ??= setImmediate(() => {
      this.#sweeping = undefined;
      const ended = this.#ended.splice(0);
      if (!this.#closed) this.#listener?.onStep(stepOf(ended));
    });
  }

  #onFatal(error: Error, listener: EngineListener): void {
    this.#close();
    listener.onFatal(error);
  }

  #close(): void {
    this.#closed = true;
    clearImmediate(this.#sweeping);
    for (const fetch of this.#fetching.values()) fetch.giveUp();
    this.#fetching.clear();
    for (const handle of [...this.#held.keys()]) this.#letGo(handle);
  }
}

function finishedUnbegun(
  handle: SequenceHandle,
  request: GenerateRequest,
  reason: FinishReason,
  error: StatorError | null,
): Finished {
  const usage = create(UsageSchema, { promptTokens: request.tokenIds.length });
  return {
    handle,
    reason,
    stopTokenId: null,
    error: error === null ? null : toSequenceError(error),
    usage,
    handoff: null,
  };
}

function stepOf(finished: readonly Finished[]): StepBatch {
  const none = new Uint32Array();
  return { handles: none, tokenIds: none, prefilled: [], finished, logprobs: [], kvEvents: [], forwardPass: null };
}
