import { setImmediate as nextTurn } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterConfig } from '#services/router/config.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { Cluster, type FrontendDelay } from '../cluster/cluster.ts';
import type { Flight } from '../cluster/flight.ts';
import type { TrackedSequence } from '../cluster/sim-rank.ts';
import type { WorkerSpec } from '../cluster/worker-spec.ts';
import type { TraceRequest } from '../traces/trace-request.ts';
import { LoadDriver, type LoadOptions } from './load-driver.ts';
import { type Outcome, outcomes, type ReplayObserver, type RequestRecord } from './request-record.ts';
import { Sampler } from './sampler.ts';

export interface ReplayOptions {
  /** What is replayed, for people. */
  readonly trace: string;
  readonly requests: AsyncIterable<TraceRequest>;
  /** NaN: not known. */
  readonly expectedRequests: number;
  readonly load: LoadOptions;
  readonly workers: readonly WorkerSpec[];
  readonly router: RouterConfig;
  readonly seed: number;
  /** Milliseconds that a worker's cache events take to the router. */
  readonly kvEventDelayMs: number;
  readonly frontend?: FrontendDelay;
  /** Virtual milliseconds between two samples. */
  readonly sampleMs: number;
  readonly observer: ReplayObserver;
  /** Called now and then, in real time. */
  onProgress?(progress: ReplayProgress): void;
  readonly signal?: AbortSignal;
}

export interface ReplayProgress {
  readonly finished: number;
  readonly inFlight: number;
  readonly virtualMs: number;
}

/** What the simulation itself did. */
export interface ReplayResult {
  readonly virtualMs: number;
  readonly requests: number;
  /** Events of the virtual clock, and forward passes of all engines. */
  readonly events: number;
  readonly passes: number;
  /** Ends that were noticed late; not 0 only for timing models that get faster as contexts grow. */
  readonly lateEnds: number;
}

/** Events between two looks at the real world. */
const eventsPerTurn = 20_000;

/**
 * Replays a trace under virtual time: the production router with simulated engines, no timers, no sockets. The same options
 * give the same calls of the observer. Rejects with the StatorError of a line that is wrong, and when `signal` is aborted.
 */
export async function runReplay(options: ReplayOptions): Promise<ReplayResult> {
  const replay = new Replay(options);
  try {
    return await replay.run();
  } finally {
    await replay.close();
  }
}

class Replay {
  readonly #options: ReplayOptions;
  readonly #clock = new VirtualClock();
  readonly #cluster: Cluster;
  readonly #driver: LoadDriver;
  readonly #sampler: Sampler;
  #sent = 0;
  #lastOverMs = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    const { workers, router, seed, kvEventDelayMs, frontend = { ms: 0, msPerToken: 0 }, requests, load } = options;
    const clock = this.#clock;
    this.#cluster = new Cluster({
      ...{ clock, specs: workers, router, seed, kvEventDelayMs, frontend },
      listener: {
        completed: (flight, sequence) => this.#completed(flight, sequence),
        refused: (flight, error, by) => this.#refused(flight, error, by),
      },
    });
    this.#sampler = new Sampler(this.#cluster, options.observer);
    this.#driver = new LoadDriver({
      ...{ requests, clock, options: load },
      send: (request, done) => this.#cluster.send(this.#sent++, request, done),
    });
  }

  async run(): Promise<ReplayResult> {
    const { trace, seed, router, expectedRequests, observer } = this.#options;
    const workers = this.#cluster.workers.map(({ spec, instanceId }) => ({
      name: `${spec.role === 'aggregated' ? 'worker' : spec.role} ${instanceId}`,
      role: spec.role,
      ranks: spec.ranks,
      totalBlocks: spec.engine.totalBlocks * spec.ranks,
      blockSize: spec.engine.blockSize,
    }));
    observer.begin({ trace, time: 'virtual', seed, routerMode: router.mode, workers, expectedRequests });
    await this.#begin();
    await this.#loop();
    const { reserved } = this.#cluster.router;
    if (reserved > 0) throw new StatorError('internal', `The router still counts ${reserved} requests that are over.`);
    this.#sampler.sample(this.#lastOverMs);
    observer.end(this.#lastOverMs);
    const ranks = this.#cluster.workers.flatMap((worker) => worker.ranks);
    return {
      virtualMs: this.#lastOverMs,
      requests: this.#sent,
      events: this.#clock.ran,
      passes: ranks.reduce((sum, { passes }) => sum + passes, 0),
      lateEnds: ranks.reduce((sum, { lateEnds }) => sum + lateEnds, 0),
    };
  }

  async close(): Promise<void> {
    await this.#driver.close();
    await this.#cluster.router.close();
  }

  /** The trace begins when there is a worker for each stage. */
  async #begin(): Promise<void> {
    const roles = new Set(this.#options.workers.map(({ role }) => role));
    const readyMs = Math.max(
      ...[...roles].map((role) =>
        Math.min(...this.#options.workers.filter((spec) => spec.role === role).map((spec) => spec.readyAfterMs)),
      ),
    );
    while (this.#clock.nextMs <= readyMs) this.#clock.runNext();
    this.#sample();
  }

  async #loop(): Promise<void> {
    const { signal, onProgress } = this.#options;
    const { router } = this.#cluster;
    for (let event = 1; ; event++) {
      if (this.#driver.wants) await this.#driver.fill();
      if (router.unsettled) await router.settle();
      if (this.#driver.isOver) return;
      if (this.#driver.isStuck || !this.#clock.runNext()) throw this.#driver.stuck();
      if (event % eventsPerTurn !== 0) continue;
      await nextTurn();
      signal?.throwIfAborted();
      const { nowMs } = this.#clock;
      onProgress?.({ finished: this.#sampler.finished, inFlight: this.#cluster.inFlight, virtualMs: nowMs });
    }
  }

  #sample(): void {
    if (this.#driver.isOver) return;
    this.#sampler.sample(this.#clock.nowMs);
    this.#clock.after(this.#options.sampleMs, () => this.#sample());
  }

  #completed(flight: Flight, sequence: TrackedSequence): void {
    const { prefill, decode, prefilled } = flight;
    const prompt = prefilled ?? sequence;
    this.#record(flight, 'completed', {
      startedMs: prompt.startedMs,
      firstTokenMs: sequence.firstMs,
      lastTokenMs: sequence.lastMs,
      longestGapMs: sequence.longestGapMs,
      cachedTokens: prompt.cachedTokens,
      outputTokens: sequence.tokens,
      worker: decode?.worker.index ?? -1,
      prefillWorker: prefill?.worker.index ?? -1,
      preemptions: sequence.preemptions + (prefilled?.preemptions ?? 0),
    });
  }

  #refused(flight: Flight, error: StatorError, by: 'router' | 'worker'): void {
    this.#options.observer.error(error.code);
    this.#record(flight, by === 'router' ? 'rejected' : 'failed', {
      startedMs: Number.NaN,
      firstTokenMs: Number.NaN,
      lastTokenMs: Number.NaN,
      longestGapMs: 0,
      cachedTokens: 0,
      outputTokens: 0,
      worker: -1,
      prefillWorker: flight.prefill?.worker.index ?? -1,
      preemptions: 0,
    });
  }

  #record(
    { index, arrivalMs, routedMs, request }: Flight,
    outcome: Outcome,
    rest: Omit<RequestRecord, 'index' | 'arrivalMs' | 'routedMs' | 'promptTokens' | 'outcome'>,
  ): void {
    const { promptTokens } = request;
    const record = { index, arrivalMs, routedMs, promptTokens, outcome: outcomes.indexOf(outcome), ...rest };
    this.#lastOverMs = this.#clock.nowMs;
    this.#sampler.over(record);
    this.#options.observer.request(record);
  }
}
