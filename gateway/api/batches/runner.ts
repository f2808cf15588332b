import { randomUUID } from 'node:crypto';
import type { Counter, Gauge, Registry } from 'prom-client';
import { StatorError } from '#lib/errors/errors.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { GatewayContext } from '../../context.ts';
import { callOf, within } from '../../tenants/caller.ts';
import { BatchQueue, type QueuedBatch } from './batch-store.ts';
import type { ResultKind } from './results.ts';
import { runBatch } from './run-batch.ts';

/** How long a gateway answers for a batch without saying so again; after that another one goes on. */
const leaseMs = 15_000;
const heartbeatMs = 4000;
const lookMs = 1000;
/** After a failure of the store. */
const retryMs = 5000;
/** Batches that one gateway runs at once. */
const mostBatches = 4;

interface Running {
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

/** Runs the batches of the store, each on one gateway at a time. */
export class BatchRunner {
  readonly nowUnixMs: () => number;
  readonly #owner = randomUUID();
  readonly #running = new Map<string, Running>();
  readonly #gauge: Gauge;
  readonly #requests: Counter<'outcome'>;
  #ctx: GatewayContext | null = null;
  #timer: NodeJS.Timeout | null = null;
  #looking = false;
  #stopped = false;

  /** `nowUnixMs`: by which batches expire and are held; default: the system's clock. */
  constructor(registry: Registry, nowUnixMs: () => number = Date.now) {
    this.nowUnixMs = nowUnixMs;
    this.#gauge = gaugeOf(registry, 'stator_gateway_batches_running', 'Batches that run here.');
    const help = 'Requests of batches that have a result, by outcome: output or error.';
    this.#requests = counterOf(registry, 'stator_gateway_batch_requests_total', help, ['outcome']);
  }

  start(ctx: GatewayContext): void {
    this.#ctx = ctx;
    this.#timer = setInterval(() => this.wake(), lookMs);
    this.#timer.unref();
    this.wake();
  }

  /** Looks for batches that nobody works on. */
  wake(): void {
    if (this.#looking || this.#stopped || this.#ctx === null || this.#running.size >= mostBatches) return;
    this.#looking = true;
    this.#look(this.#ctx)
      .catch((thrown: unknown) => this.#ctx?.telemetry.log.warn({ err: thrown }, 'batches could not be looked for'))
      .finally(() => {
        this.#looking = false;
      });
  }

  /** A request of a batch has its result. */
  answered(outcome: ResultKind): void {
    this.#requests.inc({ outcome });
  }

  /** Leaves what runs to another gateway, or to the next start. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const { abort } of this.#running.values()) abort.abort(new StatorError('draining', 'The gateway shuts down.'));
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended));
  }

  async #look(ctx: GatewayContext): Promise<void> {
    const queue = new BatchQueue(ctx.store);
    for (const entry of await queue.waiting(this.nowUnixMs(), (id) => this.#running.has(id))) {
      if (this.#running.size >= mostBatches || this.#stopped) return;
      const held = this.#lease(entry, leaseMs);
      const version = await queue.hold(held, entry.version);
      if (version !== null && !this.#stopped) this.#run(ctx, queue, held, version);
    }
  }

  #lease({ id, caller }: QueuedBatch, forMs: number): QueuedBatch {
    return { id, caller, owner: this.#owner, leaseUnixMs: this.nowUnixMs() + forMs };
  }

  #run(ctx: GatewayContext, queue: BatchQueue, entry: QueuedBatch, held: number): void {
    const abort = new AbortController();
    let version: number | null = held;
    let beat: Promise<void> = Promise.resolve();
    const keep = async (forMs: number): Promise<void> => {
      if (version === null) return;
      version = await queue.hold(this.#lease(entry, forMs), version);
      if (version === null) abort.abort(new StatorError('conflict', 'Another gateway runs the batch.'));
    };
    const heartbeat = setInterval(() => {
      beat = keep(leaseMs).catch(() => {});
    }, heartbeatMs);
    const ended = within(callOf(entry.caller), () => runBatch(ctx, entry, abort.signal))
      .then(
        () => queue.remove(entry.id),
        async (thrown: unknown) => {
          const error = StatorError.from(thrown);
          // A batch that is gone has no one to go on for.
          if (error.code === 'not_found') return queue.remove(entry.id);
          if (!abort.signal.aborted)
            ctx.telemetry.log.error({ err: error, batch_id: entry.id }, 'a batch failed for now; it is tried again');
          clearInterval(heartbeat);
          await beat;
          await keep(abort.signal.aborted ? -1 : retryMs);
        },
      )
      .catch((thrown: unknown) => ctx.telemetry.log.warn({ err: thrown }, 'a batch could not be left'))
      .finally(() => {
        clearInterval(heartbeat);
        this.#running.delete(entry.id);
        this.#gauge.set(this.#running.size);
      });
    this.#running.set(entry.id, { abort, ended });
    this.#gauge.set(this.#running.size);
  }
}
