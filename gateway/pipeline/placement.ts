import type { RouterClient } from '../routing/router-client.ts';
import type { WorkerSession } from '../workers/worker-session.ts';

/** A reservation at the router and the sequences that run under it; it ends with the last of them, exactly once. */
export class Placement {
  readonly routeId: string;
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  readonly session: WorkerSession;
  readonly #router: RouterClient;
  readonly #blockSize: number;
  #running: number;
  #outputTokens = 0;
  #nextBlock: number;
  #prefillDone = false;
  #workerFailed = false;

  constructor(o: {
    routeId: string;
    instanceId: bigint;
    dataParallelRank: number;
    session: WorkerSession;
    router: RouterClient;
    sequences: number;
    blockSize: number;
  }) {
    this.routeId = o.routeId;
    this.instanceId = o.instanceId;
    this.dataParallelRank = o.dataParallelRank;
    this.session = o.session;
    this.#router = o.router;
    this.#running = o.sequences;
    this.#blockSize = Math.max(1, o.blockSize);
    this.#nextBlock = this.#blockSize;
  }

  prefillDone(): void {
    if (this.#prefillDone) return;
    this.#prefillDone = true;
    this.#router.prefillDone(this.routeId);
  }

  /** Counts output; the router hears of it once a block is full. */
  addOutput(tokens: number): void {
    this.#outputTokens += tokens;
    if (this.#outputTokens < this.#nextBlock) return;
    this.#nextBlock = (Math.floor(this.#outputTokens / this.#blockSize) + 1) * this.#blockSize;
    this.#router.outputBlock(this.routeId, this.#outputTokens);
  }

  /** One of its sequences is over. */
  release(workerFailed: boolean): void {
    if (this.#running === 0) return;
    this.#workerFailed ||= workerFailed;
    this.#running -= 1;
    if (this.#running === 0) this.#router.finish(this.routeId, { workerFailed: this.#workerFailed });
  }
}
