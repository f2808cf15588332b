import { StatorError } from '#lib/errors/errors.ts';
import type { TransferMetrics } from './metrics.ts';
import { checkPieces, type RegionTable } from './regions.ts';
import {
  type AgentOptions,
  defaultTimeoutMs,
  type Piece,
  type TransferBackend,
  type TransferCounters,
  type TransferOptions,
} from './transfer.ts';

/** What a back end gets to do one transfer with. */
export interface Attempt {
  /** Aborted with a StatorError at the deadline, on cancel and at the agent's end. */
  readonly signal: AbortSignal;
  /** Unix time in milliseconds. */
  readonly deadlineMs: number;
}

/** Runs an agent's transfers: checks lists, holds regions, sets deadlines, counts. */
export class Ledger {
  running = 0;
  serving = 0;
  #completed = 0;
  #failed = 0;
  #pulledBytes = 0;
  #pushedBytes = 0;
  readonly #table: RegionTable;
  readonly #backend: TransferBackend;
  readonly #metrics: TransferMetrics | undefined;
  readonly #timeoutMs: number;
  readonly #closing = new AbortController();
  #idle: (() => void) | undefined;

  constructor(table: RegionTable, options: AgentOptions, backend: TransferBackend) {
    this.#table = table;
    this.#backend = backend;
    this.#metrics = options.metrics;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  async transfer(
    direction: 'pull' | 'push',
    pieces: readonly Piece[],
    options: TransferOptions,
    work: (attempt: Attempt) => Promise<void>,
  ): Promise<void> {
    const { bytes, regions } = checkPieces(pieces, this.#table);
    for (const region of regions) region.uses += 1;
    this.running += 1;
    const count = this.#begin(direction);
    try {
      await this.attempt(options, work);
      count('ok', bytes);
      this.#succeed(direction, bytes);
    } catch (error) {
      this.#failed += 1;
      count(StatorError.from(error).code, 0);
      throw error;
    } finally {
      for (const region of regions) region.uses -= 1;
      this.running -= 1;
      if (this.running === 0) this.#idle?.();
    }
  }

  /** The same for work that is done when it returns: nothing can end it early but time that was over before. */
  async atOnce(
    direction: 'pull' | 'push',
    pieces: readonly Piece[],
    options: Pick<TransferOptions, 'signal' | 'timeoutMs'>,
    work: (timeoutMs: number) => void,
  ): Promise<void> {
    const { bytes } = checkPieces(pieces, this.#table);
    const count = this.#begin(direction);
    try {
      if (this.#closing.signal.aborted) throw new StatorError('cancelled', 'The transfer agent was closed.');
      if (options.signal?.aborted) throw new StatorError('cancelled', 'The transfer was cancelled.');
      work(options.timeoutMs ?? this.#timeoutMs);
    } catch (error) {
      this.#failed += 1;
      count(StatorError.from(error).code, 0);
      throw error;
    }
    this.#succeed(direction, bytes);
    count('ok', bytes);
  }

  #succeed(direction: 'pull' | 'push', bytes: number): void {
    this.#completed += 1;
    if (direction === 'pull') this.#pulledBytes += bytes;
    else this.#pushedBytes += bytes;
  }

  #begin(direction: 'pull' | 'push'): (outcome: string, bytes: number) => void {
    const [backend, metrics] = [this.#backend, this.#metrics];
    if (metrics === undefined) return () => {};
    metrics.running.inc({ backend });
    const startMs = performance.now();
    return (outcome, bytes) => {
      metrics.running.dec({ backend });
      metrics.transfers.inc({ backend, direction, outcome });
      if (outcome !== 'ok') return;
      metrics.bytes.inc({ backend, direction }, bytes);
      metrics.seconds.observe({ backend, direction }, (performance.now() - startMs) / 1000);
    };
  }

  /** Runs `work` under the deadline and signal of `options`, without counting it. */
  async attempt<T>(options: Omit<TransferOptions, 'notification'>, work: (attempt: Attempt) => Promise<T>): Promise<T> {
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    const controller = new AbortController();
    const late = (): void => controller.abort(new StatorError('deadline_exceeded', `Not done within ${timeoutMs} ms.`));
    const cancel = (): void => controller.abort(new StatorError('cancelled', 'The transfer was cancelled.'));
    const closed = (): void => controller.abort(new StatorError('cancelled', 'The transfer agent was closed.'));
    const timer = setTimeout(late, timeoutMs);
    options.signal?.addEventListener('abort', cancel, { once: true });
    this.#closing.signal.addEventListener('abort', closed, { once: true });
    if (this.#closing.signal.aborted) closed();
    if (options.signal?.aborted) cancel();
    try {
      controller.signal.throwIfAborted();
      return await work({ signal: controller.signal, deadlineMs: Date.now() + timeoutMs });
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', cancel);
      this.#closing.signal.removeEventListener('abort', closed);
    }
  }

  counters(peers: number): TransferCounters {
    return {
      running: this.running,
      serving: this.serving,
      regions: this.#table.size,
      peers,
      completed: this.#completed,
      failed: this.#failed,
      pulledBytes: this.#pulledBytes,
      pushedBytes: this.#pushedBytes,
    };
  }

  /** Cancels what runs and waits until it has ended. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (this.running > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }
}

/** Rejects as soon as the signal is aborted, whatever becomes of the promise. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
