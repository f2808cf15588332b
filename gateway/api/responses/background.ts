import type { Gauge, Registry } from 'prom-client';
import { StatorError } from '#lib/errors/errors.ts';
import { gaugeOf } from '#lib/telemetry/metrics.ts';
import type { EventLog } from './event-log.ts';

interface Running {
  readonly events: EventLog | null;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

/** Responses that this gateway runs while nobody waits for them. */
export class BackgroundResponses {
  readonly #most: number;
  readonly #gauge: Gauge;
  readonly #running = new Map<string, Running>();
  #stopped = false;

  constructor(most: number, registry: Registry) {
    this.#most = most;
    this.#gauge = gaugeOf(registry, 'stator_gateway_background_responses', 'Background responses that run here.');
  }

  /** Throws `overloaded` where too many run already. */
  checkRoom(): void {
    if (this.#stopped) throw new StatorError('draining', 'The gateway is shutting down.', { retryAfterMs: 1000 });
    if (this.#running.size < this.#most) return;
    const message = `The gateway runs ${this.#most} background responses already.`;
    throw new StatorError('overloaded', message, { retryAfterMs: 5000 });
  }

  /** Resolves when more of the response's events is stored; undefined: it does not run here. */
  changed(id: string): Promise<void> | undefined {
    return this.#running.get(id)?.events?.changed;
  }

  /** Runs work that must not reject until it ends or is cancelled; `events`: where it tells of itself. */
  run(id: string, events: EventLog | null, work: (signal: AbortSignal) => Promise<void>): void {
    const abort = new AbortController();
    const ended = work(abort.signal).finally(() => {
      this.#running.delete(id);
      this.#gauge.set(this.#running.size);
    });
    this.#running.set(id, { abort, ended, events });
    this.#gauge.set(this.#running.size);
  }

  /** Waits until the work has ended; work of other gateways and none at all is no matter. */
  async cancel(id: string): Promise<void> {
    const running = this.#running.get(id);
    running?.abort.abort(new StatorError('cancelled', 'The response was cancelled.'));
    await running?.ended;
  }

  /** Ends everything that runs; its responses fail. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const error = new StatorError('draining', 'The gateway that ran this response was shut down.');
    for (const { abort } of this.#running.values()) abort.abort(error);
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended));
  }
}
