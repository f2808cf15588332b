import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import { StatorError } from '#lib/errors/errors.ts';
import type { HandoffHolders, ReleaseCause } from '../pipeline/handoffs.ts';
import type { WorkerPool } from './worker-pool.ts';

/** How long a prefill worker may take to answer; its own deadline frees the KV of one that does not. */
const timeoutMs = 5000;

/** Tells prefill workers of KV that nobody will fetch, and counts what this gateway is responsible for. */
export class HandoffReleases implements HandoffHolders {
  readonly #workers: Pick<WorkerPool, 'client'>;
  readonly #log: Logger;
  readonly #held: Gauge;
  readonly #released: Counter;
  readonly #unheard: Counter;

  constructor(workers: Pick<WorkerPool, 'client'>, parts: { readonly metrics: Registry; readonly log: Logger }) {
    const registers = [parts.metrics];
    this.#workers = workers;
    this.#log = parts.log;
    this.#held = new Gauge({
      name: 'stator_gateway_handoffs',
      help: 'Prompts whose KV waits at a prefill worker for a decode worker that this gateway looks for or has just asked.',
      registers,
    });
    this.#released = new Counter({
      name: 'stator_gateway_handoffs_released_total',
      help: 'Handoffs given back unused: ended (nothing was left to decode), cancelled, abandoned (decode went another way), expired.',
      labelNames: ['because'],
      registers,
    });
    this.#unheard = new Counter({
      name: 'stator_gateway_handoff_release_failures_total',
      help: 'Prefill workers that could not be told; they free the KV at its deadline.',
      registers,
    });
  }

  held(added: number): void {
    this.#held.inc(added);
  }

  release(instanceId: bigint, handoffId: string, because: ReleaseCause): void {
    this.#released.inc({ because });
    this.#tell(instanceId, handoffId).catch((thrown: unknown) => {
      this.#unheard.inc();
      this.#log.debug({ err: StatorError.from(thrown), worker: instanceId.toString() }, 'a handoff was not released');
    });
  }

  async #tell(instanceId: bigint, handoffId: string): Promise<void> {
    await this.#workers.client(instanceId).releaseHandoff({ handoffId }, { timeoutMs });
  }
}
