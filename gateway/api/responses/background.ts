import type { Counter, Gauge, Registry } from 'prom-client';
import { StatorError } from '#lib/errors/errors.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { GatewayContext } from '../../context.ts';
import type { EventLog } from './event-log.ts';
import { RunQueue } from './run-queue.ts';
import { takeUp } from './take-up.ts';

/** Between looks for what others left. */
const longestLookMs = 1000;

interface Running {
  readonly events: EventLog | null;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

export interface BackgroundOptions {
  /** Responses that run here at once. */
  readonly most: number;
  /** Milliseconds for which a gateway answers for a response without saying so again. */
  readonly leaseMs: number;
  /** Whether other gateways, or this one's next life, can take up what it leaves. */
  readonly isShared: boolean;
}

/** Responses that this gateway runs while nobody waits for them. */
export class BackgroundResponses {
  readonly leaseMs: number;
  readonly isShared: boolean;
  readonly #most: number;
  readonly #gauge: Gauge;
  readonly #takenUp: Counter<'outcome'>;
  readonly #running = new Map<string, Running>();
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;
  #stopped = false;

  constructor({ most, leaseMs, isShared }: BackgroundOptions, registry: Registry) {
    this.#most = most;
    this.leaseMs = leaseMs;
    this.isShared = isShared;
    this.#gauge = gaugeOf(registry, 'stator_gateway_background_responses', 'Background responses that run here.');
    const help = 'Background responses that another gateway left, by what became of them here: begun, failed or later.';
    this.#takenUp = counterOf(registry, 'stator_gateway_background_taken_up_total', help, ['outcome']);
  }

  /** Begins to look for responses that nobody runs. */
  start(ctx: GatewayContext): void {
    if (!this.isShared) return;
    const look = (): void => {
      this.#looking ??= this.#look(ctx)
        .catch((thrown: unknown) => ctx.telemetry.log.warn({ err: thrown }, 'responses could not be looked for'))
        .finally(() => {
          this.#looking = null;
        });
    };
    this.#timer = setInterval(look, Math.min(longestLookMs, this.leaseMs / 4)).unref();
    look();
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

  /** Ends everything that runs; its responses are left to other gateways, or fail. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
    const error = new StatorError('draining', 'The gateway that ran this response was shut down.');
    for (const { abort } of this.#running.values()) abort.abort(error);
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended));
  }
  async #look(ctx: GatewayContext): Promise<void> {
    for (const entry of await new RunQueue(ctx.store).waiting(Date.now())) {
      if (this.#stopped || this.#running.size >= this.#most) return;
      if (this.#running.has(entry.id)) continue;
      const outcome = await takeUp(ctx, entry);
      if (outcome !== null) this.#takenUp.inc({ outcome });
    }
  }
}
