import { setTimeout as delay } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import type { SessionServer } from '#lib/rpc/session/server.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { WorkerModels } from './models.ts';
import type { WorkerState } from './state.ts';

/** How long discovery may take to learn of it, and cancelled sequences to end. */
const settleMs = 2000;

export interface DrainerOptions {
  readonly models: WorkerModels;
  readonly state: WorkerState;
  readonly sessions: SessionServer;
  readonly telemetry: Telemetry;
  readonly noticeMs: number;
  readonly graceMs: number;
}

/** Ends the worker's work in order: announce, refuse, finish, abort. */
export class Drainer {
  readonly #o: DrainerOptions;
  #draining: Promise<void> | undefined;
  #deadlineMs = Number.POSITIVE_INFINITY;

  constructor(options: DrainerOptions) {
    this.#o = options;
  }

  /** Sequences that still run or wait. */
  get remaining(): number {
    return this.#o.models.hosts.reduce((sum, host) => sum + host.running, 0);
  }

  /** What sequences end with that are cancelled now; undefined before the grace is over. */
  get cause(): StatorError | undefined {
    // Timers may fire a little early.
    if (performance.now() < this.#deadlineMs - 5) return undefined;
    return new StatorError('draining', 'the worker stopped before the sequence ended', { retryable: true });
  }

  /** Begins to drain; resolves when nothing runs any more. A later call may shorten the grace, never lengthen it. */
  drain(graceMs = this.#o.graceMs): Promise<void> {
    this.#deadlineMs = Math.min(this.#deadlineMs, performance.now() + graceMs);
    this.#draining ??= this.#run();
    return this.#draining;
  }

  async #run(): Promise<void> {
    const { state, sessions, telemetry, noticeMs } = this.#o;
    telemetry.log.info({ remaining: this.remaining }, 'draining');
    const announced = state.announceDraining();
    await Promise.race([announced, delay(settleMs, undefined, { ref: false })]);
    if (noticeMs > 0) await delay(noticeMs);
    state.refuseWork();
    sessions.drain(Math.max(0, this.#deadlineMs - performance.now()));
    await this.#untilIdle(() => performance.now() >= this.#deadlineMs);
    if (this.remaining === 0) return;
    telemetry.log.warn({ remaining: this.remaining }, 'the grace is over: what still runs is aborted');
    for (const host of this.#o.models.hosts) host.abortAll(this.cause);
    const giveUpMs = performance.now() + settleMs;
    await this.#untilIdle(() => performance.now() >= giveUpMs);
  }

  async #untilIdle(late: () => boolean): Promise<void> {
    while (this.remaining > 0 && !late()) await delay(10);
  }
}
