import type { Logger } from 'pino';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { EngineKv, KvHold, KvPrefix } from './engine-kv.ts';
import type { KvSource } from './kv-admission.ts';
import type { KvAdmissionMetrics } from './kv-metrics.ts';

export interface KvFetchOptions {
  readonly request: GenerateRequest;
  readonly prefix: KvPrefix;
  readonly sources: readonly KvSource[];
  /** Blocks that reuse can spare. */
  readonly wanted: number;
  readonly kv: EngineKv;
  /** For each source. */
  readonly timeoutMs: number;
  readonly log: Logger;
  readonly metrics: KvAdmissionMetrics | undefined;
}

/** One sequence's way past its sources. Never waits for a source that does not heed its signal. */
export class KvFetch {
  readonly request: GenerateRequest;
  readonly #o: KvFetchOptions;
  readonly #ending = new AbortController();

  constructor(options: KvFetchOptions) {
    this.request = options.request;
    this.#o = options;
  }

  /** Nobody wants it any more. */
  giveUp(): void {
    this.#ending.abort(new StatorError('cancelled', 'the sequence has ended'));
  }

  /** What keeps the fetched blocks in the engine; null once it was given up. Never rejects. */
  async run(): Promise<readonly KvHold[] | null> {
    const { sources, kv, prefix, wanted, metrics } = this.#o;
    const holds: KvHold[] = [];
    for (const source of sources) {
      const startMs = performance.now();
      const outcome = await this.#ask(source);
      if (typeof outcome === 'object') holds.push(outcome);
      metrics?.fetched(source.name, typeof outcome === 'object' ? 'ok' : outcome, performance.now() - startMs);
      if (this.#ending.signal.aborted) break;
      if (kv.cachedBlocks(prefix) >= wanted) break;
    }
    if (!this.#ending.signal.aborted) return holds;
    for (const hold of holds) hold.release();
    return null;
  }

  async #ask(source: KvSource): Promise<KvHold | 'nothing' | 'late' | 'failed' | 'cancelled'> {
    const { request, prefix, timeoutMs, log } = this.#o;
    const late = new AbortController();
    const signal = AbortSignal.any([this.#ending.signal, late.signal]);
    const aborted = Promise.withResolvers<'aborted'>();
    const onAbort = (): void => aborted.resolve('aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    const why = new StatorError('deadline_exceeded', `${source.name} took longer than ${timeoutMs} ms`);
    const timer = setTimeout(() => late.abort(why), timeoutMs);
    try {
      const fetching = source.fetch(request, prefix, signal);
      const hold = await Promise.race([fetching, aborted.promise]);
      if (hold !== 'aborted') return hold ?? 'nothing';
      // It comes too late, if it comes at all.
      fetching.then((held) => held?.release()).catch(() => {});
    } catch (thrown) {
      if (!signal.aborted) {
        log.warn({ err: thrown, source: source.name, requestId: request.requestId }, 'KV could not be fetched');
        return 'failed';
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
    return this.#ending.signal.aborted ? 'cancelled' : 'late';
  }
}
