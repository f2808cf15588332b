import { Backoff } from '#lib/discovery/backoff.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Backend } from './backend.ts';
import { Deadline } from './deadline.ts';
import { Limiter } from './limiter.ts';
import type { ObjectStoreMetrics, Operation } from './metrics.ts';

export interface RequestLimits {
  /** Requests at once. */
  readonly concurrency: number;
  /** Requests that may wait for their turn. */
  readonly maxQueued: number;
  /** Further tries after a passing failure. */
  readonly maxRetries: number;
  /** For one try, its answer's content included. */
  readonly attemptTimeoutMs: number;
  readonly firstBackoffMs: number;
  readonly maximumBackoffMs: number;
}

export interface Request<T> {
  readonly op: Operation;
  /** What it concerns, for messages: a key or a prefix. */
  readonly subject: string;
  /** Whether doing it twice is the same as once. Others are repeated only where the service certainly did nothing. */
  readonly idempotent: boolean;
  readonly signal: AbortSignal;
  send(signal: AbortSignal): Promise<T>;
}

/** Sends requests of a back end: so many at once, each try with its own time, passing failures again, everything counted. */
export class Requests {
  readonly #backend: Backend;
  readonly #limits: RequestLimits;
  readonly #metrics: ObjectStoreMetrics;
  readonly #limiter: Limiter;

  constructor(backend: Backend, limits: RequestLimits, metrics: ObjectStoreMetrics) {
    this.#backend = backend;
    this.#limits = limits;
    this.#metrics = metrics;
    this.#limiter = new Limiter(limits.concurrency, limits.maxQueued);
  }

  /** The result, or a StatorError. The signal's own reason where that ended it. */
  async send<T>(request: Request<T>): Promise<T> {
    const { firstBackoffMs: firstMs, maximumBackoffMs: maximumMs, maxRetries } = this.#limits;
    const backoff = new Backoff({ firstMs, maximumMs });
    for (let tries = 1; ; tries += 1) {
      const outcome = await this.#try(request);
      if (outcome.ok) return outcome.value;
      if (request.signal.aborted) throw StatorError.from(request.signal.reason);
      if (!outcome.again || tries > maxRetries) throw outcome.error;
      await backoff.wait(request.signal);
      if (request.signal.aborted) throw StatorError.from(request.signal.reason);
      this.#metrics.retries.inc({ backend: this.#backend.kind, op: request.op });
    }
  }

  async #try<T>(request: Request<T>): Promise<Outcome<T>> {
    const { op, signal } = request;
    const backend = this.#backend.kind;
    await this.#enter(signal);
    const startMs = performance.now();
    let outcome = 'ok';
    try {
      using attempt = new Deadline(`${op} of ${request.subject}`, this.#limits.attemptTimeoutMs, [signal]);
      try {
        return { ok: true, value: await request.send(attempt.signal) };
      } catch (thrown) {
        const failed = this.#failed(request, thrown, attempt.signal);
        outcome = signal.aborted ? StatorError.from(signal.reason).code : failed.error.code;
        return failed;
      }
    } finally {
      this.#leave();
      this.#metrics.seconds.observe({ backend, op }, (performance.now() - startMs) / 1000);
      this.#metrics.requests.inc({ backend, op, outcome });
    }
  }

  #failed<T>(request: Request<T>, thrown: unknown, attempt: AbortSignal): Failed {
    if (attempt.aborted) return { ok: false, error: StatorError.from(attempt.reason), again: request.idempotent };
    if (thrown instanceof StatorError) return { ok: false, error: thrown, again: thrown.code === 'checksum_mismatch' };
    const { code, message, transient, notApplied } = this.#backend.classify(thrown);
    const text = `object store ${this.#backend.description}: ${request.op} of ${request.subject}: ${message}`;
    // The library's error is left out: it holds the request with its signature.
    const error = new StatorError(code, text, { retryable: transient });
    return { ok: false, error, again: transient && (request.idempotent || notApplied) };
  }

  async #enter(signal: AbortSignal): Promise<void> {
    const entering = this.#limiter.enter(signal);
    this.#show();
    await entering.finally(() => this.#show());
  }

  #leave(): void {
    this.#limiter.leave();
    this.#show();
  }

  #show(): void {
    const { kind } = this.#backend;
    this.#metrics.inFlight.set({ backend: kind }, this.#limiter.inside);
    this.#metrics.queued.set({ backend: kind }, this.#limiter.waiting);
  }
}

type Outcome<T> = { readonly ok: true; readonly value: T } | Failed;
interface Failed {
  readonly ok: false;
  readonly error: StatorError;
  readonly again: boolean;
}
